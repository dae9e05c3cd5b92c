import type { Bus, Hint } from "../bus/bus.ts";
import type { Store } from "../store/store.ts";
import { CatchUp } from "./catch-up.ts";
import { Batches } from "./batches.ts";
import type { Clock } from "./clock.ts";
import type { Confirmation } from "./confirmation.ts";
import type { EventText } from "./entry-event.ts";
import { type Committed, Feed } from "./feed.ts";
import { Flusher } from "./flush.ts";
import { type Epoch, type LogId, type LogState, noEpoch, type Seq } from "./log.ts";
import { attach, detach, type Subscriber } from "./subscriber.ts";
import { Tails } from "./tails.ts";

export interface FeedsLimits {
  readonly tailBytesMax: number;
  readonly tailsBytesMax: number;
  readonly tailBytesMin: number;
  readonly flushBudgetMs: number;
  readonly catchUpReadsMax: number;
  readonly earlyEntriesMax: number;
  readonly storeRetryMs: number;
  /** How long a feed that nobody follows is kept, for those who come back at once. */
  readonly feedLingerMs: number;
}

export const defaultFeedsLimits: FeedsLimits = {
  tailBytesMax: 262_144,
  tailsBytesMax: 134_217_728,
  tailBytesMin: 4_096,
  flushBudgetMs: 1,
  catchUpReadsMax: 8,
  earlyEntriesMax: 1_000,
  storeRetryMs: 300,
  feedLingerMs: 5_000,
};

export interface FeedsEvents {
  /** The subscriber, which is detached by now, cannot get what follows its cursor: it must be told, and start over. */
  onGap(subscriber: Subscriber, reason: "floor" | "epoch"): void;
  /** Entries of a followed log were accepted and are not yet written to anyone. */
  onAccepted(feed: Feed, from: Seq, events: readonly EventText[]): void;
  /** A followed log has another life or floor: what it brought meanwhile was not accepted. Its subscribers were lost before. */
  onReset(feed: Feed): void;
  /** From now on signals of the log are received, and until `onDropped`. */
  onFollowed(log: LogId): void;
  onDropped(log: LogId): void;
  /** Entries were committed to a log that nobody follows here. */
  onUnfollowed(log: LogId, epoch: Epoch, head: Seq): void;
}

const statesPerRead = 1_000;

/**
 * The feeds of this node, by log, and who writes what they bring.
 *
 * Why one place: FEED-3 holds because a committed entry costs a node without a feed one look-up here.
 */
export class Feeds {
  readonly flusher: Flusher;
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #bus: Bus;
  readonly #limits: FeedsLimits;
  readonly #events: FeedsEvents;
  readonly #catchUp: CatchUp;
  readonly #feeds = new Map<LogId, Feed>();
  readonly #tails: Tails;
  readonly #opening = new Map<LogId, Promise<Feed>>();
  readonly #announcedWhileOpening = new Map<LogId, { epoch: Epoch; head: Seq }>();
  readonly #askedStates: Batches<LogId, LogState | undefined>;
  #stopped = false;
  #cancelSweep: () => void = () => {};

  constructor(parts: {
    store: Store;
    clock: Clock;
    bus: Bus;
    limits: FeedsLimits;
    confirmation: Confirmation;
    events: FeedsEvents;
  }) {
    this.#store = parts.store;
    this.#clock = parts.clock;
    this.#tails = new Tails(parts.clock);
    this.#bus = parts.bus;
    this.#limits = parts.limits;
    this.#events = parts.events;
    this.#askedStates = new Batches(parts.clock, statesPerRead, (logs) => parts.store.states(logs));
    this.flusher = new Flusher(parts.clock, parts.limits.flushBudgetMs, parts.confirmation);
    this.#catchUp = new CatchUp(parts.store, parts.clock, parts.limits, parts.confirmation, {
      onCaughtUp: (subscriber) => this.#resume(subscriber),
      onLost: (subscriber, reason) => this.#lose(subscriber, reason),
    });
  }

  start(): void {
    this.#cancelSweep = this.#clock.after(this.#limits.feedLingerMs, () => this.#sweep());
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelSweep();
    this.flusher.stop();
    this.#catchUp.stop();
    for (const feed of this.#feeds.values()) feed.close();
    this.#feeds.clear();
  }

  get size(): number {
    return this.#feeds.size;
  }

  get(log: LogId): Feed | undefined {
    return this.#feeds.get(log);
  }

  all(): Iterable<Feed> {
    return this.#feeds.values();
  }

  /** The feed of a log, opened when needed; racing callers share one read. Rejects with `StoreUnavailable`. */
  open(log: LogId): Feed | Promise<Feed> {
    const known = this.#feeds.get(log);
    if (known !== undefined) {
      known.idleSince = this.#clock.monotonic();
      return known;
    }
    const opening = this.#opening.get(log);
    if (opening !== undefined) return opening;
    const promise = this.#openFeed(log).finally(() => this.#opening.delete(log));
    this.#opening.set(log, promise);
    return promise;
  }

  async #openFeed(log: LogId): Promise<Feed> {
    // Why first: what is committed after the read below is announced, and then found missing.
    this.#bus.follow(log);
    const state = await this.#stateOf(log).catch((error: unknown) => {
      this.#bus.unfollow(log);
      this.#announcedWhileOpening.delete(log);
      throw error;
    });
    const feed = new Feed(log, state, {
      store: this.#store,
      clock: this.#clock,
      limits: this.#limits,
      tails: this.#tails,
      events: {
        onAdvanced: (advanced, from, events) => {
          this.#events.onAccepted(advanced, from, events);
          this.flusher.feedAdvanced(advanced);
        },
        onReset: (reset, reason) => this.#resetSubscribers(reset, reason),
      },
    });
    if (!this.#stopped) {
      this.#feeds.set(log, feed);
      this.#events.onFollowed(log);
    }
    const missed = this.#announcedWhileOpening.get(log);
    if (missed !== undefined) {
      this.#announcedWhileOpening.delete(log);
      feed.announce(missed.epoch, missed.head);
    }
    return feed;
  }

  async #stateOf(log: LogId): Promise<LogState> {
    return (await this.#askedStates.ask(log)) ?? (await this.#store.open(log));
  }

  /** Delivery begins after the subscriber's cursor, with this turn's flush. */
  subscribe(subscriber: Subscriber, feed: Feed): void {
    attach(subscriber, feed);
    if (subscriber.cursor < feed.head) this.#resume(subscriber);
  }

  unsubscribe(subscriber: Subscriber): void {
    detach(subscriber, this.#clock.monotonic());
  }

  /** Entries that this node committed. */
  committed(committed: Committed): void {
    const to = committed.from + committed.events.length - 1;
    this.#take(committed.log, committed.epoch, to, (feed) => feed.accept(committed));
  }

  /** What another node says to have committed. */
  hinted(hint: Hint): void {
    const { log, epoch, from, to, events } = hint;
    this.#take(log, epoch, to, (feed) => {
      if (events === null) feed.announce(epoch, to);
      else feed.accept({ log, epoch, from, events });
    });
  }

  /** A head that a digest or the journal tells of. */
  announced(log: LogId, epoch: Epoch, head: Seq): void {
    this.#take(log, epoch, head, (feed) => feed.announce(epoch, head));
  }

  /** The store may have another life: every followed log is asked for its own, until the store has answered. */
  recheck(): void {
    this.#recheck().catch(() => this.#clock.after(this.#limits.storeRetryMs, () => this.recheck()));
  }

  async #recheck(): Promise<void> {
    const feeds = [...this.#feeds.values()];
    for (let from = 0; from < feeds.length && !this.#stopped; from += statesPerRead) {
      const batch = feeds.slice(from, from + statesPerRead).map((feed) => ({ feed, asked: feed.epoch }));
      const states = await this.#store.states(batch.map(({ feed }) => feed.log));
      for (const [index, { feed, asked }] of batch.entries()) {
        const state = states[index];
        if (state === undefined) feed.announce(noEpoch, 0);
        else feed.learn(state, asked);
      }
    }
  }

  /** `behind` a subscriber: its next page is read. */
  behind(subscriber: Subscriber): void {
    this.#catchUp.request(subscriber);
  }

  #take(log: LogId, epoch: Epoch, head: Seq, give: (feed: Feed) => void): void {
    const feed = this.#feeds.get(log);
    if (feed !== undefined) return give(feed);
    if (!this.#opening.has(log)) {
      this.#events.onUnfollowed(log, epoch, head);
      return;
    }
    const known = this.#announcedWhileOpening.get(log);
    // Why: hints of several nodes come in any order.
    if (known?.epoch !== epoch || known.head < head) this.#announcedWhileOpening.set(log, { epoch, head });
  }

  #resume(subscriber: Subscriber): void {
    if (subscriber.feed === null) return;
    subscriber.state = "live";
    subscriber.session.addDue(subscriber);
    this.flusher.sessionDue(subscriber.session);
  }

  #lose(subscriber: Subscriber, reason: "floor" | "epoch"): void {
    this.unsubscribe(subscriber);
    this.#events.onGap(subscriber, reason);
  }

  #resetSubscribers(feed: Feed, reason: "floor" | "epoch"): void {
    for (const subscriber of [...feed.subscribers]) {
      // Who began with a page that was ahead of the feed has what the floor took.
      if (reason === "epoch" || subscriber.cursor < feed.head) this.#lose(subscriber, reason);
    }
    this.#events.onReset(feed);
  }

  /** The log is gone. */
  drop(log: LogId): void {
    const feed = this.#feeds.get(log);
    if (feed === undefined) return;
    feed.close();
    this.#feeds.delete(log);
    this.#bus.unfollow(log);
    this.#events.onDropped(log);
  }

  /** Closes feeds that nobody has followed for a while. */
  #sweep(): void {
    const before = this.#clock.monotonic() - this.#limits.feedLingerMs;
    for (const [log, feed] of this.#feeds) {
      if (feed.subscribers.length === 0 && feed.idleSince <= before) this.drop(log);
    }
    this.#cancelSweep = this.#clock.after(this.#limits.feedLingerMs, () => this.#sweep());
  }
}
