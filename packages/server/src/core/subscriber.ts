import type { RoomGapReason } from "@parley/protocol";
import type { Feed } from "./feed.ts";
import type { Epoch, LogId, Seq } from "./log.ts";
import type { Session } from "./session.ts";

/**
 * One session that follows one feed: a cursor.
 *
 * - `live`: gets from the feed's tail what lies after its cursor, at each flush.
 * - `parked`: its connection's window is full; woken by the next answered ping.
 * - `catching_up`: its cursor lies below the tail; a page is being read from the store.
 * - `detached`: not in a feed; its session waits for its client to come back, or it was closed.
 *
 * Invariant: every seq up to `cursor` (from where it began) was written to the session's connection, once and in order.
 */
export class Subscriber {
  readonly session: Session;
  readonly log: LogId;
  feed: Feed | null = null;
  epoch: Epoch;
  cursor: Seq;
  state: "live" | "parked" | "catching_up" | "detached" = "detached";
  /** Up to here the connection got the entries once before: its client joined again, from an earlier position. */
  repeatsTo: Seq = 0;
  /** The client had entries of this log before it joined: an offset that it remembers may be one of theirs. */
  again = false;
  /**
   * What its client is told before the page that it begins with, or in the place of announcements that it cannot get; null
   * when the client asked for the page.
   */
  gap: RoomGapReason | null = null;
  /** It waits for its first page once more: this is where that one ended, after which its client may have entries. */
  pageEnd: Seq | null = null;
  /** Counted in the room's presence. */
  present = false;
  /** What is written for it is to be confirmed at once, by a ping behind it. */
  confirms = false;
  /** Place in `feed.subscribers`, so that leaving is O(1). */
  index = -1;

  constructor(session: Session, log: LogId, epoch: Epoch, cursor: Seq) {
    this.session = session;
    this.log = log;
    this.epoch = epoch;
    this.cursor = cursor;
  }
}

/** From now on `feed` delivers to the subscriber what lies after its cursor. */
export function attach(subscriber: Subscriber, feed: Feed): void {
  subscriber.feed = feed;
  subscriber.epoch = feed.epoch;
  subscriber.state = "live";
  subscriber.index = feed.subscribers.length;
  feed.subscribers.push(subscriber);
}

/** Ends delivery at once; the cursor stays where it is. Leaves nothing behind in the feed. */
export function detach(subscriber: Subscriber, now: number): void {
  const { feed, index } = subscriber;
  subscriber.state = "detached";
  if (feed === null) return;
  const last = feed.subscribers.pop();
  if (last !== undefined && last !== subscriber) {
    feed.subscribers[index] = last;
    last.index = index;
    // Why: the pass that is under way has gone by this place and would miss the one that moved into it.
    if (index < feed.flushIndex) feed.flushAgain = true;
  }
  subscriber.feed = null;
  subscriber.index = -1;
  if (feed.subscribers.length === 0) feed.idleSince = now;
}
