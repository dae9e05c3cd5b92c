import { RefusalError } from "@parley/protocol";
import { OutcomeUnknown, type SessionKey, type Store, type StoredSession, StoreUnavailable } from "../store/store.ts";
import type { Clock } from "./clock.ts";
import type { Millis } from "./log.ts";
import { firstGeneration, type Session } from "./session.ts";
import { safeCursors } from "./session-cursors.ts";
import { fromHistory, type Run } from "./unconfirmed.ts";

export interface SessionKeeperLimits {
  readonly maxDisconnectionDurationMs: Millis;
  readonly storeRetryMs: Millis;
}

const tickMs = 1_000;
/** A connected session is written at least so often; what is stored lasts twice as much longer, for a store that is away. */
const refreshMs = 60_000;
/** Entries after whose arrival it is written before that. */
const arrivedMax = 500;
/** Sessions in one write. */
const batchMax = 1_000;
/** Of those that got many entries so few are written at once: a thousand would hold up the store for 30 ms, and who sends. */
const advancedAtOnce = 50;
const paceMs = 50;
/** Writes begin no sooner after each other. Why: a storm of joins is then few writes, of which each costs more than what it holds. */
const betweenWritesMs = 10;
/** How long a join or leave waits for a store that is away. */
const waitMaxMs = 5_000;

/** The user of sessions that have ended: nobody's claim finds them. */
const nobody = "";

interface Waiter {
  readonly since: Millis;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

type Batch = ReadonlyMap<Session, readonly Waiter[]>;

/**
 * Keeps in the store what another node needs to go on with a session (REC-2): its rooms, and where its client stands for
 * certain. One write is in flight; what arrives meanwhile is the next.
 *
 * Why not more often: what is stored may be behind, never ahead; a node that takes over from it repeats, and misses nothing.
 */
export class SessionKeeper {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #node: string;
  readonly #limits: SessionKeeperLimits;
  readonly #onLost: (session: Session) => void;
  /** For the next write, with those who wait for it. Bounded by the sessions and requests of the node. */
  readonly #next = new Map<Session, Waiter[]>();
  /** For the next tick: all of them; and as far as they fit into one write. */
  readonly #soon = new Set<Session>();
  readonly #advanced = new Set<Session>();
  /** Connected ones, in the order of their last writes. */
  readonly #connected = new Set<Session>();
  /** Bounded by the sessions that were stored: while the store is away, no others are. */
  #ended: SessionKey[] = [];
  /** Ended ones that were another node's before, as they are stored from then on, by `pid`: bounded likewise. */
  readonly #buried = new Map<string, StoredSession>();
  #working: Promise<void> | null = null;
  #stopped = false;
  /** When the last write began, by the monotonic clock. */
  #writtenAt = Number.NEGATIVE_INFINITY;
  /** Begins the next write at once, if there is one that waits. */
  #hurry: () => void = () => {};
  #cancelTick: () => void = () => {};
  #cancelPace: () => void = () => {};

  constructor(parts: {
    store: Store;
    clock: Clock;
    node: string;
    limits: SessionKeeperLimits;
    /** Another node has claimed the session. */
    onLost: (session: Session) => void;
  }) {
    this.#store = parts.store;
    this.#clock = parts.clock;
    this.#node = parts.node;
    this.#limits = parts.limits;
    this.#onLost = parts.onLost;
  }

  start(): void {
    this.#cancelTick = this.#clock.after(tickMs, () => {
      this.#tick();
      this.start();
    });
  }

  /** Writes what waits to be written, once, and then no more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelTick();
    this.#cancelPace();
    for (const session of [...this.#soon, ...this.#advanced]) this.#add(session);
    this.#hurry();
    await this.#working;
    await this.#work();
  }

  /**
   * Settles when the session is stored as it is now, or is another node's; undefined for one that is not kept. Rejects
   * with `RefusalError` `store_unavailable` when the store stays away; it is written when the store is back.
   */
  keep(session: Session): undefined | Promise<void> {
    if (!session.kept || session.dropped) return undefined;
    if (this.#stopped) return Promise.reject(new RefusalError("shutting_down", "this node is stopping; try again"));
    return new Promise((resolve, reject) => {
      this.#add(session, { since: this.#clock.monotonic(), resolve, reject });
      this.#wake();
    });
  }

  /** Stores the session within about a second. */
  keepSoon(session: Session): void {
    if (session.kept && !session.dropped) this.#soon.add(session);
  }

  /** These runs have arrived at the session's client. */
  arrived(session: Session, runs: readonly Run[]): void {
    if (!session.kept) return;
    // Why a page counts for all: without it a client gets the page again, instead of a few entries.
    for (const { from, to } of runs) session.arrivedSinceKept += from === fromHistory ? arrivedMax : to - from;
    if (session.arrivedSinceKept >= arrivedMax) this.#advanced.add(session);
  }

  /** The session is not here any more, and is not written again. */
  forget(session: Session): void {
    for (const waiter of this.#next.get(session) ?? []) waiter.resolve();
    this.#next.delete(session);
    this.#soon.delete(session);
    this.#advanced.delete(session);
    this.#connected.delete(session);
  }

  /**
   * Nobody may come back to it: what is stored of it goes. Of one that came from another node its generation stays, as
   * nobody's. Why: that node may not have heard of it, and would store what it still has as if it had not ended.
   */
  end({ kept, pid, generation, keptAt, id, user: { tenant } }: Session): void {
    if (!kept || pid === null) return;
    if (generation > firstGeneration)
      this.#buried.set(pid, {
        pid,
        generation,
        id,
        tenant,
        userId: nobody,
        owner: this.#node,
        keepMs: this.#keepMs(true),
        cursors: [],
      });
    else if (keptAt >= 0) this.#ended.push({ pid, generation });
  }

  #tick(): void {
    for (const session of this.#soon) this.#add(session);
    this.#soon.clear();
    this.#addOldest();
    this.#cancelPace();
    this.#pace(tickMs / paceMs);
  }

  /** A few of the advanced ones, and until the next tick some more. */
  #pace(paces: number): void {
    let count = Math.min(advancedAtOnce, batchMax - this.#next.size);
    for (const session of this.#advanced) {
      if (count <= 0) break;
      this.#add(session);
      this.#advanced.delete(session);
      count -= 1;
    }
    if (this.#waits()) this.#wake();
    if (paces > 1 && this.#advanced.size > 0) {
      this.#cancelPace = this.#clock.after(paceMs, () => this.#pace(paces - 1));
    }
  }

  /** Those whose last write is long ago, spread so that a storm of connections does not come again each minute. */
  #addOldest(): void {
    const before = this.#clock.monotonic() - refreshMs;
    let count = Math.max(1, Math.ceil((2 * this.#connected.size * tickMs) / refreshMs));
    for (const session of this.#connected) {
      if (count <= 0 || session.keptAt > before) return;
      this.#add(session);
      count -= 1;
    }
  }

  #add(session: Session, waiter?: Waiter): void {
    const waiting = this.#next.get(session);
    if (waiting === undefined) this.#next.set(session, waiter === undefined ? [] : [waiter]);
    else if (waiter !== undefined) waiting.push(waiter);
  }

  #wake(): void {
    if (this.#working !== null || this.#stopped) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#working = promise;
    const begin = (): void => {
      this.#hurry = () => {};
      resolve(this.#work());
    };
    const waitMs = this.#writtenAt + betweenWritesMs - this.#clock.monotonic();
    if (waitMs <= 0) {
      // Why: all that this turn of the event loop read from its sockets goes into one write.
      this.#clock.immediate(begin);
      return;
    }
    const cancel = this.#clock.after(waitMs, begin);
    this.#hurry = () => {
      cancel();
      begin();
    };
  }

  /** One write; when it stops, all of them. Never rejects. */
  async #work(): Promise<void> {
    do {
      const batch = this.#takeBatch();
      this.#writtenAt = this.#clock.monotonic();
      try {
        if (batch.size > 0) await this.#writeAll(batch);
        await this.#endSome();
      } catch (error) {
        this.#giveBack(batch, error);
        if (this.#stopped) break;
        await new Promise<void>((resolve) => this.#clock.after(this.#limits.storeRetryMs, resolve));
      }
    } while (this.#stopped && this.#waits());
    this.#working = null;
    if (this.#waits()) this.#wake();
  }

  /** Those that the store refuses for what they are lapse there by themselves. Rejects when the store is away. */
  async #endSome(): Promise<void> {
    const ended = this.#ended.splice(0, batchMax);
    const buried = [...this.#buried.values()].slice(0, batchMax);
    for (const { pid } of buried) this.#buried.delete(pid);
    try {
      if (ended.length > 0) await this.#store.endSessions(ended);
      if (buried.length > 0) await this.#store.putSessions(buried);
    } catch (error) {
      if (mayPass(error)) {
        this.#ended.push(...ended);
        // Why the other way round: one that ended again meanwhile is the newer one.
        for (const session of buried) if (!this.#buried.has(session.pid)) this.#buried.set(session.pid, session);
      }
      throw error;
    }
  }

  #waits(): boolean {
    return this.#next.size > 0 || this.#ended.length > 0 || this.#buried.size > 0;
  }

  #takeBatch(): Map<Session, Waiter[]> {
    const batch = new Map<Session, Waiter[]>();
    for (const [session, waiters] of this.#next) {
      if (batch.size >= batchMax) break;
      batch.set(session, waiters);
      this.#next.delete(session);
      this.#soon.delete(session);
      this.#advanced.delete(session);
    }
    return batch;
  }

  /** One that the store refuses for what it is fails alone. Rejects when the store is away: then nobody has failed. */
  async #writeAll(batch: Batch): Promise<void> {
    try {
      await this.#write(batch);
    } catch (error) {
      if (mayPass(error)) throw error;
      if (batch.size === 1) this.#refuse(batch, error);
      else for (const half of halvesOf(batch)) await this.#writeAll(half);
    }
  }

  #refuse(batch: Batch, error: unknown): void {
    for (const [session, waiters] of batch) {
      this.#written(session);
      for (const { reject } of waiters) reject(refusalOf(error));
    }
  }

  /** It is written again a while after those that were written before. */
  #written(session: Session): void {
    this.#connected.delete(session);
    if (session.connection !== null) this.#connected.add(session);
  }

  async #write(batch: Batch): Promise<void> {
    const sessions = [...batch.keys()];
    const sentAt = Math.trunc(this.#clock.monotonic());
    const results = await this.#store.putSessions(
      sessions.map((session) => {
        session.keptAt = sentAt;
        session.arrivedSinceKept = 0;
        return this.#stored(session);
      }),
    );
    for (const [index, session] of sessions.entries()) {
      this.#written(session);
      if (results[index] === false && !session.dropped) this.#onLost(session);
      for (const { resolve } of batch.get(session) ?? []) resolve();
    }
  }

  #stored(session: Session): StoredSession {
    const { pid, generation, id, user, connection } = session;
    return {
      pid: pid ?? "",
      generation,
      id,
      tenant: user.tenant,
      userId: user.id,
      owner: this.#node,
      keepMs: this.#keepMs(connection !== null),
      cursors: safeCursors(session),
    };
  }

  #keepMs(connected: boolean): Millis {
    return this.#limits.maxDisconnectionDurationMs + (connected ? 2 * refreshMs : 0);
  }

  /** What could not be written is written later. Those who have waited too long are told. */
  #giveBack(batch: Batch, error: unknown): void {
    const before = this.#clock.monotonic() - waitMaxMs;
    const isLater = !this.#stopped && mayPass(error);
    for (const [session, waiters] of batch) {
      if (isLater && !session.dropped) this.#add(session);
      for (const waiter of waiters) {
        if (session.dropped) waiter.resolve();
        else if (isLater && waiter.since > before) this.#add(session, waiter);
        else waiter.reject(refusalOf(error));
      }
    }
  }
}

function mayPass(error: unknown): boolean {
  return error instanceof StoreUnavailable || error instanceof OutcomeUnknown;
}

function halvesOf(batch: Batch): readonly Batch[] {
  const all = [...batch];
  const middle = Math.ceil(all.length / 2);
  return [new Map(all.slice(0, middle)), new Map(all.slice(middle))];
}

function refusalOf(error: unknown): Error {
  if (mayPass(error))
    return new RefusalError("store_unavailable", "the store takes no writes at the moment; try again", 1_000);
  return error instanceof Error ? error : new Error("the store refused sessions", { cause: error });
}
