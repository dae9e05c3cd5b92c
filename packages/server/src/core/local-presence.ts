import type { Clock } from "./clock.ts";
import type { LogId } from "./log.ts";
import { inTurns } from "./turns.ts";

export interface LocalPresenceEvents {
  onEntered(log: LogId, userId: string): void;
  onGone(log: LogId, userId: string): void;
}

/** A user whose last connection is gone from the room, until the grace is over. */
interface Leave {
  readonly log: LogId;
  readonly userId: string;
  /** By the monotonic clock. */
  readonly dueAt: number;
}

/** Connections of a user in a room, 1 at least; or the leave that waits. */
type Stay = number | Leave;

const nobody: ReadonlyMap<string, unknown> = new Map();

/** Who is in which room on this node. Many tabs of a user are one presence; a reconnect within the grace is no leave. */
export class LocalPresence {
  readonly #clock: Clock;
  readonly #leaveGraceMs: number;
  readonly #events: LocalPresenceEvents;
  readonly #rooms = new Map<LogId, Map<string, Stay>>();
  /** In the order in which they are due. */
  readonly #leaves = new Set<Leave>();
  /** Ends the wait for the first of these; null while there is none. */
  #cancel: (() => void) | null = null;

  constructor(clock: Clock, leaveGraceMs: number, events: LocalPresenceEvents) {
    this.#clock = clock;
    this.#leaveGraceMs = leaveGraceMs;
    this.#events = events;
  }

  entered(log: LogId, userId: string): void {
    const users = this.#rooms.get(log) ?? new Map<string, Stay>();
    this.#rooms.set(log, users);
    const stay = users.get(userId);
    users.set(userId, typeof stay === "number" ? stay + 1 : 1);
    if (stay === undefined) this.#events.onEntered(log, userId);
    else if (typeof stay !== "number") this.#leaves.delete(stay);
  }

  /** `forGood`: the user left, so that no grace is given. */
  left(log: LogId, userId: string, forGood: boolean): void {
    const users = this.#rooms.get(log);
    const stay = users?.get(userId);
    if (users === undefined || typeof stay !== "number") return;
    if (stay > 1) users.set(userId, stay - 1);
    else if (forGood) this.#remove(log, userId);
    else users.set(userId, this.#leaveLater(log, userId));
  }

  has(log: LogId, userId: string): boolean {
    return this.#rooms.get(log)?.has(userId) ?? false;
  }

  count(log: LogId): number {
    return this.#rooms.get(log)?.size ?? 0;
  }

  users(log: LogId): Iterable<string> {
    return (this.#rooms.get(log) ?? nobody).keys();
  }

  stop(): void {
    this.#cancel?.();
    this.#leaves.clear();
    this.#rooms.clear();
  }

  #leaveLater(log: LogId, userId: string): Leave {
    const leave = { log, userId, dueAt: this.#clock.monotonic() + this.#leaveGraceMs };
    this.#leaves.add(leave);
    if (this.#cancel === null) this.#wait();
    return leave;
  }

  /** Why one timer: after a loss of many connections there would be one for each of their rooms, all due at once. */
  #wait(): void {
    const [first] = this.#leaves;
    if (first === undefined) {
      this.#cancel = null;
      return;
    }
    const waitMs = Math.max(0, first.dueAt - this.#clock.monotonic());
    this.#cancel = this.#clock.after(waitMs, () => {
      this.#cancel = inTurns(this.#clock, this.#removeDue(), () => this.#wait());
    });
  }

  *#removeDue(): Generator<void> {
    for (const leave of this.#leaves) {
      if (leave.dueAt > this.#clock.monotonic()) return;
      this.#leaves.delete(leave);
      this.#remove(leave.log, leave.userId);
      yield;
    }
  }

  #remove(log: LogId, userId: string): void {
    const users = this.#rooms.get(log);
    if (users === undefined || !users.delete(userId)) return;
    if (users.size === 0) this.#rooms.delete(log);
    this.#events.onGone(log, userId);
  }
}
