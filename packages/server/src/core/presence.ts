import type { Clock } from "./clock.ts";
import type { LogId } from "./log.ts";

export interface PresenceLimits {
  /** How long after its last connection a user is still there; longer than a reconnect takes. */
  readonly leaveGraceMs: number;
  /** Users named in an answer; the count is always whole. */
  readonly presenceListMax: number;
}

export interface PresenceEvents {
  onJoined(log: LogId, userId: string): void;
  onLeft(log: LogId, userId: string): void;
}

/** Connections of a user in a room; `cancelLeave` while the grace of the last one runs. */
interface Stay {
  connections: number;
  cancelLeave: (() => void) | null;
}

/**
 * Who is in which room on this node. Many tabs of a user are one presence; a reconnect within the grace is no leave.
 * Soft state: it is never stored.
 */
export class Presence {
  readonly #clock: Clock;
  readonly #limits: PresenceLimits;
  readonly #events: PresenceEvents;
  readonly #rooms = new Map<LogId, Map<string, Stay>>();

  constructor(clock: Clock, limits: PresenceLimits, events: PresenceEvents) {
    this.#clock = clock;
    this.#limits = limits;
    this.#events = events;
  }

  entered(log: LogId, userId: string): void {
    const users = this.#rooms.get(log) ?? new Map<string, Stay>();
    this.#rooms.set(log, users);
    const stay = users.get(userId);
    if (stay === undefined) {
      users.set(userId, { connections: 1, cancelLeave: null });
      this.#events.onJoined(log, userId);
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
    else stay.cancelLeave = this.#clock.after(this.#limits.leaveGraceMs, () => this.#remove(log, userId));
  }

  in(log: LogId): { readonly users: readonly string[]; readonly count: number } {
    const users = this.#rooms.get(log);
    if (users === undefined) return { users: [], count: 0 };
    const names: string[] = [];
    for (const userId of users.keys()) {
      if (names.length >= this.#limits.presenceListMax) break;
      names.push(userId);
    }
    return { users: names, count: users.size };
  }

  stop(): void {
    for (const users of this.#rooms.values()) for (const stay of users.values()) stay.cancelLeave?.();
    this.#rooms.clear();
  }

  #remove(log: LogId, userId: string): void {
    const users = this.#rooms.get(log);
    if (users === undefined || !users.delete(userId)) return;
    if (users.size === 0) this.#rooms.delete(log);
    this.#events.onLeft(log, userId);
  }
}
