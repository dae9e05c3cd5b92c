import { v7 as uuidV7 } from "uuid";
import type { JsonValue } from "@parley/protocol";
import { ParleyError } from "./errors.ts";
import type { OutboxStorage, UnsentMessage } from "./outbox-storage.ts";
import { type Backoff, backoffMs, type Timers } from "./timers.ts";

/** A message on its way, as the page shows it; `sent` is the last that the outbox says of it. */
export type OutgoingMessage = UnsentMessage & OutgoingState;

export type OutgoingState =
  | { readonly status: "sending" }
  | { readonly status: "sent"; readonly id: string; readonly seq: number }
  | { readonly status: "failed"; readonly error: ParleyError };

export type SendOutcome = Exclude<OutgoingState, { status: "sending" }>;

export interface Sending {
  readonly clientId: string;
  /** Never rejects: a refusal is an outcome, too. */
  readonly outcome: Promise<SendOutcome>;
}

export interface SendOptions {
  readonly data?: JsonValue;
  /** Id of the message that this one answers. */
  readonly replyTo?: string;
}

export interface OutboxBounds {
  /** Messages kept, failed ones included. */
  readonly itemsMax: number;
  /** UTF-8 bytes of their text and data. */
  readonly bytesMax: number;
}

export interface OutboxOwner {
  /** True while messages of the room may go out on the present connection. */
  ready(roomId: string): boolean;
  /** Sends once. Calls exactly one of the two, once. */
  transmit(
    message: UnsentMessage,
    onSent: (place: { readonly id: string; readonly seq: number }) => void,
    onError: (error: ParleyError) => void,
  ): void;
  onChange(message: OutgoingMessage): void;
  onError(error: ParleyError): void;
}

interface Item {
  readonly message: UnsentMessage;
  readonly bytes: number;
  state: OutgoingState;
  readonly settle: (outcome: SendOutcome) => void;
}

/** The messages of one room that wait, in order. */
interface Lane {
  readonly queue: Item[];
  /** Number of tries of the first. */
  attempt: number;
  busy: boolean;
}

/**
 * Messages from the moment they are sent until their acknowledgement. One per room is under way at a time: a refusal
 * that is retried later must not let the next one overtake. A repeat has the same `clientId`, so it commits once.
 */
export class Outbox {
  readonly #owner: OutboxOwner;
  readonly #timers: Timers;
  readonly #backoff: Backoff;
  readonly #bounds: OutboxBounds;
  readonly #storage: OutboxStorage | undefined;
  readonly #items = new Map<string, Item>();
  readonly #lanes = new Map<string, Lane>();
  readonly #timersRunning = new Set<() => void>();
  #bytes = 0;
  #loading: boolean;
  #closed: ParleyError | undefined;

  constructor(
    owner: OutboxOwner,
    settings: { timers: Timers; backoff: Backoff; bounds: OutboxBounds; storage: OutboxStorage | undefined },
  ) {
    this.#owner = owner;
    this.#timers = settings.timers;
    this.#backoff = settings.backoff;
    this.#bounds = settings.bounds;
    this.#storage = settings.storage;
    this.#loading = settings.storage !== undefined;
  }

  /** Takes up what a former page has left. Nothing is sent before, so that the order is kept. Never rejects. */
  async load(): Promise<void> {
    try {
      const kept = [...((await this.#storage?.load()) ?? [])];
      // Ids of version 7 sort by time.
      kept.sort((one, other) => (one.clientId < other.clientId ? -1 : 1));
      const later = [...this.#lanes.values()].flatMap((lane) => lane.queue.splice(0));
      for (const message of kept) if (!this.#items.has(message.clientId)) void this.#enqueue(message);
      for (const item of later) this.#lane(item.message.roomId).queue.push(item);
    } catch (error) {
      this.#owner.onError(new ParleyError("storage_failed", `The outbox could not be loaded: ${String(error)}`));
    } finally {
      this.#loading = false;
      this.pumpAll();
    }
  }

  add(roomId: string, text: string, options: SendOptions = {}): Sending {
    const createdAt = new Date(this.#timers.now()).toISOString();
    const message = { clientId: uuidV7(), roomId, text, createdAt, ...options };
    const refusal = this.#closed ?? this.#overflow(message);
    if (refusal !== undefined) {
      const outcome = { status: "failed", error: refusal } as const;
      this.#owner.onChange({ ...message, ...outcome });
      return { clientId: message.clientId, outcome: Promise.resolve(outcome) };
    }
    const outcome = this.#enqueue(message);
    this.#store(this.#storage?.put(message));
    this.pump(roomId);
    return { clientId: message.clientId, outcome };
  }

  /** Sends a failed message again, last in its room, under the same `clientId`. Undefined when none is known by it. */
  retry(clientId: string): Sending | undefined {
    const failed = this.#items.get(clientId);
    if (failed?.state.status !== "failed" || this.#closed !== undefined) return undefined;
    this.#forget(failed);
    const outcome = this.#enqueue(failed.message);
    this.pump(failed.message.roomId);
    return { clientId, outcome };
  }

  /** Drops a failed message for good. False when there is none by that id. */
  discard(clientId: string): boolean {
    const failed = this.#items.get(clientId);
    if (failed?.state.status !== "failed") return false;
    this.#forget(failed);
    this.#store(this.#storage?.remove(clientId));
    return true;
  }

  /** What is sending or failed in a room, oldest first. */
  list(roomId: string): OutgoingMessage[] {
    const items = [...this.#items.values()].filter((item) => item.message.roomId === roomId);
    return items.map((item) => ({ ...item.message, ...item.state }));
  }

  pumpAll(): void {
    for (const roomId of this.#lanes.keys()) this.pump(roomId);
  }

  /** Sends the first message of a room, when nothing of the room is under way. */
  pump(roomId: string): void {
    const lane = this.#lanes.get(roomId);
    const first = lane?.queue[0];
    if (lane === undefined || lane.busy || this.#loading || this.#closed !== undefined) return;
    if (first === undefined) {
      this.#lanes.delete(roomId);
    } else if (this.#owner.ready(roomId)) {
      this.#transmit(lane, first);
    }
  }

  /** Nothing more goes out. What is sending fails with `error`, but stays in the storage for a next client. */
  close(error: ParleyError): void {
    this.#closed = error;
    for (const cancel of this.#timersRunning) cancel();
    for (const item of this.#items.values()) if (item.state.status === "sending") this.#fail(item, error);
  }

  #transmit(lane: Lane, item: Item): void {
    lane.busy = true;
    this.#owner.transmit(
      item.message,
      ({ id, seq }) => this.#sent(lane, item, { status: "sent", id, seq }),
      (error) => this.#refused(lane, item, error),
    );
  }

  #sent(lane: Lane, item: Item, outcome: SendOutcome): void {
    this.#shift(lane);
    this.#forget(item);
    this.#store(this.#storage?.remove(item.message.clientId));
    this.#settle(item, outcome);
    this.pump(item.message.roomId);
  }

  #refused(lane: Lane, item: Item, error: ParleyError): void {
    const { roomId } = item.message;
    if (error.code === "disconnected") {
      // Not a try: the next connection sends it again.
      lane.busy = false;
      this.pump(roomId);
    } else if (error.retry === "never") {
      this.#shift(lane);
      this.#fail(item, error);
      this.pump(roomId);
    } else {
      const waitMs = Math.max(error.retryAfterMs ?? 0, backoffMs(this.#backoff, lane.attempt, this.#timers.random()));
      lane.attempt += 1;
      const cancel = this.#timers.after(waitMs, () => {
        this.#timersRunning.delete(cancel);
        lane.busy = false;
        this.pump(roomId);
      });
      this.#timersRunning.add(cancel);
    }
  }

  #shift(lane: Lane): void {
    lane.queue.shift();
    lane.attempt = 0;
    lane.busy = false;
  }

  #fail(item: Item, error: ParleyError): void {
    this.#settle(item, { status: "failed", error });
  }

  #settle(item: Item, outcome: SendOutcome): void {
    item.state = outcome;
    item.settle(outcome);
    this.#owner.onChange({ ...item.message, ...outcome });
  }

  #enqueue(message: UnsentMessage): Promise<SendOutcome> {
    const outcome = new Promise<SendOutcome>((settle) => {
      const item: Item = { message, bytes: sizeOf(message), state: { status: "sending" }, settle };
      this.#items.set(message.clientId, item);
      this.#bytes += item.bytes;
      this.#lane(message.roomId).queue.push(item);
    });
    this.#owner.onChange({ ...message, status: "sending" });
    return outcome;
  }

  #forget(item: Item): void {
    this.#items.delete(item.message.clientId);
    this.#bytes -= item.bytes;
  }

  #lane(roomId: string): Lane {
    let lane = this.#lanes.get(roomId);
    if (lane === undefined) {
      lane = { queue: [], attempt: 0, busy: false };
      this.#lanes.set(roomId, lane);
    }
    return lane;
  }

  #overflow(message: UnsentMessage): ParleyError | undefined {
    const { itemsMax, bytesMax } = this.#bounds;
    if (this.#items.size < itemsMax && this.#bytes + sizeOf(message) <= bytesMax) return undefined;
    return new ParleyError("outbox_full", `The outbox keeps at most ${itemsMax} messages and ${bytesMax} bytes`);
  }

  #store(work: Promise<void> | undefined): void {
    work?.catch((error: unknown) => {
      this.#owner.onError(new ParleyError("storage_failed", `The outbox could not be stored: ${String(error)}`));
    });
  }
}

function sizeOf(message: UnsentMessage): number {
  const data = message.data === undefined ? "" : JSON.stringify(message.data);
  return new TextEncoder().encode(message.text + data).length;
}
