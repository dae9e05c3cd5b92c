import { type Position, RefusalError, type RoomGapReason } from "@parley/protocol";
import type { User } from "../gateway/connection.ts";
import type { Store } from "../store/store.ts";
import { type Access, requireRight } from "./access.ts";
import type { Clock } from "./clock.ts";
import type { Confirmation } from "./confirmation.ts";
import type { Feed } from "./feed.ts";
import type { Feeds } from "./feeds.ts";
import { eventFrame } from "./frame.ts";
import { historyFrame, type HistoryPages, type LatestPage } from "./history.ts";
import { leftUpTo } from "./left-rooms.ts";
import { type Epoch, isRoom, type LogId, roomOf, type Seq } from "./log.ts";
import type { Session } from "./session.ts";
import type { Subscriber } from "./subscriber.ts";
import { fromHistory } from "./unconfirmed.ts";

/** Messages in a first page, unless the client asks for another number. */
const historyDefault = 50;

/** Pause after the store or the access policy failed. */
const retryMs = 1_000;

/** Room for a `room_gap` before a page. */
const gapBytes = 512;

/** Why a client cannot go on, as found of the epoch in which it stood. */
interface Gap {
  readonly reason: RoomGapReason;
  readonly epoch: Epoch;
}

/** A session that is to begin in a log with a page of its latest messages. */
interface Beginning {
  readonly session: Session;
  readonly log: LogId;
  /** Messages in the page. */
  readonly limit: number;
  /** What the client is told before the page. */
  readonly gap: Gap | null;
  /** The subscriber that cannot go on without the page; null when the client asks for it. */
  readonly owedTo: Subscriber | null;
  /** The client that asks for it has left meanwhile. */
  readonly isOff: () => boolean;
}

interface PlaceRequest {
  readonly after?: Position | undefined;
  readonly history?: number | undefined;
  /** The client has left meanwhile. */
  readonly isOff: () => boolean;
}

interface PlacementParts {
  readonly store: Store;
  readonly clock: Clock;
  readonly feeds: Feeds;
  readonly access: Access;
  readonly pages: HistoryPages;
  readonly confirmation: Confirmation;
  /** There is no other node, so that every loss of a right is heard of. */
  readonly alone: boolean;
  /** Entries behind the head at which a client gets the latest page instead. */
  readonly catchUpMax: number;
  /** Ends a subscriber for good and tells its client. */
  close(subscriber: Subscriber, reason: "forbidden" | "deleted"): void;
}

/** Where in its log a subscriber begins, or goes on after it was stopped: at a position, or with the latest page. */
export class Placement {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #feeds: Feeds;
  readonly #access: Access;
  readonly #pages: HistoryPages;
  readonly #confirmation: Confirmation;
  readonly #alone: boolean;
  readonly #catchUpMax: number;
  readonly #close: PlacementParts["close"];

  constructor(parts: PlacementParts) {
    this.#store = parts.store;
    this.#clock = parts.clock;
    this.#feeds = parts.feeds;
    this.#access = parts.access;
    this.#pages = parts.pages;
    this.#confirmation = parts.confirmation;
    this.#alone = parts.alone;
    this.#catchUpMax = parts.catchUpMax;
    this.#close = (subscriber, reason) => parts.close(subscriber, reason);
  }

  /**
   * A subscriber of the feed after `after`, or else after the latest page, which is sent. Rejects with `RefusalError`
   * `not_joined` when it `isOff` before that.
   */
  async place(session: Session, log: LogId, request: PlaceRequest): Promise<Subscriber> {
    const { after, history = historyDefault, isOff } = request;
    if (after === undefined && history > 0)
      return this.#beginWithPage({ session, log, limit: history, gap: null, owedTo: null, isOff });
    const known = this.#feeds.get(log);
    const feed = await this.#feeds.open(log);
    if (!this.#isHeard(feed, known)) requireRight(await this.#access.rightsNow(session.user, log), roomOf(log), "read");
    const reason = after === undefined ? null : await this.gapReason(feed, after);
    if (after !== undefined && reason !== null) {
      const gap = gapOf(reason, after.epoch);
      return this.#beginWithPage({ session, log, limit: historyDefault, gap, owedTo: null, isOff });
    }
    if (isOff()) throw leftMeanwhile();
    return this.subscribe(session, feed, after?.seq ?? feed.head);
  }

  /** The latest page instead of what the subscriber cannot continue; `reason`: what it is told before, null for nothing. */
  startOver(subscriber: Subscriber, reason: RoomGapReason | null): void {
    const { session, log } = subscriber;
    const attempt = async (): Promise<void> => {
      const gap = gapOf(reason, subscriber.epoch);
      if (reason !== null && !isRoom(log)) await this.#tellGap(subscriber, reason);
      else await this.#beginWithPage({ session, log, limit: historyDefault, gap, owedTo: subscriber, isOff: never });
    };
    const retry = (): void => {
      if (session.connection === null || !session.subscribers.includes(subscriber)) return;
      attempt().catch((error: unknown) => {
        const ending = endingOf(error);
        if (ending === null) this.#clock.after(retryMs, retry);
        else if (session.subscribers.includes(subscriber)) this.#close(subscriber, ending);
      });
    };
    retry();
  }

  /** Delivery to a subscriber was stopped: it goes on at its cursor, if the right to read still holds. */
  goOn(subscriber: Subscriber): void {
    const { session, log } = subscriber;
    const { connection } = session;
    // Who has come back meanwhile goes on by that.
    const waits = (): boolean =>
      connection !== null &&
      session.connection === connection &&
      session.subscribers.includes(subscriber) &&
      subscriber.feed === null;
    const attempt = async (): Promise<void> => {
      if (!waits()) return;
      const { doubts } = session;
      const feed = await this.readableFeed(session.user, log);
      if (feed === null) {
        if (waits()) this.#close(subscriber, "forbidden");
        return;
      }
      const { cursor } = subscriber;
      const reason = await this.gapBefore(subscriber, feed);
      if (!waits()) return;
      if (session.doubts !== doubts) this.goOn(subscriber);
      else if (cursor === fromHistory || reason !== null) this.startOver(subscriber, reason ?? subscriber.gap);
      else this.#attach(subscriber, feed);
    };
    attempt().catch(() => this.#clock.after(retryMs, () => this.goOn(subscriber)));
  }

  /** The feed of a room; null when the user has no right to what lies before its head. Asks anew. */
  async readableFeed(user: User, log: LogId): Promise<Feed | null> {
    const known = this.#feeds.get(log);
    if (!(await this.#mayRead(user, log))) return null;
    const feed = await this.#feeds.open(log);
    return this.#isHeard(feed, known) || (await this.#mayRead(user, log)) ? feed : null;
  }

  /** Whether every loss of a right since `known` was the feed was heard of: one that began since tells of none before. */
  #isHeard(feed: Feed, known: Feed | undefined): boolean {
    return this.#alone || feed === known;
  }

  async #mayRead(user: User, log: LogId): Promise<boolean> {
    return (await this.#access.rightsNow(user, log)).read;
  }

  /** Why the client cannot go on after this position; null when it can. */
  async gapReason(feed: Feed, after: Position): Promise<RoomGapReason | null> {
    const asked = feed.epoch;
    if (after.epoch !== asked || after.seq > feed.head) {
      // Why: the client may have it from another node, whose hint is still on its way to this one.
      const [state] = await this.#store.states([feed.log]);
      if (state !== undefined) feed.learn(state, asked);
      if (state?.epoch === after.epoch && state.head < after.seq) return "ahead";
    }
    if (feed.closed) return this.gapReason(await this.#feeds.open(feed.log), after);
    if (after.epoch !== feed.epoch) return "epoch";
    // What lies below the floor shows when the first page is read: the feed then reports the gap.
    return feed.head - after.seq > this.#catchUpMax ? "too_far" : null;
  }

  /** What keeps the subscriber from going on where it stands, or after the page that it may have had. */
  async gapBefore({ epoch, cursor, pageEnd }: Subscriber, feed: Feed): Promise<RoomGapReason | null> {
    const seq = cursor === fromHistory ? pageEnd : cursor;
    return seq === null ? null : this.gapReason(feed, { epoch, seq });
  }

  /** The server's own logs have no pages: who cannot go on is told so, and goes on at the head. */
  async #tellGap(subscriber: Subscriber, reason: RoomGapReason): Promise<void> {
    const { session, log } = subscriber;
    const feed = await this.#feeds.open(log);
    if (!session.subscribers.includes(subscriber)) return;
    const frame = gapFrame(log, gapIn({ reason, epoch: subscriber.epoch }, feed.epoch), feed);
    const told = this.subscribe(session, feed, feed.head);
    told.gap = reason;
    session.tell(told, { frame, joined: true });
  }

  /** Sends the latest page as soon as the window has room for it; what follows it comes from the feed. */
  async #beginWithPage(beginning: Beginning): Promise<Subscriber> {
    const { session, log, gap, owedTo } = beginning;
    const before = session.find(log);
    // Why: a client puts the page in the place of what it shows, so that nothing may come between and not be in it.
    if (before !== undefined) this.#feeds.unsubscribe(before);
    for (;;) {
      await this.#confirmation.wait();
      const { doubts } = session;
      const { feed, page } = await this.#readPage(beginning, before);
      const frame = historyFrame(log, page, session.offsets);
      const fits = await session.spare(frame.length + gapBytes);
      if (beginning.isOff()) throw leftMeanwhile();
      const now = session.find(log);
      // Why: while the page waited the session may have lost its connection, come back, and begun anew in this room.
      if (now !== undefined && now !== before) return now;
      // Or it may have left: nobody asks for the page any more.
      if (now === undefined && owedTo !== null) return owedTo;
      if (!fits) return this.#owePage(session, log, page.epoch, before, gap);
      if (this.holds(session, doubts) && isUpToDate(page, feed, before))
        return this.#send(beginning, feed, page, frame);
    }
  }

  /** A page that the session may read now, and the feed that it is followed by. */
  async #readPage({ session, log, limit, gap, owedTo }: Beginning, before: Subscriber | undefined) {
    const isHeard = this.#alone || this.#feeds.get(log) !== undefined;
    requireRight(await this.#access.rights(session.user, log), roomOf(log), "read");
    const feed = await this.#feeds.open(log);
    const latest = await this.#pageFor(gap === null ? owedTo : null, feed, limit, before?.cursor ?? 0);
    // Why: who lost the right by an entry that this node has not accepted is still known to have it.
    if (!isHeard || latest.head > feed.head)
      requireRight(await this.#access.rightsNow(session.user, log), roomOf(log), "read");
    return { feed, page: session.holdsPage(log, latest.number) ? this.#pages.anew(latest) : latest };
  }

  #send({ session, log, gap }: Beginning, feed: Feed, page: LatestPage, frame: Buffer): Subscriber {
    const reason = gap === null ? null : gapIn(gap, page.epoch);
    if (reason !== null) session.emit(gapFrame(log, reason, page));
    session.emit(frame);
    const subscriber = this.subscribe(session, feed, page.head);
    subscriber.gap = reason;
    session.wroteHistory(subscriber, page.head, page.number);
    return subscriber;
  }

  /** The latest page; or, for one who may have had its first page and more, that page again. */
  #pageFor(owedTo: Subscriber | null, feed: Feed, limit: number, headMin: Seq): Promise<LatestPage> {
    const end = owedTo?.epoch === feed.epoch ? owedTo.pageEnd : null;
    return end === null ? this.#pages.latest(feed, limit, headMin) : this.#pages.upTo(feed, limit, end);
  }

  /** No right of the session was lost since it was asked for as of `doubts`. */
  holds(session: Session, doubts: number): boolean {
    return session.doubts === doubts && this.#confirmation.holds;
  }

  /** The connection is gone: the page is owed to the next one, which may be there by now. */
  #owePage(session: Session, log: LogId, epoch: string, before: Subscriber | undefined, gap: Gap | null): Subscriber {
    const owed = before ?? session.add(log, epoch, fromHistory);
    if (owed.feed === null) owed.cursor = fromHistory;
    owed.gap = gap === null ? null : gapIn(gap, epoch);
    if (before === undefined) this.startOver(owed, null);
    return owed;
  }

  /** A new cursor of the session in the log, in the place of the one before. */
  subscribe(session: Session, feed: Feed, cursor: Seq): Subscriber {
    const old = session.find(feed.log);
    if (old !== undefined) this.remove(old);
    const subscriber = session.add(feed.log, feed.epoch, cursor);
    subscriber.present = old?.present ?? false;
    // Why: its client may still lack what it was told.
    subscriber.gap = old?.gap ?? null;
    const named = leftUpTo(session.left, feed.log, feed.epoch);
    const before = old === undefined ? (named ?? 0) : Math.max(old.cursor, old.repeatsTo);
    subscriber.again = old === undefined ? named !== null : old.again || old.cursor !== fromHistory;
    // Why not the head alone: the client may name an entry of which this node has not heard yet.
    const known = named === null || named === Infinity ? feed.head : Math.max(feed.head, named);
    if (old === undefined || old.epoch === feed.epoch) subscriber.repeatsTo = before === Infinity ? known : before;
    if (session.connection !== null) this.#attach(subscriber, feed);
    return subscriber;
  }

  /** Delivery begins; with another feed of the log, if this one was closed in a wait in which nobody followed it. */
  #attach(subscriber: Subscriber, feed: Feed): void {
    if (feed.closed) this.goOn(subscriber);
    else this.#feeds.subscribe(subscriber, feed);
  }

  remove(subscriber: Subscriber): void {
    this.#feeds.unsubscribe(subscriber);
    subscriber.session.remove(subscriber);
  }
}

/** A page that was being read already may be older than what was delivered; and all may change while it waits. */
function isUpToDate(page: LatestPage, feed: Feed, before: Subscriber | undefined): boolean {
  if (feed.closed || feed.epoch !== page.epoch || feed.isOutdated(page.asOf)) return false;
  return before?.epoch !== page.epoch || page.head >= before.cursor;
}

function never(): boolean {
  return false;
}

function leftMeanwhile(): RefusalError {
  return new RefusalError("not_joined", "the room was left before it was joined");
}

function gapOf(reason: RoomGapReason | null, epoch: Epoch): Gap | null {
  return reason === null ? null : { reason, epoch };
}

/** Another life of the log outranks what else was found before it began. */
function gapIn({ reason, epoch }: Gap, now: Epoch): RoomGapReason {
  return epoch === now ? reason : "epoch";
}

function gapFrame(log: LogId, reason: RoomGapReason, { epoch, head }: { epoch: Epoch; head: Seq }): Buffer {
  return eventFrame("room_gap", { roomId: roomOf(log), reason, epoch, head });
}

/** Why one who waits for a page must end; null when the failure may pass. */
function endingOf(error: unknown): "forbidden" | "deleted" | null {
  if (!(error instanceof RefusalError)) return null;
  if (error.code === "not_found") return "deleted";
  return error.code === "forbidden" ? "forbidden" : null;
}
