import type { Bus, Signal } from "../bus/bus.ts";
import type { Clock } from "./clock.ts";
import { ClusterPresence } from "./cluster-presence.ts";
import { LocalPresence } from "./local-presence.ts";
import type { Leases } from "./leases.ts";
import type { LogId } from "./log.ts";

export interface PresenceLimits {
  /** How long after its last connection a user is still there; longer than a reconnect takes. */
  readonly leaveGraceMs: number;
  /** Users named in an answer; the count is always whole. */
  readonly presenceListMax: number;
}

export interface PresenceEvents {
  /** The room's other users on this node are told; `except` are those who know. */
  onTold(log: LogId, event: "user_joined" | "user_left", userId: string, except: (otherId: string) => boolean): void;
  /** Begins to follow the room, if need be. Rejects with `StoreUnavailable`. */
  follow(log: LogId): Promise<unknown>;
}

/** Who is in a room, on whatever node: at most `presenceListMax` of them, and how many there are. */
export interface Here {
  readonly users: readonly string[];
  readonly count: number;
}

/**
 * Who is in which room (PRES-1). Many tabs of a user are one presence, on whatever nodes they are; a reconnect within the
 * grace is no leave. Soft state: it is never stored.
 */
export class Presence {
  readonly #local: LocalPresence;
  /** Null for a node that is alone. */
  readonly #cluster: ClusterPresence | null;
  readonly #listMax: number;

  constructor(parts: {
    clock: Clock;
    bus: Bus;
    node: string;
    leases: Leases;
    limits: PresenceLimits;
    events: PresenceEvents;
  }) {
    const { clock, bus, limits, events } = parts;
    this.#listMax = limits.presenceListMax;
    this.#local = new LocalPresence(clock, limits.leaveGraceMs, {
      onEntered: (log, userId) => this.#changed(log, userId, "entered", events),
      onGone: (log, userId) => this.#changed(log, userId, "left", events),
    });
    this.#cluster = bus.alone ? null : new ClusterPresence({ ...parts, local: this.#local });
  }

  start(): void {
    this.#cluster?.start();
  }

  stop(): void {
    this.#cluster?.stop();
    this.#local.stop();
  }

  entered(log: LogId, userId: string): void {
    this.#local.entered(log, userId);
  }

  /** `forGood`: the user left, so that no grace is given. */
  left(log: LogId, userId: string, forGood: boolean): void {
    this.#local.left(log, userId, forGood);
  }

  /**
   * At once for a room that this node follows, if it has heard from the others by now. Where a node counts more users
   * than `presenceListMax`, who is on several nodes counts several times. Rejects with `StoreUnavailable`.
   */
  in(log: LogId): Here | Promise<Here> {
    if (this.#cluster !== null) return this.#cluster.in(log);
    const users: string[] = [];
    for (const userId of this.#local.users(log)) {
      if (users.length >= this.#listMax) break;
      users.push(userId);
    }
    return { users, count: this.#local.count(log) };
  }

  /** Rooms whose users on other nodes it keeps account of. */
  get followed(): number {
    return this.#cluster?.followed ?? 0;
  }

  /** This node begins to follow the room, or does not any more. */
  onFollowed(log: LogId): void {
    this.#cluster?.follow(log);
  }

  onDropped(log: LogId): void {
    this.#cluster?.drop(log);
  }

  onSignal(log: LogId, signal: Signal): void {
    this.#cluster?.onSignal(log, signal);
  }

  /** A sign of life of another node. */
  onHeard(node: string): void {
    this.#cluster?.onHeard(node);
  }

  onState(state: "up" | "down"): void {
    this.#cluster?.onState(state);
  }

  #changed(log: LogId, userId: string, change: "entered" | "left", events: PresenceEvents): void {
    if (this.#cluster !== null) {
      this.#cluster.localChanged(log, userId, change);
      return;
    }
    // Why a bound: in a room of n users, n arrivals would be n² signals.
    if (this.#local.count(log) > this.#listMax) return;
    const event = change === "entered" ? "user_joined" : "user_left";
    events.onTold(log, event, userId, (otherId) => otherId === userId);
  }
}
