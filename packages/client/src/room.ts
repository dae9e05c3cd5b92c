import type { EntryMeta, JsonValue, Message, Position, ServerEvents } from "@parley/protocol";
import { Emitter } from "./emitter.ts";
import type { ParleyError } from "./errors.ts";
import type { Outbox, OutgoingMessage, Sending, SendOptions } from "./outbox.ts";
import { PeopleWatch } from "./people-watch.ts";
import type { Granted, Requests } from "./requests.ts";
import { type RoomReset, Subscription, type SubscriptionOwner } from "./subscription.ts";
import type { Backoff, Timers } from "./timers.ts";

/** An entry that the app named itself, with `publish` or `notifyUser`. */
export interface AppEvent extends EntryMeta {
  readonly name: string;
  readonly data: JsonValue;
}

export interface RoomEvents {
  message: [message: Message];
  messageEdited: [edit: ServerEvents["message_edited"][0]];
  messageDeleted: [deletion: ServerEvents["message_deleted"][0]];
  membership: [change: ServerEvents["membership_changed"][0]];
  erased: [tombstone: ServerEvents["entry_erased"][0]];
  /** Events of the app lie behind one name, because theirs may be equal to those of this list. */
  event: [event: AppEvent];
  /** A user's first connection has entered the room; the last one has left it. */
  joined: [userId: string];
  left: [userId: string];
  typing: [userId: string];
  /** The state of a message of this client has changed. */
  outgoing: [message: OutgoingMessage];
  /**
   * The latest page, which replaces what was shown: on the first join, when the server could not continue, and when a
   * hook begins to show a room that was joined before.
   */
  reset: [reset: RoomReset];
  /** The server cannot continue from the position reached; a `reset` follows. */
  gap: [gap: ServerEvents["room_gap"][0]];
  /** Entries follow from now on: after a join and after each reconnect. */
  subscribed: [];
  /** The room has ended for this client, until it is joined again; with the code `closed` when it was left. */
  closed: [error: ParleyError];
}

export interface HistoryRange {
  /** Only messages before this `seq`. */
  readonly before?: number;
  /** 1..100; 50 by default. */
  readonly limit?: number;
}

export interface RoomSettings {
  readonly requests: Requests;
  readonly outbox: Outbox;
  readonly timers: Timers;
  readonly backoff: Backoff;
  readonly connected: () => boolean;
  /** Why the client has ended, once it has. */
  readonly verdict: () => ParleyError | undefined;
}

// One signal tells more than the keystrokes between.
const typingIntervalMs = 2_000;

/** One room, as this client sees it. Made by `client.room`. */
export class Room {
  readonly id: string;
  /** For the client alone: where it hands over what the server sends. */
  readonly subscription: Subscription;
  /** For the hooks alone: the app is in the room by itself, and stays when the last hook leaves it. */
  kept = false;
  readonly #settings: RoomSettings;
  readonly #events = new Emitter<RoomEvents>();
  #typingAtMs = Number.NEGATIVE_INFINITY;

  constructor(id: string, settings: RoomSettings) {
    this.id = id;
    this.#settings = settings;
    const { requests, outbox, timers, backoff } = settings;
    const owner: SubscriptionOwner = {
      connected: settings.connected,
      join: (payload, onConfirmed, onError) => requests.call("join_room", payload, onConfirmed, onError),
      leave: (onLeft, onError) => requests.call("leave_room", { roomId: id }, onLeft, onError),
      onJoined: () => {
        this.#events.emit("subscribed");
        outbox.pump(id);
      },
      onReset: (reset) => this.#events.emit("reset", reset),
      onClosed: (error) => {
        this.#events.emit("closed", error);
        // Why: what waited for the join waits for nothing now; the server says what becomes of it.
        outbox.pump(id);
      },
    };
    this.subscription = new Subscription(id, owner, timers, backoff);
  }

  /** Calls `listener` at each event until the returned function is called. */
  on<Name extends keyof RoomEvents>(name: Name, listener: (...values: RoomEvents[Name]) => void): () => void {
    return this.#events.on(name, listener);
  }

  /** For the client alone. */
  emit<Name extends keyof RoomEvents>(name: Name, ...values: RoomEvents[Name]): void {
    this.#events.emit(name, ...values);
  }

  /**
   * Follows the room, over every reconnect, until `leave`. Listen first: the first page comes as `reset`, maybe before
   * this resolves. `history`: messages of the first page, 0..100.
   * Errors: rejects with `ParleyError` when the server refuses, or the client has ended; waits, also for a connection,
   * otherwise.
   */
  join({ history }: { readonly history?: number } = {}): Promise<Position> {
    // Why only then: of a room that was closed to a hook, it is another try for the hook.
    this.kept ||= this.subscription.wanted;
    const joined = this.subscription.join(history);
    const verdict = this.#settings.verdict();
    if (verdict !== undefined) this.subscription.refused(verdict);
    return joined;
  }

  /**
   * Nothing of the room is delivered any more; its unsent messages are still sent. Resolves when the server has
   * answered; what it cannot do yet is asked again behind that. Never rejects.
   */
  leave(): Promise<void> {
    this.kept = false;
    return this.subscription.leave();
  }

  /** Puts a message into the outbox; never throws and never waits. What becomes of it comes as `outgoing`, too. */
  send(text: string, options?: SendOptions): Sending {
    return this.#settings.outbox.add(this.id, text, options);
  }

  /** Sends a failed message again, under the same `clientId`. Undefined when none has failed by that id. */
  retry(clientId: string): Sending | undefined {
    return this.#settings.outbox.retry(clientId);
  }

  /** Drops a failed message. False when none has failed by that id. */
  discard(clientId: string): boolean {
    return this.#settings.outbox.discard(clientId);
  }

  /** Messages that are sending or have failed, oldest first; those that a former page has left, too. */
  outgoing(): OutgoingMessage[] {
    return this.#settings.outbox.list(this.id);
  }

  /** A page of messages, oldest first. Errors: rejects with `ParleyError`. */
  history({ before, limit }: HistoryRange = {}): Promise<Granted<"room_history">> {
    return this.#settings.requests.send("room_history", {
      roomId: this.id,
      ...(before === undefined ? {} : { before }),
      ...(limit === undefined ? {} : { limit }),
    });
  }

  /** Tells the others, at most every 2 s; call it at each keystroke. Best effort: never fails. */
  typing(): void {
    const { connected, requests, timers } = this.#settings;
    if (!connected() || timers.now() - this.#typingAtMs < typingIntervalMs) return;
    this.#typingAtMs = timers.now();
    requests.send("typing", { roomId: this.id }).catch(() => undefined);
  }

  /**
   * Calls `listener` with who is in the room, at each join, reconnect, and whenever someone comes or goes, until the
   * returned function is called. What the server refuses for a while, or does not answer, is asked again.
   */
  followPeople(listener: (people: Granted<"presence">) => void): () => void {
    const joined = (): boolean => this.subscription.joined;
    const watch = new PeopleWatch(this.id, { ...this.#settings, joined }, listener);
    const changes = ["subscribed", "joined", "left"] as const;
    const stops = [...changes.map((name) => this.on(name, watch.changed)), this.on("closed", watch.pause)];
    watch.changed();
    return () => {
      for (const stop of stops) stop();
      watch.stop();
    };
  }

  /** Who is in the room now. Errors: rejects with `ParleyError`. */
  presence(): Promise<Granted<"presence">> {
    return this.#settings.requests.send("presence", { roomId: this.id });
  }
}
