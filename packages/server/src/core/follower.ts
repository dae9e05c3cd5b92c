import type { Bus, Digest } from "../bus/bus.ts";
import type { Store } from "../store/store.ts";
import type { Clock } from "./clock.ts";
import type { Feeds } from "./feeds.ts";
import type { Leases } from "./leases.ts";
import type { Epoch, LogId, Millis, Seq } from "./log.ts";

export interface FollowerLimits {
  readonly digestMs: number;
  /** A node that was not heard for this long is read from the journal. */
  readonly silentAfterMs: number;
  /** Pause between looks for journal rows of silent and unknown nodes. */
  readonly journalCheckMs: number;
  /** The same while the bus is down. */
  readonly journalPollMs: number;
  /** After its lease has ended, a node's last commit lands within this: longer than a store lets a statement run. */
  readonly settleMs: number;
  /** A node of which no lease is known is forgotten after so long a silence; its journal rows are gone by then. */
  readonly forgetAfterMs: number;
  /** After so long without a look at the journal, rows of it may be gone that this node has not read. */
  readonly unreadMsMax: number;
}

export const defaultFollowerLimits: FollowerLimits = {
  digestMs: 1_000,
  silentAfterMs: 1_200,
  journalCheckMs: 500,
  journalPollMs: 300,
  settleMs: 30_000,
  forgetAfterMs: 600_000,
  unreadMsMax: 300_000,
};

/** Its times are by the monotonic clock: when somebody sets the other one, no node counts as heard that is not. */
interface Heard {
  /** The last of its batches that this node knows of. */
  n: number;
  /** When a digest joined on to what was known; infinitely long ago before the first. */
  at: Millis;
  /** When the node was heard or read of. */
  knownAt: Millis;
}

const journalRowsMax = 1_000;
const never = Number.NEGATIVE_INFINITY;

/**
 * Finds out what hints did not bring (FEED-2): by the digests of other nodes while they are heard, else by the journal.
 *
 * Why the journal of silent and unknown nodes only: reading every head costs with rooms, these rows cost with faults.
 */
export class Follower {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #bus: Bus;
  readonly #feeds: Feeds;
  readonly #node: string;
  readonly #leases: Leases;
  readonly #limits: FollowerLimits;
  readonly #onUnread: () => void;
  readonly #heard = new Map<string, Heard>();
  readonly #advanced = new Map<LogId, { epoch: Epoch; head: Seq }>();
  #n = 0;
  #digested = 0;
  #busUp = true;
  #reading = false;
  /** When the journal was last asked for, by the monotonic clock. */
  #readAt = 0;
  /** When the last look began that saw all there was, by the monotonic clock. */
  #knownAt = 0;
  #cancelDigest: () => void = () => {};
  #cancelJournal: () => void = () => {};
  #stopped = false;

  constructor(parts: {
    store: Store;
    clock: Clock;
    bus: Bus;
    feeds: Feeds;
    node: string;
    leases: Leases;
    limits: FollowerLimits;
    /** What was committed may be in no hint and no row of the journal that this node has seen, or will see. */
    onUnread: () => void;
  }) {
    this.#leases = parts.leases;
    this.#store = parts.store;
    this.#clock = parts.clock;
    this.#bus = parts.bus;
    this.#feeds = parts.feeds;
    this.#node = parts.node;
    this.#limits = parts.limits;
    this.#onUnread = () => parts.onUnread();
  }

  /** A node that has no other beside it has nothing to find out. */
  start(): void {
    if (this.#bus.alone) return;
    this.#knownAt = this.#clock.monotonic();
    this.#scheduleDigest();
    this.#scheduleJournal();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelDigest();
    this.#cancelJournal();
  }

  /** This node's batch `n` advanced a log. */
  committed(log: LogId, epoch: Epoch, head: Seq, n: number): void {
    this.#n = n;
    if (!this.#bus.alone) this.#advanced.set(log, { epoch, head });
  }

  onState(state: "up" | "down"): void {
    this.#busUp = state === "up";
    this.#cancelJournal();
    this.#scheduleJournal();
  }

  onDigest(digest: Digest): void {
    const heard = this.#heard.get(digest.node);
    for (const { log, epoch, head } of digest.heads) this.#feeds.announced(log, epoch, head);
    const now = this.#clock.monotonic();
    // Why: a digest that does not join on to what is known leaves batches whose heads were never heard.
    const joins = heard !== undefined && digest.after <= heard.n;
    if (heard === undefined) this.#heard.set(digest.node, { n: 0, at: never, knownAt: now });
    else heard.knownAt = now;
    if (!joins) return;
    heard.n = Math.max(heard.n, digest.n);
    heard.at = now;
  }

  #scheduleDigest(): void {
    if (this.#stopped) return;
    this.#cancelDigest = this.#clock.after(this.#limits.digestMs, () => {
      this.#sendDigest();
      this.#scheduleDigest();
    });
  }

  #scheduleJournal(): void {
    if (this.#stopped) return;
    // Why: a bus may say that it is down before the follower starts.
    this.#cancelJournal();
    const everyMs = this.#busUp ? this.#limits.journalCheckMs : this.#limits.journalPollMs;
    // Why from the last time: a bus that comes and goes must not put it off.
    const dueMs = this.#readAt + everyMs - this.#clock.monotonic();
    this.#cancelJournal = this.#clock.after(Math.max(0, dueMs), () => {
      this.#readAt = this.#clock.monotonic();
      void this.#readJournal();
      this.#scheduleJournal();
    });
  }

  #sendDigest(): void {
    const heads = Array.from(this.#advanced, ([log, { epoch, head }]) => ({ log, epoch, head }));
    this.#advanced.clear();
    this.#bus.digest({ node: this.#node, after: this.#digested, n: this.#n, heads });
    this.#digested = this.#n;
  }

  async #readJournal(): Promise<void> {
    if (this.#reading) return;
    this.#reading = true;
    try {
      const since = this.#knownAt;
      const asOf = this.#clock.monotonic();
      while (await this.#readJournalPage()) {
        // A full page: there is more.
      }
      this.#knownAt = asOf;
      if (asOf - since > this.#limits.unreadMsMax && !this.#stopped) this.#onUnread();
    } catch {
      // The store is away: appends fail too, and the next round reads again.
    }
    this.#reading = false;
  }

  async #readJournalPage(): Promise<boolean> {
    const now = this.#clock.monotonic();
    const after = new Map([[this.#node, Number.MAX_SAFE_INTEGER]]);
    this.#forget(now);
    for (const [node, { n, at }] of this.#heard) {
      const current = this.#busUp && now - at <= this.#limits.silentAfterMs;
      after.set(node, current ? Number.MAX_SAFE_INTEGER : n);
    }
    for (const node of this.#leases.ended()) if (this.#isSettled(node)) after.set(node, Number.MAX_SAFE_INTEGER);
    const rows = await this.#store.readJournal(after, journalRowsMax);
    if (this.#stopped) return false;
    for (const { node, n, heads } of rows) {
      for (const { log, epoch, head } of heads) this.#feeds.announced(log, epoch, head);
      const heard = this.#heard.get(node);
      if (heard === undefined) this.#heard.set(node, { n, at: never, knownAt: now });
      else heard.n = Math.max(heard.n, n);
    }
    return rows.length === journalRowsMax;
  }

  /** Nodes that are gone, with all that they can have committed; and those that nobody has known of for long. */
  #forget(now: Millis): void {
    for (const [node, { knownAt }] of this.#heard)
      if (this.#isSettled(node) || now - knownAt > this.#limits.forgetAfterMs) this.#heard.delete(node);
  }

  #isSettled(node: string): boolean {
    return (this.#leases.endedFor(node) ?? 0) > this.#limits.settleMs;
  }

  /** Nodes that it keeps account of. */
  get known(): number {
    return this.#heard.size;
  }
}
