import type { EntryPage, Store } from "../store/store.ts";
import type { Clock } from "./clock.ts";
import type { Confirmation } from "./confirmation.ts";
import { eventPacket, eventText, offsetOf, readable } from "./entry-event.ts";
import { sharedBufferBytesMax } from "./feed.ts";
import { textFrame } from "./frame.ts";
import { type Entry, type LogId, noEpoch } from "./log.ts";
import type { Subscriber } from "./subscriber.ts";

export interface CatchUpLimits {
  /** Page reads in flight per node. */
  readonly catchUpReadsMax: number;
  readonly storeRetryMs: number;
}

export interface CatchUpEvents {
  /** The subscriber has reached the feed's tail, or must look again. */
  onCaughtUp(subscriber: Subscriber): void;
  /** What the subscriber waits for was deleted by retention, or its log has another life. */
  onLost(subscriber: Subscriber, reason: "floor" | "epoch"): void;
}

const pageEntriesMax = 500;

interface Read {
  readonly waiting: Subscriber[];
}

/**
 * Reads pages from the store for subscribers below the tail of their feed: a bounded number at once, first come first
 * served, subscribers that wait at the same cursor of a log share one read and its frames.
 */
export class CatchUp {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #limits: CatchUpLimits;
  readonly #events: CatchUpEvents;
  readonly #confirmation: Confirmation;
  /** By log and cursor; insertion order is the order of service. */
  #reads = new Map<string, Read>();
  #queue: string[] = [];
  #inFlight = 0;
  #stopped = false;

  constructor(store: Store, clock: Clock, limits: CatchUpLimits, confirmation: Confirmation, events: CatchUpEvents) {
    this.#confirmation = confirmation;
    this.#store = store;
    this.#clock = clock;
    this.#limits = limits;
    this.#events = events;
  }

  /** Bounded by the subscribers of the node: each waits in one read at most. */
  request(subscriber: Subscriber): void {
    const key = `${subscriber.cursor} ${subscriber.log}`;
    const read = this.#reads.get(key);
    if (read !== undefined) {
      read.waiting.push(subscriber);
      return;
    }
    this.#reads.set(key, { waiting: [subscriber] });
    this.#queue.push(key);
    this.#startReads();
  }

  stop(): void {
    this.#stopped = true;
    this.#reads.clear();
    this.#queue = [];
  }

  #startReads(): void {
    while (!this.#stopped && this.#inFlight < this.#limits.catchUpReadsMax) {
      const key = this.#queue.shift();
      if (key === undefined) return;
      const read = this.#reads.get(key);
      const first = read?.waiting.find(({ state }) => state === "catching_up");
      if (read === undefined || first === undefined) {
        // Who waited for it is gone.
        this.#reads.delete(key);
        continue;
      }
      this.#inFlight += 1;
      void this.#serve(first).then(
        (deliver) => this.#finish(key, read, deliver),
        () => this.#retryLater(key),
      );
    }
  }

  #finish(key: string, read: Read, deliver: (subscriber: Subscriber) => void): void {
    this.#inFlight -= 1;
    this.#reads.delete(key);
    for (const subscriber of read.waiting) if (subscriber.state === "catching_up") deliver(subscriber);
    this.#startReads();
  }

  #retryLater(key: string): void {
    this.#clock.after(this.#limits.storeRetryMs, () => {
      this.#inFlight -= 1;
      if (this.#stopped) return;
      this.#queue.push(key);
      this.#startReads();
    });
  }

  /** Reads the page after the cursor and gives what each waiting subscriber gets of it. */
  async #serve(first: Subscriber): Promise<(subscriber: Subscriber) => void> {
    const { log, cursor, epoch } = first;
    const page = await this.#store.readAfter(log, cursor, pageEntriesMax, sharedBufferBytesMax);
    // Why not lost at once: its feed, and the pages made for it, do not know yet that the log is gone.
    if (page === undefined) return ({ feed }) => feed?.announce(noEpoch, 0);
    first.feed?.extendBack(page);
    const frames = new PageFrames(log, page);
    return (subscriber) => {
      // It has moved since, or its log has: it looks again.
      const moved = subscriber.cursor !== cursor || subscriber.epoch !== epoch;
      // Why not later: the flusher holds it back, and it looks again when entries may be written.
      if (moved || !this.#confirmation.holds || subscriber.feed?.isOutdated(page.head) === true)
        this.#events.onCaughtUp(subscriber);
      else if (page.epoch !== epoch) this.#loseEpoch(subscriber, page);
      else if (page.floor > cursor + 1) this.#events.onLost(subscriber, "floor");
      else this.#deliver(subscriber, frames);
    };
  }

  #loseEpoch(subscriber: Subscriber, page: EntryPage): void {
    // Why: the feed has not heard of it, else it would have lost its subscribers; now it loses them all.
    subscriber.feed?.learn(page, subscriber.epoch);
    if (subscriber.state === "catching_up") this.#events.onLost(subscriber, "epoch");
  }

  #deliver(subscriber: Subscriber, page: PageFrames): void {
    const { session, cursor, feed } = subscriber;
    const frames = page.of(session.offsets);
    const free = session.free();
    let bytes = 0;
    let count = 0;
    for (const frame of frames) {
      // Why the head: what the feed has not accepted yet may say that the right to read is lost.
      if (cursor + count >= (feed?.head ?? 0)) break;
      // An entry larger than the window goes alone.
      if (bytes + frame.length > free && !(count === 0 && session.fits(frame.length))) break;
      bytes += frame.length;
      count += 1;
    }
    if (
      count > 0
        ? session.writePage(subscriber, page.joined(session.offsets, count), cursor + count)
        : frames.length === 0
    )
      this.#events.onCaughtUp(subscriber);
    else session.park(subscriber);
  }
}

/** The entries of a page as frames, made on demand and shared by all who get them. */
class PageFrames {
  readonly #log: LogId;
  readonly #page: EntryPage;
  readonly #frames = new Map<boolean, readonly Buffer[]>();
  readonly #joined = new Map<string, Buffer>();

  constructor(log: LogId, page: EntryPage) {
    this.#log = log;
    this.#page = page;
  }

  of(offsets: boolean): readonly Buffer[] {
    const { epoch, entries } = this.#page;
    const known = this.#frames.get(offsets) ?? entries.map((entry) => entryFrame(this.#log, epoch, entry, offsets));
    this.#frames.set(offsets, known);
    return known;
  }

  /** The first `count` of them. */
  joined(offsets: boolean, count: number): Buffer {
    const key = `${offsets} ${count}`;
    const known = this.#joined.get(key) ?? Buffer.concat(this.of(offsets).slice(0, count));
    this.#joined.set(key, known);
    return known;
  }
}

function entryFrame(log: LogId, epoch: string, entry: Entry, offsets: boolean): Buffer {
  return textFrame(eventPacket(eventText(log, readable(entry)), offsets ? offsetOf(log, epoch, entry.seq) : null));
}
