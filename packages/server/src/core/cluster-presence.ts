import type { Bus, Signal } from "../bus/bus.ts";
import type { Clock } from "./clock.ts";
import type { Leases } from "./leases.ts";
import type { LocalPresence } from "./local-presence.ts";
import type { LogId } from "./log.ts";
import type { Here, PresenceEvents, PresenceLimits } from "./presence.ts";
import { changesMs, PresenceSignals } from "./presence-signals.ts";
import { type PresenceSignal, RemotePresence } from "./remote-presence.ts";
import { inTurns } from "./turns.ts";

const tickMs = 250;
/** From the question who is where until the answers are there. */
const settleMs = 1_000;
/** A second question follows when nobody has answered: the transport may not have followed the room yet. */
const askAgainMs = 2_000;
/** Who is gone may be elsewhere, which is told of within a second: so long nobody is told. */
const partingMs = changesMs + tickMs;
/** A node whose lease has ended may have left in order: its users have so long to come back elsewhere. */
const quietMs = 2_500;
/** A node that holds its lease and is not heard, while the bus is up. */
const silentMs = 30_000;
/** A node that has said nothing of a room is asked, and then counted out. */
const staleMs = 45_000;
const lostMs = 300_000;
const staleCheckMs = 15_000;

/** A room that this node follows, and what its users here know. */
interface Room {
  /** When the others have answered; null while they have not been asked. */
  settlesAt: number | null;
  askedAt: number;
  /** Users that are here as far as the room's users know; null while they are too many, and before it has settled. */
  told: Set<string> | null;
  settled: boolean;
  /** It is taken for crowded until then, without another count. */
  crowdedUntil: number;
  /** Users that came before the room settled, and are still there, in order. */
  arrivals: Set<string>;
  /** Users that were told of and are gone, by when the others are told. */
  partings: Map<string, number>;
  /** Users that were said to have left, for their node was not heard any more. Null nearly always. */
  lost: Set<string> | null;
  waiting: (() => void)[];
}

/**
 * Presence over all nodes: what the others say, merged with who is here. The users of a room are told when one comes
 * who was on no node, and when one is on none any more.
 */
export class ClusterPresence {
  readonly #clock: Clock;
  readonly #leases: Leases;
  readonly #local: LocalPresence;
  readonly #remote: RemotePresence;
  readonly #signals: PresenceSignals;
  readonly #events: PresenceEvents;
  readonly #listMax: number;
  readonly #rooms = new Map<LogId, Room>();
  /** Rooms that have not settled, or in which somebody is parting, or which are to be asked about again. */
  readonly #pending = new Set<LogId>();
  /** When each node was heard last, by the monotonic clock. */
  readonly #heard = new Map<string, number>();
  #upSince: number | null = 0;
  #staleCheckAt = 0;
  #cancel: () => void = () => {};
  #stopped = false;

  constructor(parts: {
    clock: Clock;
    bus: Bus;
    node: string;
    leases: Leases;
    limits: PresenceLimits;
    events: PresenceEvents;
    local: LocalPresence;
  }) {
    this.#clock = parts.clock;
    this.#leases = parts.leases;
    this.#local = parts.local;
    this.#events = parts.events;
    this.#listMax = parts.limits.presenceListMax;
    this.#remote = new RemotePresence(this.#listMax);
    this.#signals = new PresenceSignals({
      ...parts,
      countMax: this.#listMax,
      onAsked: (log) => this.#asked(log),
    });
  }

  start(): void {
    this.#cancel = this.#clock.after(tickMs, () => {
      this.#tick();
      this.#cancel = inTurns(this.#clock, this.#lookAtPending(), () => this.start());
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
    for (const log of [...this.#rooms.keys()]) this.drop(log);
  }

  follow(log: LogId): void {
    if (this.#rooms.has(log)) return;
    this.#remote.follow(log);
    this.#rooms.set(log, {
      settlesAt: null,
      askedAt: 0,
      told: null,
      settled: false,
      crowdedUntil: 0,
      arrivals: new Set(),
      partings: new Map(),
      lost: null,
      waiting: [],
    });
    this.#pending.add(log);
    this.#signals.ask(log);
  }

  drop(log: LogId): void {
    const room = this.#rooms.get(log);
    this.#rooms.delete(log);
    this.#pending.delete(log);
    this.#remote.drop(log);
    this.#signals.forget(log);
    for (const resolve of room?.waiting ?? []) resolve();
  }

  get followed(): number {
    return this.#rooms.size;
  }

  in(log: LogId): Here | Promise<Here> {
    return this.#rooms.get(log)?.settled === true ? this.#here(log) : this.#hereSoon(log);
  }

  localChanged(log: LogId, userId: string, change: "entered" | "left"): void {
    this.#signals.changed(log, userId, change);
    if (change === "entered") this.#entered(log, userId, (otherId) => otherId === userId);
    else this.#gone(log, userId);
  }

  onSignal(log: LogId, signal: Signal): void {
    if (signal.kind === "presence_wanted") this.#signals.asked(log);
    if (signal.kind === "presence") this.#take(log, signal);
  }

  onHeard(node: string): void {
    this.#heard.set(node, this.#clock.monotonic());
  }

  onState(state: "up" | "down"): void {
    this.#upSince = state === "up" ? this.#clock.monotonic() : null;
    if (state === "up") this.#signals.repeatAll();
  }

  #take(log: LogId, signal: PresenceSignal): void {
    // Why: what a node that is gone has sent may be late.
    if (!this.#rooms.has(log) || this.#leases.endedFor(signal.node) !== null) return;
    this.onHeard(signal.node);
    const { entered, left, isLacking } = this.#remote.take(log, signal, this.#clock.monotonic());
    if (isLacking) this.#askAgain(log);
    // Why: who is named by a signal that says all was there before this node heard of it.
    if (signal.whole) this.#learn(log, entered);
    else for (const userId of entered) this.#entered(log, userId, (otherId) => otherId === userId);
    for (const userId of left) this.#gone(log, userId);
  }

  /** The user is on some node now. */
  #entered(log: LogId, userId: string, except: (otherId: string) => boolean): void {
    const room = this.#rooms.get(log);
    if (room === undefined) return;
    if (!room.settled) {
      room.arrivals.add(userId);
      return;
    }
    const told = this.#toldOf(log, room);
    room.partings.delete(userId);
    room.lost?.delete(userId);
    if (told === null || told.has(userId)) return;
    told.add(userId);
    this.#events.onTold(log, "user_joined", userId, except);
  }

  /** Users that were there before: nobody needs to be told of them, but of those who were said to have left. */
  #learn(log: LogId, users: readonly string[]): void {
    const room = this.#rooms.get(log);
    if (room === undefined || !room.settled) return;
    const told = this.#toldOf(log, room);
    for (const userId of users) {
      if (told !== null && room.lost?.has(userId) === true) this.#entered(log, userId, (otherId) => otherId === userId);
      room.partings.delete(userId);
      told?.add(userId);
    }
  }

  /** The user is not any more where it was. */
  #gone(log: LogId, userId: string): void {
    const room = this.#rooms.get(log);
    if (room === undefined || this.#isHere(log, userId)) return;
    room.arrivals.delete(userId);
    if (!room.settled || this.#toldOf(log, room)?.has(userId) !== true) return;
    room.partings.set(userId, this.#clock.monotonic() + partingMs);
    this.#pending.add(log);
  }

  /** The node is not heard any more: its users are gone, but may show to have been there all the time. */
  #lose(log: LogId, node: string): void {
    const room = this.#rooms.get(log);
    for (const userId of this.#remote.forget(log, node)) {
      this.#gone(log, userId);
      if (room?.partings.has(userId) !== true) continue;
      room.lost ??= new Set();
      room.lost.add(userId);
      const [oldest] = room.lost;
      if (room.lost.size > this.#listMax && oldest !== undefined) room.lost.delete(oldest);
    }
  }

  /**
   * The users whom the room's users know of; null while there are too many.
   *
   * Why a bound: in a room of n users, n arrivals would be n² signals.
   */
  #toldOf(log: LogId, room: Room): Set<string> | null {
    if (this.#isCrowded(log, room)) {
      room.told = null;
      room.lost = null;
      room.partings.clear();
    } else {
      room.told ??= this.#union(log);
    }
    return room.told;
  }

  #isCrowded(log: LogId, room: Room): boolean {
    const here = this.#local.count(log);
    if (here > this.#listMax || this.#remote.isUnnamed(log)) return true;
    if (here + this.#remote.namedCount(log) <= this.#listMax) return false;
    // Why: to count users of several nodes once takes a look at each of them.
    const now = this.#clock.monotonic();
    if (now < room.crowdedUntil) return true;
    if (this.#union(log).size <= this.#listMax) return false;
    room.crowdedUntil = now + changesMs;
    return true;
  }

  #isHere(log: LogId, userId: string): boolean {
    return this.#local.has(log, userId) || this.#remote.has(log, userId);
  }

  /** All who are named; for rooms whose users are few. */
  #union(log: LogId): Set<string> {
    const users = new Set(this.#local.users(log));
    for (const userId of this.#remote.users(log)) users.add(userId);
    return users;
  }

  #here(log: LogId): Here {
    const users: string[] = [];
    let count = this.#local.count(log) + this.#remote.unnamedCount(log);
    for (const userId of this.#local.users(log)) {
      if (users.length >= this.#listMax) break;
      users.push(userId);
    }
    const others = new Set<string>();
    for (const userId of this.#remote.users(log)) if (!this.#local.has(log, userId)) others.add(userId);
    count += others.size;
    for (const userId of others) {
      if (users.length >= this.#listMax) break;
      users.push(userId);
    }
    return { users, count };
  }

  async #hereSoon(log: LogId): Promise<Here> {
    await this.#events.follow(log);
    const room = this.#rooms.get(log);
    if (room !== undefined && !room.settled) await new Promise<void>((resolve) => room.waiting.push(resolve));
    return this.#here(log);
  }

  #asked(log: LogId): void {
    const room = this.#rooms.get(log);
    if (room === undefined) return;
    room.askedAt = this.#clock.monotonic();
    room.settlesAt ??= room.askedAt + settleMs;
  }

  #askAgain(log: LogId): void {
    const room = this.#rooms.get(log);
    if (room !== undefined && this.#clock.monotonic() - room.askedAt >= askAgainMs) this.#signals.ask(log);
  }

  #tick(): void {
    // Why: while its lease had ended, what this node said was taken for late, and its users for gone.
    if (this.#leases.takeReturn()) this.#signals.repeatAll();
    this.#signals.send(tickMs, this.#upSince !== null);
    const now = this.#clock.monotonic();
    this.#checkNodes(now);
    if (now >= this.#staleCheckAt) this.#checkStale(now);
  }

  *#lookAtPending(): Generator<void> {
    const now = this.#clock.monotonic();
    for (const log of this.#pending) {
      for (const [userId, at] of this.#rooms.get(log)?.partings ?? []) {
        if (at > now) continue;
        this.#part(log, userId);
        yield;
      }
      const room = this.#rooms.get(log);
      if (room === undefined || this.#isDone(log, room, now)) this.#pending.delete(log);
      yield;
    }
  }

  /** True when the room needs no further look. */
  #isDone(log: LogId, room: Room, now: number): boolean {
    if (room.settlesAt === null || now < room.settlesAt) return false;
    if (!room.settled) this.#settle(log, room);
    const isAnswered = this.#remote.isHeardOf(log) || room.askedAt > room.settlesAt - settleMs;
    if (!isAnswered && now - room.askedAt >= askAgainMs) this.#signals.ask(log);
    return room.partings.size === 0 && (isAnswered || now - room.askedAt >= askAgainMs);
  }

  /** The others have answered: those who came meanwhile, and were on no other node, are told of to who was there before. */
  #settle(log: LogId, room: Room): void {
    room.settled = true;
    for (const resolve of room.waiting.splice(0)) resolve();
    if (this.#toldOf(log, room) === null) room.arrivals.clear();
    for (const userId of room.arrivals) {
      if (this.#local.has(log, userId) && !this.#remote.has(log, userId))
        this.#events.onTold(log, "user_joined", userId, (otherId) => room.arrivals.has(otherId));
      room.arrivals.delete(userId);
    }
  }

  #part(log: LogId, userId: string): void {
    const room = this.#rooms.get(log);
    room?.partings.delete(userId);
    if (this.#isHere(log, userId) || room?.told?.delete(userId) !== true) return;
    this.#events.onTold(log, "user_left", userId, (otherId) => otherId === userId);
  }

  #checkNodes(now: number): void {
    for (const [node, heardAt] of this.#heard) {
      const isEnded = this.#leases.endedFor(node) !== null;
      const isSilent = this.#upSince !== null && now - Math.max(heardAt, this.#upSince) > silentMs;
      if (isSilent || (isEnded && now - heardAt >= quietMs)) this.#forgetNode(node);
    }
  }

  #forgetNode(node: string): void {
    this.#heard.delete(node);
    inTurns(this.#clock, this.#loseAll(node));
  }

  *#loseAll(node: string): Generator<void> {
    for (const log of this.#remote.roomsOf(node)) {
      if (this.#stopped || this.#heard.has(node)) return;
      this.#lose(log, node);
      yield;
    }
  }

  /** Rooms that a node has said nothing of, though it says all again and again: its last signals were lost. */
  #checkStale(now: number): void {
    this.#staleCheckAt = now + staleCheckMs;
    if (this.#upSince === null) return;
    for (const [log, node, at] of [...this.#remote.silentSince(now - staleMs)]) {
      this.#askAgain(log);
      if (now - Math.max(at, this.#upSince) < lostMs) continue;
      this.#lose(log, node);
    }
  }
}
