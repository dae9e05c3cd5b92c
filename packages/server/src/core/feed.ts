import type { EntryPage, Store } from "../store/store.ts";
import type { Clock } from "./clock.ts";
import { empties, type EventText, eventPacket, eventText, offsetOf, readable } from "./entry-event.ts";
import { passingFrame } from "./frame.ts";
import type { Epoch, LogId, LogState, Seq } from "./log.ts";
import type { Subscriber } from "./subscriber.ts";
import type { TailEntry, Tails } from "./tails.ts";

/** Committed entries `from`, `from + 1`, … of one log, encoded. */
export interface Committed {
  readonly log: LogId;
  readonly epoch: Epoch;
  readonly from: Seq;
  readonly events: readonly EventText[];
}

/** What a subscriber gets of a feed, or why it gets nothing now. */
export type Taken =
  | { readonly kind: "frames"; readonly frames: Buffer; readonly to: Seq }
  | { readonly kind: "at_head" }
  /** The next entry does not fit into the bytes allowed. */
  | { readonly kind: "full" }
  /** The next entry lies below the tail: it must be read from the store. */
  | { readonly kind: "behind" };

const atHead: Taken = { kind: "at_head" };
const full: Taken = { kind: "full" };

export interface FeedLimits {
  /**
   * Event text that a tail keeps; all tails of a node together; and one, while they are over it. In UTF-16 units, which are
   * its bytes in memory unless a text needs two for each.
   */
  readonly tailBytesMax: number;
  readonly tailsBytesMax: number;
  readonly tailBytesMin: number;
  /** Entries that wait for a missing one before them. */
  readonly earlyEntriesMax: number;
  /** Pause between reads of a store that fails. */
  readonly storeRetryMs: number;
}

/** What a feed tells its node. */
export interface FeedEvents {
  /** Entries were accepted: subscribers are due. `events` begin at `from`. */
  onAdvanced(feed: Feed, from: Seq, events: readonly EventText[]): void;
  /** The log has another life now, or its floor has passed the feed by; every subscriber must start over. */
  onReset(feed: Feed, reason: "epoch" | "floor"): void;
}

/** One shared buffer holds at most this much; a larger stretch is several buffers. */
export const sharedBufferBytesMax = 65_536;
const sharedBuffersMax = 16;
/** What a full tail keeps of its bytes when it drops the oldest. */
const keptPart = 15 / 16;
const readEntriesMax = 500;
const readBytesMax = 1_048_576;

/**
 * A node's in-order view of one log: the tail of recent entries as event texts, and their frames for a moment after each
 * was first written (`tails.ts`).
 *
 * Why: hints may be lost, late, repeated or out of order; the store is the truth.
 * Invariant: `head` grows by one entry at a time; `tail` holds `head - tail.length + 1` … `head` without a gap.
 */
export class Feed {
  readonly log: LogId;
  readonly subscribers: Subscriber[] = [];
  /** Where the flusher stands in `subscribers`; -1 when the feed is not dirty. */
  flushIndex = -1;
  /** A subscriber that the present pass had yet to visit was moved behind it. */
  flushAgain = false;
  /** Since when nobody subscribes, by the monotonic clock; used to let feeds linger. */
  idleSince: number;

  readonly #store: Store;
  readonly #clock: Clock;
  readonly #limits: FeedLimits;
  readonly #events: FeedEvents;
  #epoch: Epoch;
  #head: Seq;
  #tail: TailEntry[] = [];
  #tailBytes = 0;
  readonly #tails: Tails;
  /** The last entry that emptied others. */
  #emptiedAt: Seq = 0;
  #early = new Map<Seq, EventText>();
  /** The highest seq that is known to be committed. */
  #announced: Seq;
  #filling = false;
  /** Another epoch was heard of since the last read began. */
  #doubtful = false;
  #closed = false;
  /** By cursor, and those without offsets by `-1 - cursor`. */
  #shared = new Map<number, Extract<Taken, { kind: "frames" }>>();
  #sharing = false;

  constructor(
    log: LogId,
    state: LogState,
    parts: { store: Store; clock: Clock; limits: FeedLimits; events: FeedEvents; tails: Tails },
  ) {
    this.log = log;
    this.#epoch = state.epoch;
    this.#head = state.head;
    this.#announced = state.head;
    this.#store = parts.store;
    this.#clock = parts.clock;
    this.#limits = parts.limits;
    this.#events = parts.events;
    this.#tails = parts.tails;
    this.idleSince = parts.clock.monotonic();
  }

  get epoch(): Epoch {
    return this.#epoch;
  }

  get head(): Seq {
    return this.#head;
  }

  get closed(): boolean {
    return this.#closed;
  }

  close(): void {
    this.#closed = true;
    this.#dropTail();
    this.#early.clear();
    this.#forgetShared();
  }

  /** Entries that were committed, from this node's own append or from a hint. Only what is next is taken; the rest waits or is known. */
  accept(committed: Committed): void {
    if (this.#closed) return;
    if (committed.epoch !== this.#epoch) {
      this.#doubtful = true;
      this.#fill();
      return;
    }
    const to = committed.from + committed.events.length - 1;
    this.#announced = Math.max(this.#announced, to);
    if (committed.from <= this.#head + 1) {
      if (to > this.#head) this.#extend(committed.events.slice(this.#head + 1 - committed.from));
      this.#takeEarly();
    } else {
      this.#keepEarly(committed);
    }
    if (this.#head < this.#announced) this.#fill();
  }

  /** The log is known to have this head; what lies between is read from the store. */
  announce(epoch: Epoch, head: Seq): void {
    if (this.#closed) return;
    if (epoch === this.#epoch) {
      if (head <= this.#head) return;
      this.#announced = Math.max(this.#announced, head);
    } else {
      this.#doubtful = true;
    }
    this.#fill();
  }

  /** What was read as of this head may hold the text of an entry that is empty by now: it must not be delivered. */
  isOutdated(head: Seq): boolean {
    return head < this.#emptiedAt;
  }

  /** What the store says of the log. `asked`: this feed's epoch as the store was asked. */
  learn(state: LogState, asked: Epoch): void {
    if (this.#closed || asked !== this.#epoch) return;
    if (state.epoch === this.#epoch) this.announce(state.epoch, state.head);
    else this.#reset(state, "epoch");
  }

  /**
   * Ready frames of the entries after `cursor`, as many as fit into `bytesMax` and one shared buffer. Subscribers at
   * one cursor get the same buffer.
   */
  take(cursor: Seq, bytesMax: number, offsets: boolean): Taken {
    if (cursor >= this.#head) return atHead;
    const first = this.#head - this.#tail.length;
    if (cursor < first) return { kind: "behind" };
    if (cursor === this.#head - 1) return this.#takeNewest(first, bytesMax, offsets);
    const key = offsets ? cursor : -1 - cursor;
    const known = this.#shared.get(key);
    if (known !== undefined && known.frames.length <= bytesMax) return known;
    const taken = this.#join(cursor, first, bytesMax, offsets);
    if (taken.kind === "frames" && taken.to > cursor + 1) this.#share(key, taken);
    return taken;
  }

  /** As nearly all do when a node is not busy. */
  #takeNewest(first: Seq, bytesMax: number, offsets: boolean): Taken {
    const frames = this.#frame(first, this.#head, offsets);
    return frames.length > bytesMax ? full : { kind: "frames", frames, to: this.#head };
  }

  /** Joined buffers live until the flusher has visited all, or the head moves; a single entry's frame is shared as it is. */
  #share(key: number, taken: Extract<Taken, { kind: "frames" }>): void {
    if (this.#shared.size >= sharedBuffersMax) return;
    this.#shared.set(key, taken);
    if (this.#sharing) return;
    this.#sharing = true;
    this.#clock.immediate(() => this.#endSharing());
  }

  #endSharing(): void {
    this.#sharing = this.flushIndex !== -1 && this.#shared.size > 0;
    if (this.#sharing) this.#clock.immediate(() => this.#endSharing());
    else this.#forgetShared();
  }

  /** Why not `clear`: V8 links a cleared map to its next contents, and frees neither before it collects the whole heap. */
  #forgetShared(): void {
    if (this.#shared.size > 0) this.#shared = new Map();
  }

  #join(cursor: Seq, first: Seq, bytesMax: number, offsets: boolean): Taken {
    const frames: Buffer[] = [];
    let bytes = 0;
    let seq = cursor;
    while (seq < this.#head) {
      const frame = this.#frame(first, seq + 1, offsets);
      // An entry may be larger than a shared buffer: alone, it is bounded by the window only.
      if (bytes + frame.length > (bytes === 0 ? bytesMax : Math.min(bytesMax, sharedBufferBytesMax))) break;
      frames.push(frame);
      bytes += frame.length;
      seq += 1;
    }
    const [only] = frames;
    if (only === undefined) return full;
    return { kind: "frames", frames: frames.length === 1 ? only : Buffer.concat(frames, bytes), to: seq };
  }

  /** The frame of an entry in the tail, before which lies `first`. */
  #frame(first: Seq, seq: Seq, offsets: boolean): Buffer {
    const entry = this.#tail[seq - first - 1];
    if (entry === undefined) throw new Error(`feed ${this.log}: the tail lacks ${seq}`);
    return offsets ? this.#frameWithOffset(entry, seq) : this.#plainFrame(entry);
  }

  #frameWithOffset(entry: TailEntry, seq: Seq): Buffer {
    if (entry.withOffset !== null) return entry.withOffset;
    entry.withOffset = passingFrame(eventPacket(entry.event, offsetOf(this.log, this.#epoch, seq)));
    this.#tails.framed(entry);
    return entry.withOffset;
  }

  #plainFrame(entry: TailEntry): Buffer {
    if (entry.plain !== null) return entry.plain;
    entry.plain = passingFrame(eventPacket(entry.event, null));
    this.#tails.framed(entry);
    return entry.plain;
  }

  #extend(events: readonly EventText[]): void {
    if (events.length === 0) return;
    const from = this.#head + 1;
    for (const event of events) {
      this.#tail.push({ event, withOffset: null, plain: null });
      this.#tailBytes += event.length;
      this.#tails.bytes += event.length;
    }
    this.#head += events.length;
    this.#forgetEmptied(from, events);
    this.#trimTail();
    this.#forgetShared();
    this.#events.onAdvanced(this, from, events);
  }

  /** Why all that came before: the store alone knows which edits were emptied with their message. */
  #forgetEmptied(from: Seq, events: readonly EventText[]): void {
    const last = events.findLastIndex(empties);
    if (last === -1) return;
    this.#emptiedAt = from + last;
    this.#dropOldest(this.#tail.length - (events.length - last));
  }

  /**
   * A page that was read for a subscriber below the tail. Where it joins on to the tail it becomes part of it: those who
   * come back to the same place, as all clients of a node that is gone do, cost no further reads.
   */
  extendBack(page: EntryPage): void {
    if (this.#closed || page.epoch !== this.#epoch || this.isOutdated(page.head)) return;
    const below = this.#head - this.#tail.length;
    const missing = page.entries.filter(({ seq }) => seq <= below);
    if (missing.at(-1)?.seq !== below) return;
    const events = missing.map((entry) => eventText(this.log, readable(entry)));
    const bytes = events.reduce((sum, event) => sum + event.length, 0);
    const { tailBytesMax, tailsBytesMax } = this.#limits;
    // Why half: what was is never to push out what is new.
    if (this.#tailBytes + bytes > tailBytesMax || this.#tails.bytes + bytes > tailsBytesMax / 2) return;
    this.#tail = [...events.map((event) => ({ event, withOffset: null, plain: null })), ...this.#tail];
    this.#tailBytes += bytes;
    this.#tails.bytes += bytes;
  }

  #dropTail(): void {
    this.#tail = [];
    this.#tails.bytes -= this.#tailBytes;
    this.#tailBytes = 0;
  }

  #trimTail(): void {
    let bytes = this.#tailBytes;
    let drop = 0;
    // Invariant: the newest entry stays, so that live subscribers never need the store.
    const { tailBytesMax, tailsBytesMax, tailBytesMin } = this.#limits;
    const bytesMax = this.#tails.bytes > tailsBytesMax ? tailBytesMin : tailBytesMax;
    if (bytes <= bytesMax) return;
    // Why more than must go: all that stay are moved each time, and a full tail would be moved for every batch.
    while (bytes > bytesMax * keptPart && drop < this.#tail.length - 1) {
      bytes -= this.#tail[drop]?.event.length ?? 0;
      drop += 1;
    }
    if (drop > 0) this.#dropOldest(drop);
  }

  #dropOldest(count: number): void {
    for (const { event } of this.#tail.splice(0, count)) {
      this.#tailBytes -= event.length;
      this.#tails.bytes -= event.length;
    }
  }

  #keepEarly(committed: Committed): void {
    for (const [index, event] of committed.events.entries()) {
      if (this.#early.size >= this.#limits.earlyEntriesMax) return;
      this.#early.set(committed.from + index, event);
    }
  }

  #takeEarly(): void {
    const next: EventText[] = [];
    if (this.#early.size === 0) return;
    for (let seq = this.#head + 1; ; seq += 1) {
      const event = this.#early.get(seq);
      if (event === undefined) break;
      next.push(event);
    }
    this.#extend(next);
    for (const seq of this.#early.keys()) if (seq <= this.#head) this.#early.delete(seq);
  }

  /** Reads what is missing; one read at a time, again until the store was reached and nothing is missing. */
  #fill(): void {
    if (this.#filling) return;
    this.#filling = true;
    void this.#fillOnce().then(
      (again) => {
        this.#filling = false;
        if (again) this.#fill();
      },
      () => {
        this.#clock.after(this.#limits.storeRetryMs, () => {
          this.#filling = false;
          if (!this.#closed) this.#fill();
        });
      },
    );
  }

  /** True when another read is due. */
  async #fillOnce(): Promise<boolean> {
    this.#doubtful = false;
    const epoch = this.#epoch;
    const from = this.#head;
    const announced = this.#announced;
    const page = await this.#store.readAfter(this.log, from, readEntriesMax, readBytesMax);
    const state = page ?? (await this.#store.open(this.log));
    if (this.#closed) return false;
    // Another read was faster and found another life; this page may be of the one before.
    if (this.#epoch !== epoch) return true;
    // Why `from`: what was accepted during the read may well be younger than the page.
    if (page === undefined || state.epoch !== this.#epoch || state.head < from) {
      this.#reset(state, "epoch");
      return this.#doubtful;
    }
    if (page.floor > this.#head + 1) {
      const known = this.#announced;
      this.#reset({ ...state, head: page.floor - 1 }, "floor");
      this.#announced = Math.max(known, page.head);
    }
    this.#takeRead(page);
    // What was announced before the read and is not there never was; what was announced since may be.
    if (page.entries.length === 0 && this.#announced === announced) this.#announced = Math.max(page.head, this.#head);
    return this.#doubtful || this.#head < this.#announced;
  }

  #takeRead(page: EntryPage): void {
    const missing = page.entries.filter((entry) => entry.seq > this.#head);
    this.#extend(missing.map((entry) => eventText(this.log, readable(entry))));
    this.#takeEarly();
  }

  #reset(state: LogState, reason: "epoch" | "floor"): void {
    this.#epoch = state.epoch;
    this.#head = state.head;
    this.#announced = state.head;
    if (reason === "epoch") this.#emptiedAt = 0;
    this.#dropTail();
    this.#early.clear();
    this.#forgetShared();
    this.#events.onReset(this, reason);
  }
}
