import type { ClientEventPayload, Message, Position, RoomGapReason, ServerEvents } from "@parley/protocol";
import { ParleyError } from "./errors.ts";
import { following } from "./position.ts";
import type { Granted } from "./requests.ts";
import { type Backoff, backoffMs, type Timers } from "./timers.ts";

/** Why a room starts over with the latest page: its first join, or a position that the server could not continue from. */
export type ResetReason = "joined" | RoomGapReason;

export interface RoomReset {
  readonly reason: ResetReason;
  /** The latest messages in their present state, oldest first. They replace what was shown before. */
  readonly messages: readonly Message[];
}

export interface SubscriptionOwner {
  connected(): boolean;
  /** Calls exactly one of the two, in its place among the events. */
  join(
    payload: ClientEventPayload<"join_room">,
    onConfirmed: (start: Granted<"join_room">) => void,
    onError: (error: ParleyError) => void,
  ): void;
  /** Calls exactly one of the two. */
  leave(onLeft: () => void, onError: (error: ParleyError) => void): void;
  /** Entries follow now; also after each reconnect. */
  onJoined(): void;
  onReset(reset: RoomReset): void;
  onClosed(error: ParleyError): void;
}

interface Waiter {
  resolve(position: Position): void;
  reject(error: ParleyError): void;
}

/**
 * - `out`: not asked for, or refused.
 * - `joining`: asked for; the server has not confirmed it on this connection.
 * - `in`: entries follow on this connection.
 * - `away`: was in, and there is no connection; the next one resumes it.
 */
type Phase = "out" | "joining" | "in" | "away";

/** Delivery of one room to this client: asked for once, kept over every reconnect, without a gap or a repeat. */
export class Subscription {
  readonly #roomId: string;
  readonly #owner: SubscriptionOwner;
  readonly #timers: Timers;
  readonly #backoff: Backoff;
  #phase: Phase = "out";
  #position: Position | undefined;
  #historyWanted: number | undefined;
  #resetReason: ResetReason = "joined";
  /** The `seq` after which a gap is being closed, or was last. */
  #gapAfterSeq: number | undefined;
  #repairing = false;
  #attempt = 0;
  /** Counts joins and leaves, so that the answer to an earlier one is not taken for a later one's. */
  #generation = 0;
  #waiters: Waiter[] = [];
  #cancelRetry: () => void = () => undefined;

  constructor(roomId: string, owner: SubscriptionOwner, timers: Timers, backoff: Backoff) {
    this.#roomId = roomId;
    this.#owner = owner;
    this.#timers = timers;
    this.#backoff = backoff;
  }

  get joined(): boolean {
    return this.#phase === "in";
  }

  get wanted(): boolean {
    return this.#phase !== "out";
  }

  /** From where the next connection continues; undefined when there is nothing to continue. */
  get position(): Position | undefined {
    return this.wanted ? this.#position : undefined;
  }

  /** Resolves once entries follow. `history`: number of messages of the first page. */
  join(history: number | undefined): Promise<Position> {
    if (this.#phase === "in" && this.#position !== undefined) return Promise.resolve(this.#position);
    const joined = new Promise<Position>((resolve, reject) => this.#waiters.push({ resolve, reject }));
    if (this.#phase === "out") {
      this.#phase = "joining";
      this.#historyWanted = history;
      this.#request();
    }
    return joined;
  }

  /** For who has not seen what came until now: the latest page comes once more, unless it is still to come. */
  restart(): void {
    if (this.#position === undefined) return;
    this.#position = undefined;
    this.#historyWanted = undefined;
    this.#repairing = this.#phase === "in";
    this.#request();
  }

  /** Nothing of the room is delivered from now on. Resolves with the answer to the request to leave, when there is one to make. */
  async leave(): Promise<void> {
    if (!this.wanted) return;
    const error = new ParleyError("closed", "The room was left");
    this.#end(error);
    // Why before it is said: who joins again upon that is to come after.
    const left = this.#owner.connected() ? this.#unfollow() : undefined;
    this.#owner.onClosed(error);
    await left;
  }

  /** A connection was made, in which the server was told to resume the room, or not. */
  connected(resumed: boolean): void {
    if (this.#phase === "out") {
      // Why: it was left after this connection had asked for it.
      if (resumed) void this.#unfollow();
      return;
    }
    if (resumed && this.#position !== undefined) {
      this.#entered(this.#position);
    } else {
      this.#phase = "joining";
      this.#request();
    }
  }

  disconnected(): void {
    this.#cancelRetry();
    this.#repairing = false;
    if (this.#phase === "in") this.#phase = "away";
  }

  /** True when the entry is to be delivered: it follows what was. Otherwise it is a repeat, or begins a repair. */
  accept(entry: Position): boolean {
    // Why: before the first page and after a leave, what still arrives belongs to an earlier join.
    if (this.#position === undefined) return false;
    switch (following(this.#position, entry)) {
      case "next":
        this.#position = entry;
        return true;
      case "repeated":
        return false;
      case "gap":
      case "other_epoch":
        this.#repair(this.#position);
        return false;
    }
  }

  /** The server cannot continue: a new page follows, and entries after `head`. */
  gap({ reason, epoch, head }: ServerEvents["room_gap"][0]): void {
    this.#position = { epoch, seq: head };
    this.#resetReason = reason;
  }

  /** The latest page; `at`: as of which position, where the server says so. */
  history(messages: readonly Message[], at: Position | undefined): void {
    if (at !== undefined) this.#position = at;
    const reason = this.#resetReason;
    this.#resetReason = "joined";
    this.#owner.onReset({ reason, messages });
  }

  /** The server ended it: the right was lost, the room deleted, or the join refused. */
  refused(error: ParleyError): void {
    if (!this.wanted) return;
    this.#end(error);
    this.#owner.onClosed(error);
  }

  #request(): void {
    if (!this.#owner.connected()) return;
    this.#cancelRetry();
    this.#generation += 1;
    const generation = this.#generation;
    const from = this.#position;
    const after = from === undefined ? {} : { after: from };
    const history = this.#historyWanted === undefined ? {} : { history: this.#historyWanted };
    this.#owner.join(
      { roomId: this.#roomId, ...after, ...history },
      ({ epoch, seq }) => {
        if (generation === this.#generation) this.#confirmed({ epoch, seq }, from);
      },
      (error) => {
        if (generation === this.#generation) this.#failed(error);
      },
    );
  }

  #confirmed(start: Position, from: Position | undefined): void {
    this.#attempt = 0;
    this.#repairing = false;
    const moved = from !== undefined && (start.epoch !== from.epoch || start.seq > from.seq);
    // Why not always: the first page has set the position, too.
    if (this.#position === undefined || moved) this.#position = start;
    this.#entered(this.#position);
  }

  #failed(error: ParleyError): void {
    if (error.code === "disconnected") return;
    if (error.retry === "never") {
      this.refused(error);
      return;
    }
    this.#retry(error, () => this.#request());
  }

  /**
   * The server ends delivery. Resolves with its first answer; asked again after a refusal that passes, until the room is
   * joined again or the connection ends, since no next one follows it.
   */
  #unfollow(): Promise<void> {
    this.#cancelRetry();
    const generation = this.#generation;
    return new Promise((resolve) => {
      this.#owner.leave(resolve, (error) => {
        const isOver = error.retry === "never" || error.code === "disconnected";
        if (!isOver && generation === this.#generation) this.#retry(error, () => void this.#unfollow());
        resolve();
      });
    });
  }

  #retry(error: ParleyError, again: () => void): void {
    const waitMs = Math.max(error.retryAfterMs ?? 0, backoffMs(this.#backoff, this.#attempt, this.#timers.random()));
    this.#attempt += 1;
    this.#cancelRetry = this.#timers.after(waitMs, again);
  }

  #entered(position: Position): void {
    this.#phase = "in";
    for (const waiter of this.#waiters.splice(0)) waiter.resolve(position);
    this.#owner.onJoined();
  }

  /**
   * Entries are missing: what follows `reached` is asked for again. A gap at the same place a second time would never
   * close; then the room starts over with the latest page.
   */
  #repair(reached: Position): void {
    if (this.#repairing || this.#phase !== "in") return;
    this.#repairing = true;
    if (this.#gapAfterSeq === reached.seq) this.#position = undefined;
    this.#gapAfterSeq = reached.seq;
    this.#request();
  }

  #end(error: ParleyError): void {
    this.#cancelRetry();
    this.#generation += 1;
    this.#phase = "out";
    this.#position = undefined;
    this.#gapAfterSeq = undefined;
    this.#repairing = false;
    this.#attempt = 0;
    this.#resetReason = "joined";
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
  }
}
