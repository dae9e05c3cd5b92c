import type { Bus } from "../bus/bus.ts";
import type { Clock } from "./clock.ts";
import type { LocalPresence } from "./local-presence.ts";
import type { LogId } from "./log.ts";

/** What this node has said of a room of its own. */
interface Said {
  /** Its users were named, not only counted. */
  named: boolean;
  /** When it said all, by the monotonic clock. */
  wholeAt: number;
  /** How often it said that nobody is there. */
  empties: number;
}

/** A room that changed is told of once in this time. */
export const changesMs = 1_000;
/** Everything is said again after so long, for nodes that lost a signal. */
const repairMs = 15_000;
/** That a room is empty is said so many times more: nothing else would repair it. */
const emptiesMax = 2;
/** Signals of each kind in a second; what is over waits. */
const signalsPerSecondMax = 1_000;

/**
 * Tells the other nodes who is in which room on this one: changes once a second, all when a node asks or a signal may
 * have been lost. Bounded in a second, by room and altogether.
 */
export class PresenceSignals {
  readonly #clock: Clock;
  readonly #bus: Bus;
  readonly #node: string;
  readonly #local: LocalPresence;
  readonly #countMax: number;
  /** By room, what became of users since the last signal. */
  readonly #changes = new Map<LogId, Map<string, "entered" | "left">>();
  /** Rooms that this node has said something of, the one that was said whole longest ago first. */
  readonly #said = new Map<LogId, Said>();
  readonly #answers = new Set<LogId>();
  readonly #asks = new Set<LogId>();
  #changesDueAt = 0;
  /** The question for a room has been sent. */
  readonly #onAsked: (log: LogId) => void;

  constructor(parts: {
    clock: Clock;
    bus: Bus;
    node: string;
    local: LocalPresence;
    countMax: number;
    onAsked: (log: LogId) => void;
  }) {
    this.#clock = parts.clock;
    this.#bus = parts.bus;
    this.#node = parts.node;
    this.#local = parts.local;
    this.#countMax = parts.countMax;
    this.#onAsked = parts.onAsked;
  }

  changed(log: LogId, userId: string, change: "entered" | "left"): void {
    const changes = this.#changes.get(log) ?? new Map<string, "entered" | "left">();
    this.#changes.set(log, changes);
    // Why: who came and went between two signals was never told of.
    if (changes.has(userId)) changes.delete(userId);
    else changes.set(userId, change);
  }

  /** Another node asks who is in the room here. */
  asked(log: LogId): void {
    if (this.#local.count(log) > 0 || this.#said.has(log)) this.#answers.add(log);
  }

  /** Who is in the room elsewhere? */
  ask(log: LogId): void {
    this.#asks.add(log);
  }

  /** The question is not wanted any more. */
  forget(log: LogId): void {
    this.#asks.delete(log);
  }

  /** All is said again: what was said lately reached nobody. */
  repeatAll(): void {
    for (const log of this.#said.keys()) this.#answers.add(log);
  }

  /** Sends what is due. `everyMs`: time between two calls. While the bus is down nothing is said: it would be lost. */
  send(everyMs: number, isUp: boolean): void {
    const bound = Math.ceil((signalsPerSecondMax * everyMs) / 1_000);
    for (const log of take(this.#asks, bound)) {
      this.#bus.signal(log, { kind: "presence_wanted", node: this.#node });
      this.#onAsked(log);
    }
    if (!isUp) return;
    for (const log of take(this.#answers, bound)) this.#sayAll(log);
    const now = this.#clock.monotonic();
    if (now < this.#changesDueAt) return;
    this.#changesDueAt = now + changesMs;
    for (const log of take(this.#changes.keys(), signalsPerSecondMax)) this.#sayChanges(log);
    this.#repair(now);
  }

  #repair(now: number): void {
    let left = signalsPerSecondMax;
    for (const [log, said] of this.#said) {
      if (now - said.wholeAt < repairMs || left === 0) return;
      left -= 1;
      this.#sayAll(log);
    }
  }

  #sayChanges(log: LogId): void {
    const changes = this.#changes.get(log) ?? new Map<string, "entered" | "left">();
    this.#changes.delete(log);
    if (changes.size === 0) return;
    const count = this.#local.count(log);
    const said = this.#said.get(log);
    const isNamed = count <= this.#countMax;
    if (isNamed && said?.named === false) {
      this.#sayAll(log);
      return;
    }
    this.#said.set(log, { named: isNamed, wholeAt: said?.wholeAt ?? this.#clock.monotonic(), empties: 0 });
    const names = (wanted: "entered" | "left"): string[] =>
      isNamed ? [...changes].filter(([, change]) => change === wanted).map(([userId]) => userId) : [];
    this.#signal(log, false, names("entered"), names("left"), count);
  }

  #sayAll(log: LogId): void {
    // Why: who is named among all is no news, and nobody would be told that the user came.
    this.#sayChanges(log);
    const count = this.#local.count(log);
    const isNamed = count <= this.#countMax;
    const empties = count > 0 ? 0 : (this.#said.get(log)?.empties ?? 0) + 1;
    this.#said.delete(log);
    if (empties < emptiesMax) this.#said.set(log, { named: isNamed, wholeAt: this.#clock.monotonic(), empties });
    this.#signal(log, true, isNamed ? [...this.#local.users(log)] : [], [], count);
  }

  #signal(log: LogId, whole: boolean, entered: readonly string[], left: readonly string[], count: number): void {
    this.#bus.signal(log, { kind: "presence", node: this.#node, whole, entered, left, count });
  }
}

/** The first `max`, which are taken out where they are a set; the rest waits. */
function take(logs: Set<LogId> | Iterable<LogId>, max: number): LogId[] {
  const taken: LogId[] = [];
  for (const log of logs) {
    if (taken.length === max) break;
    taken.push(log);
  }
  if (logs instanceof Set) for (const log of taken) logs.delete(log);
  return taken;
}
