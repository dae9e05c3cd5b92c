import type { Clock } from "./clock.ts";
import type { LogId } from "./log.ts";

export interface LocalPresenceEvents {
  onEntered(log: LogId, userId: string): void;
  onGone(log: LogId, userId: string): void;
}

/** Connections of a user in a room; `cancelLeave` while the grace of the last one runs. */
interface Stay {
  connections: number;
  cancelLeave: (() => void) | null;
}

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
    if (stay === undefined) {
      users.set(userId, { connections: 1, cancelLeave: null });
      this.#events.onEntered(log, userId);
      return;
    }
    stay.cancelLeave?.();
    stay.cancelLeave = null;
    stay.connections += 1;
  }

  /** `forGood`: the user left, so that no grace is given. */
  left(log: LogId, userId: string, forGood: boolean): void {
    const stay = this.#rooms.get(log)?.get(userId);
    if (stay === undefined || stay.connections === 0) return;
    stay.connections -= 1;
    if (stay.connections > 0) return;
    if (forGood) this.#remove(log, userId);
    else stay.cancelLeave = this.#clock.after(this.#leaveGraceMs, () => this.#remove(log, userId));
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
    for (const users of this.#rooms.values()) for (const stay of users.values()) stay.cancelLeave?.();
    this.#rooms.clear();
  }

  #remove(log: LogId, userId: string): void {
    const users = this.#rooms.get(log);
    if (users === undefined || !users.delete(userId)) return;
    if (users.size === 0) this.#rooms.delete(log);
    this.#events.onGone(log, userId);
  }
}
