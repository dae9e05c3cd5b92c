import type { Store } from "../store/store.ts";
import type { Clock } from "./clock.ts";
import { eventPacket, eventText, offsetOf, readable } from "./entry-event.ts";
import { sharedBufferBytesMax } from "./feed.ts";
import { textFrame } from "./frame.ts";
import type { Entry, Seq } from "./log.ts";
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
  started: boolean;
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
  /** By log and cursor; insertion order is the order of service. */
  #reads = new Map<string, Read>();
  #queue: string[] = [];
  #inFlight = 0;
  #stopped = false;

  constructor(store: Store, clock: Clock, limits: CatchUpLimits, events: CatchUpEvents) {
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
    this.#reads.set(key, { waiting: [subscriber], started: false });
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
      const [first] = read?.waiting ?? [];
      if (read === undefined || first === undefined) continue;
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
  async #serve({ log, cursor, epoch }: Subscriber): Promise<(subscriber: Subscriber) => void> {
    const page = await this.#store.readAfter(log, cursor, pageEntriesMax, sharedBufferBytesMax);
    if (page === undefined || page.epoch !== epoch) return (subscriber) => this.#events.onLost(subscriber, "epoch");
    const [first] = page.entries;
    if (page.floor > cursor + 1 || (first !== undefined && first.seq !== cursor + 1)) {
      return (subscriber) => this.#events.onLost(subscriber, "floor");
    }
    const frames = new Map<boolean, readonly Buffer[]>();
    const framesOf = (offsets: boolean) => {
      const known = frames.get(offsets) ?? page.entries.map((entry) => entryFrame(log, epoch, entry, offsets));
      frames.set(offsets, known);
      return known;
    };
    return (subscriber) => this.#deliver(subscriber, cursor, framesOf(subscriber.session.offsets));
  }

  #deliver(subscriber: Subscriber, cursor: Seq, frames: readonly Buffer[]): void {
    if (subscriber.cursor !== cursor) return this.#events.onCaughtUp(subscriber);
    const { session } = subscriber;
    const free = session.free();
    let bytes = 0;
    let count = 0;
    for (const frame of frames) {
      // An entry larger than the window goes alone.
      if (bytes + frame.length > free && !(count === 0 && session.fits(frame.length))) break;
      bytes += frame.length;
      count += 1;
    }
    if (count === 0 && frames.length > 0) {
      subscriber.session.park(subscriber);
      return;
    }
    if (count > 0 && !subscriber.session.writePage(subscriber, Buffer.concat(frames.slice(0, count)), cursor + count)) {
      subscriber.session.park(subscriber);
      return;
    }
    this.#events.onCaughtUp(subscriber);
  }
}

function entryFrame(log: Subscriber["log"], epoch: string, entry: Entry, offsets: boolean): Buffer {
  return textFrame(eventPacket(eventText(log, readable(entry)), offsets ? offsetOf(log, epoch, entry.seq) : null));
}
