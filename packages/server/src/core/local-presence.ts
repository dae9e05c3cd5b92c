import type { Clock } from "./clock.ts";
import type { LogId } from "./log.ts";

export interface LocalPresenceEvents {
  onEntered(log: LogId, userId: string): void;
  onGone(log: LogId, userId: string): void;
}

/** Connections of a user in a room, 1 at least; or, while the grace of the last one runs, what cancels the leave. */
type Stay = number | (() => void);

const nobody: ReadonlyMap<string, unknown> = new Map();

/** Who is in which room on this node. Many tabs of a user are one presence; a reconnect within the grace is no leave. */
export class LocalPresence {
  readonly #clock: Clock;
  readonly #leaveGraceMs: number;
  readonly #events: LocalPresenceEvents;
  readonly #rooms = new Map<LogId, Map<string, Stay>>();

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
    else cancel(stay);
  }

  /** `forGood`: the user left, so that no grace is given. */
  left(log: LogId, userId: string, forGood: boolean): void {
    const users = this.#rooms.get(log);
    const stay = users?.get(userId);
    if (users === undefined || typeof stay !== "number") return;
    if (stay > 1) users.set(userId, stay - 1);
    else if (forGood) this.#remove(log, userId);
    else
      users.set(
        userId,
        this.#clock.after(this.#leaveGraceMs, () => this.#remove(log, userId)),
      );
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
    for (const users of this.#rooms.values()) for (const stay of users.values()) cancel(stay);
    this.#rooms.clear();
  }

  #remove(log: LogId, userId: string): void {
    const users = this.#rooms.get(log);
    if (users === undefined || !users.delete(userId)) return;
    if (users.size === 0) this.#rooms.delete(log);
    this.#events.onGone(log, userId);
  }
}

function cancel(stay: Stay): void {
  if (typeof stay === "function") stay();
}
