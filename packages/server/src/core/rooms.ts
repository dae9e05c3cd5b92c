import { bounds, type JsonValue, type Position, RefusalError, type RoomGapReason } from "@parley/protocol";
import type { User } from "../gateway/connection.ts";
import type { Store } from "../store/store.ts";
import { type Access, requireRight } from "./access.ts";
import type { Clock } from "./clock.ts";
import type { Confirmation } from "./confirmation.ts";
import { membershipChangeIn } from "./entry-event.ts";
import type { Feed } from "./feed.ts";
import type { Feeds } from "./feeds.ts";
import { eventFrame } from "./frame.ts";
import { historyFrame, HistoryPages, type HistoryRange } from "./history.ts";
import { newEntryId } from "./ids.ts";
import { announcementsRoom, type Epoch, isRoom, type LogId, logId, roomOf, type Seq, tenantOf } from "./log.ts";
import type { Presence } from "./presence.ts";
import type { Appended, Sequencer } from "./sequencer.ts";
import type { Session } from "./session.ts";
import type { Subscriber } from "./subscriber.ts";
import { fromHistory } from "./unconfirmed.ts";

export interface RoomsLimits {
  readonly roomsPerConnectionMax: number;
  /** Bytes of message data in one page of history. */
  readonly historyPageBytesMax: number;
  /** Entries behind the head at which a client gets the latest page instead. */
  readonly catchUpMax: number;
}

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

/** Where a joined session stands. */
export interface Joined {
  readonly roomId: string;
  readonly epoch: string;
  readonly seq: Seq;
}

/** Joining, leaving, sending and reading rooms, each with the right to it. */
export class Rooms {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #feeds: Feeds;
  readonly #access: Access;
  readonly #presence: Presence;
  readonly #sequencer: Sequencer;
  /** Pages of messages; whoever asks for them must have the right to read. */
  readonly pages: HistoryPages;
  readonly #limits: RoomsLimits;
  readonly #keep: (session: Session) => undefined | Promise<void>;
  readonly #alone: boolean;
  readonly #confirmation: Confirmation;

  constructor(parts: {
    store: Store;
    clock: Clock;
    feeds: Feeds;
    access: Access;
    presence: Presence;
    sequencer: Sequencer;
    limits: RoomsLimits;
    /** There is no other node, so that every loss of a right is heard of. */
    alone: boolean;
    confirmation: Confirmation;
    /** Settles when the session is kept as it is now; undefined: it is. */
    keep: (session: Session) => undefined | Promise<void>;
  }) {
    this.#store = parts.store;
    this.#clock = parts.clock;
    this.#feeds = parts.feeds;
    this.#access = parts.access;
    this.#presence = parts.presence;
    this.#sequencer = parts.sequencer;
    this.pages = new HistoryPages(parts.store, parts.limits.historyPageBytesMax);
    this.#limits = parts.limits;
    this.#keep = parts.keep;
    this.#alone = parts.alone;
    this.#confirmation = parts.confirmation;
  }

  /**
   * Makes the session a subscriber of the room: after its position, or from the latest page of history. Rejoining
   * begins anew from there. Rejects with `RefusalError` `forbidden`, `too_many_rooms`, `access_unavailable`, and with
   * `store_unavailable` when it has joined, but would not be known to have on another node.
   */
  async join(
    session: Session,
    request: { roomId: string; after?: Position | undefined; history?: number | undefined },
  ): Promise<Joined> {
    const log = logId(session.user.tenant, request.roomId);
    const { doubts } = session;
    await this.#require(session.user, log, "read");
    if (session.find(log) === undefined && this.#roomsOf(session) >= this.#limits.roomsPerConnectionMax) {
      throw new RefusalError(
        "too_many_rooms",
        `a connection joins at most ${this.#limits.roomsPerConnectionMax} rooms (limits.roomsPerConnectionMax)`,
      );
    }
    const before = session.find(log);
    try {
      const subscriber = await this.#place(session, log, request);
      this.#enter(subscriber);
      if (session.doubts !== doubts) this.recheck(session, log);
      const joined = { roomId: request.roomId, epoch: subscriber.epoch, seq: subscriber.cursor };
      await this.#keep(session);
      return joined;
    } catch (error) {
      if (before !== undefined) this.#goOn(before);
      throw error;
    }
  }

  /**
   * Nothing of the room is written after this. Settles when the session may be told so, undefined: at once. Rejects with
   * `RefusalError` `store_unavailable`.
   */
  leave(session: Session, roomId: string): undefined | Promise<void> {
    const subscriber = session.find(logId(session.user.tenant, roomId));
    if (subscriber !== undefined) {
      this.#exit(subscriber, true);
      this.#remove(subscriber);
    }
    return this.#keep(session);
  }

  /**
   * Continues a subscriber of a session that came back, at its cursor; its right is asked anew (REC-3). Where that cannot
   * be, and where a first page may not have arrived, it gets the latest page: later, as the window has room for it.
   */
  async resume(subscriber: Subscriber): Promise<void> {
    const { session, log } = subscriber;
    const { doubts } = session;
    if (isRoom(log) && !(await this.#mayRead(session.user, log))) {
      if (session.subscribers.includes(subscriber)) this.close(subscriber, "forbidden");
      return;
    }
    const feed = await this.#feeds.open(log);
    if (session.connection === null || !session.subscribers.includes(subscriber)) return;
    const { epoch, cursor } = subscriber;
    const reason = cursor === fromHistory ? null : await this.#gapReason(feed, { epoch, seq: cursor });
    if (session.connection === null || !session.subscribers.includes(subscriber)) return;
    // Why: the client claims a place that the log has not reached; no page would ever be as new.
    if (reason === "ahead") subscriber.cursor = 0;
    if (cursor === fromHistory || reason !== null) {
      this.#enter(subscriber);
      this.startOver(subscriber, reason ?? subscriber.gap);
    } else {
      this.#enter(this.#subscribe(session, feed, cursor));
      if (isRoom(log) && session.doubts !== doubts) this.recheck(session, log);
    }
  }

  /** Joins with a position as the client connects. A lost right costs this room alone. */
  async rejoin(session: Session, roomId: string, after: Position): Promise<void> {
    const isOver = this.#roomsOf(session) >= this.#limits.roomsPerConnectionMax;
    const subscriber = session.add(logId(session.user.tenant, roomId), after.epoch, after.seq);
    if (isOver) this.close(subscriber, "forbidden");
    else await this.resume(subscriber);
  }

  /** Follows the announcements, from a position, or the one that the client remembers, or else from now. */
  async followAnnouncements(session: Session, after: Position | undefined): Promise<void> {
    const feed = await this.#feeds.open(logId(session.user.tenant, announcementsRoom));
    const { remembered } = session;
    const known = remembered?.log === feed.log && remembered.epoch === feed.epoch ? remembered : undefined;
    const { epoch, seq } = after ?? known ?? { epoch: feed.epoch, seq: feed.head };
    await this.resume(session.add(feed.log, epoch, seq));
  }

  /** The session's connection is gone: its subscribers keep their cursors, and leave the feeds. */
  detach(session: Session): void {
    for (const subscriber of session.subscribers) {
      this.#feeds.unsubscribe(subscriber);
      this.#exit(subscriber, false);
    }
  }

  /** The session is over: it leaves nothing behind. */
  end(session: Session): void {
    for (const subscriber of session.subscribers) {
      this.#feeds.unsubscribe(subscriber);
      this.#exit(subscriber, true);
    }
    session.subscribers = [];
  }

  /** The latest page instead of what the subscriber cannot continue; `reason`: what it is told before, null for nothing. */
  startOver(subscriber: Subscriber, reason: RoomGapReason | null): void {
    const { session } = subscriber;
    const attempt = async (): Promise<void> => {
      if (reason !== null && !isRoom(subscriber.log)) await this.#tellGap(subscriber, reason);
      else
        await this.#beginWithPage(session, subscriber.log, historyDefault, gapOf(reason, subscriber.epoch), subscriber);
    };
    const retry = (): void => {
      if (session.connection === null || !session.subscribers.includes(subscriber)) return;
      attempt().catch((error: unknown) => {
        const ending = endingOf(error);
        if (ending === null) this.#clock.after(retryMs, retry);
        else if (session.subscribers.includes(subscriber)) this.close(subscriber, ending);
      });
    };
    retry();
  }

  /** The right to do it, at once when known; rejects with `forbidden`, which is also the answer for a room that is not there. */
  admit(user: User, roomId: string, what: "read" | "send"): undefined | Promise<void> {
    const log = logId(user.tenant, roomId);
    const rights = this.#access.rights(user, log);
    if (rights instanceof Promise) return rights.then((later) => requireRight(later, roomId, what));
    requireRight(rights, roomId, what);
    return undefined;
  }

  /**
   * A page that the client asked for, as soon as its window has room for it. The right to it holds at that moment: emit it
   * before anything is awaited. Rejects as `admit` does.
   */
  async history(
    session: Session,
    range: { roomId: string; before?: number | undefined; after?: number | undefined; limit: number },
  ): Promise<HistoryRange> {
    const log = logId(session.user.tenant, range.roomId);
    for (;;) {
      await this.#confirmation.wait();
      const { doubts } = session;
      await this.#require(session.user, log, "read");
      const page = await this.pages.range(session.user.tenant, range);
      const fits = await session.spare(page.bytes);
      if (!fits || this.#holds(session, doubts)) return page;
    }
  }

  /** Commits a message; the right to send was checked before. Resolves when it is durable. */
  send(
    user: { readonly tenant: string; readonly id: string },
    message: {
      roomId: string;
      text: string;
      clientId?: string | undefined;
      replyTo?: string | undefined;
      data?: JsonValue | undefined;
    },
  ): Promise<Appended> {
    const { roomId, text, clientId, replyTo, data: custom } = message;
    const data = JSON.stringify({ text, replyTo, data: custom });
    if (Buffer.byteLength(data) > bounds.entryBytes) {
      const refusal = `a message has at most ${bounds.entryBytes} bytes with its data`;
      return Promise.reject(new RefusalError("payload_too_large", refusal));
    }
    const common = { id: newEntryId(), type: "message", actor: user.id, at: this.#clock.now(), v: 1, data };
    const log = logId(user.tenant, roomId);
    return this.#sequencer.append({ log, ...common, clientId: clientId ?? null, effect: null });
  }

  /**
   * A membership changed in an entry that was just accepted: whoever lost the right gets nothing later than it (ACC-1).
   * Subscribers are taken out before the entry is delivered, and put back when the right turns out to hold.
   */
  onAccepted(
    feed: Feed,
    events: readonly string[],
    sessionsOf: (tenant: string, userId: string) => readonly Session[],
  ): void {
    for (const event of events) {
      const change = membershipChangeIn(event);
      if (change === null) continue;
      const tenant = tenantOf(feed.log);
      this.#access.forget(tenant, change.userId, feed.log);
      for (const session of sessionsOf(tenant, change.userId)) this.recheck(session, feed.log);
    }
  }

  /**
   * Asks for the session's right to the room again, without delivery meanwhile. Whoever is joining just now asks again,
   * too, before anything of the room is written.
   */
  recheck(session: Session, log: LogId): void {
    session.doubts += 1;
    const subscriber = session.find(log);
    if (subscriber === undefined || subscriber.feed === null) return;
    this.#feeds.unsubscribe(subscriber);
    this.#goOn(subscriber);
  }

  /** Delivery to a subscriber was stopped: it goes on at its cursor, if the right to read still holds. */
  #goOn(subscriber: Subscriber): void {
    const { session, log } = subscriber;
    const waits = (): boolean =>
      session.connection !== null && session.subscribers.includes(subscriber) && subscriber.feed === null;
    const attempt = async (): Promise<void> => {
      if (!waits()) return;
      const { doubts } = session;
      if (!(await this.#mayRead(session.user, log))) {
        if (waits()) this.close(subscriber, "forbidden");
        return;
      }
      const feed = await this.#feeds.open(log);
      const { epoch, cursor } = subscriber;
      const reason = cursor === fromHistory ? null : await this.#gapReason(feed, { epoch, seq: cursor });
      if (!waits()) return;
      if (session.doubts !== doubts) this.#goOn(subscriber);
      else if (cursor === fromHistory || reason !== null) this.startOver(subscriber, reason ?? subscriber.gap);
      else this.#attach(subscriber, feed);
    };
    attempt().catch(() => this.#clock.after(retryMs, () => this.#goOn(subscriber)));
  }

  /** Ends a subscriber for good and tells its client. */
  close(subscriber: Subscriber, reason: "forbidden" | "deleted"): void {
    const { session, log } = subscriber;
    this.#exit(subscriber, true);
    this.#remove(subscriber);
    session.tell(subscriber, { frame: eventFrame("room_closed", { roomId: roomOf(log), reason }), joined: false });
  }

  async #mayRead(user: User, log: LogId): Promise<boolean> {
    return (await this.#access.rightsNow(user, log)).read;
  }

  async #require(user: User, log: LogId, what: "read" | "send"): Promise<void> {
    requireRight(await this.#access.rights(user, log), roomOf(log), what);
  }

  async #requireNow(user: User, log: LogId): Promise<void> {
    requireRight(await this.#access.rightsNow(user, log), roomOf(log), "read");
  }

  #roomsOf(session: Session): number {
    return session.subscribers.filter(({ log }) => isRoom(log)).length;
  }

  /** A subscriber of the feed after `after`, or else after the latest page, which is sent. */
  async #place(
    session: Session,
    log: LogId,
    request: { after?: Position | undefined; history?: number | undefined },
  ): Promise<Subscriber> {
    const { after, history = historyDefault } = request;
    if (after === undefined && history > 0) return this.#beginWithPage(session, log, history, null, null);
    const feed = await this.#feeds.open(log);
    if (after === undefined) return this.#subscribe(session, feed, feed.head);
    const reason = await this.#gapReason(feed, after);
    if (reason !== null) return this.#beginWithPage(session, log, historyDefault, gapOf(reason, after.epoch), null);
    return this.#subscribe(session, feed, after.seq);
  }

  async #gapReason(feed: Feed, after: Position): Promise<RoomGapReason | null> {
    const asked = feed.epoch;
    if (after.epoch !== asked || after.seq > feed.head) {
      // Why: the client may have it from another node, whose hint is still on its way to this one.
      const [state] = await this.#store.states([feed.log]);
      if (state !== undefined) feed.learn(state, asked);
      if (state?.epoch === after.epoch && state.head < after.seq) return "ahead";
    }
    if (feed.closed) return this.#gapReason(await this.#feeds.open(feed.log), after);
    if (after.epoch !== feed.epoch) return "epoch";
    // What lies below the floor shows when the first page is read: the feed then reports the gap.
    return feed.head - after.seq > this.#limits.catchUpMax ? "too_far" : null;
  }

  /** The server's own logs have no pages: who cannot go on is told so, and goes on at the head. */
  async #tellGap(subscriber: Subscriber, reason: RoomGapReason): Promise<void> {
    const { session, log } = subscriber;
    const feed = await this.#feeds.open(log);
    if (!session.subscribers.includes(subscriber)) return;
    const frame = gapFrame(log, gapIn({ reason, epoch: subscriber.epoch }, feed.epoch), feed);
    const told = this.#subscribe(session, feed, feed.head);
    told.gap = reason;
    session.tell(told, { frame, joined: true });
  }

  /**
   * Sends the latest page as soon as the window has room for it; what follows it comes from the feed. `gap`: what the
   * client is told before. `owedTo`: the subscriber that cannot go on without it; null when the client asks for it.
   */
  async #beginWithPage(
    session: Session,
    log: LogId,
    limit: number,
    gap: Gap | null,
    owedTo: Subscriber | null,
  ): Promise<Subscriber> {
    const before = session.find(log);
    // Why: a client puts the page in the place of what it shows, so that nothing may come between and not be in it.
    if (before !== undefined) this.#feeds.unsubscribe(before);
    for (;;) {
      await this.#confirmation.wait();
      const { doubts } = session;
      const isHeard = this.#alone || this.#feeds.get(log) !== undefined;
      await this.#require(session.user, log, "read");
      const feed = await this.#feeds.open(log);
      const latest = await this.pages.latest(feed, limit, before?.cursor ?? 0);
      // Why: who lost the right by an entry that this node has not accepted is still known to have it.
      if (!isHeard || latest.head > feed.head) await this.#requireNow(session.user, log);
      const page = session.holdsPage(log, latest.number) ? this.pages.anew(latest) : latest;
      const frame = historyFrame(log, page, session.offsets);
      const fits = await session.spare(frame.length + gapBytes);
      const now = session.find(log);
      // Why: while the page waited the session may have lost its connection, come back, and begun anew in this room.
      if (now !== undefined && now !== before) return now;
      // Or it may have left: nobody asks for the page any more.
      if (now === undefined && owedTo !== null) return owedTo;
      if (!fits) return this.#owePage(session, log, page.epoch, before, gap);
      // Why: a page that was being read already may be older than what was delivered; and all may change in the wait.
      const isStale = before?.epoch === page.epoch && page.head < before.cursor;
      if (isStale || feed.closed || feed.epoch !== page.epoch || !this.#holds(session, doubts)) continue;
      const reason = gap === null ? null : gapIn(gap, page.epoch);
      if (reason !== null) session.emit(gapFrame(log, reason, page));
      session.emit(frame);
      const subscriber = this.#subscribe(session, feed, page.head);
      subscriber.gap = reason;
      session.wroteHistory(subscriber, page.head, page.number);
      return subscriber;
    }
  }

  /** No right of the session was lost since it was asked for as of `doubts`. */
  #holds(session: Session, doubts: number): boolean {
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

  #subscribe(session: Session, feed: Feed, cursor: Seq): Subscriber {
    const old = session.find(feed.log);
    if (old !== undefined) this.#remove(old);
    const subscriber = session.add(feed.log, feed.epoch, cursor);
    subscriber.present = old?.present ?? false;
    subscriber.again = old === undefined ? session.hasLeft : old.again || old.cursor !== fromHistory;
    if (old?.epoch === feed.epoch)
      subscriber.repeatsTo = Math.max(old.cursor, old.repeatsTo === Infinity ? feed.head : old.repeatsTo);
    if (session.connection !== null) this.#attach(subscriber, feed);
    return subscriber;
  }

  /** Delivery begins; with another feed of the log, if this one was closed in a wait in which nobody followed it. */
  #attach(subscriber: Subscriber, feed: Feed): void {
    if (feed.closed) this.#goOn(subscriber);
    else this.#feeds.subscribe(subscriber, feed);
  }

  #enter(subscriber: Subscriber): void {
    const { session, log } = subscriber;
    if (subscriber.present || session.connection === null || !isRoom(log)) return;
    subscriber.present = true;
    this.#presence.entered(log, session.user.id);
  }

  /** Invariant: every presence that was entered is left once. */
  #exit(subscriber: Subscriber, forGood: boolean): void {
    subscriber.session.hasLeft ||= forGood;
    if (!subscriber.present) return;
    subscriber.present = false;
    this.#presence.left(subscriber.log, subscriber.session.user.id, forGood);
  }

  #remove(subscriber: Subscriber): void {
    this.#feeds.unsubscribe(subscriber);
    subscriber.session.remove(subscriber);
  }
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
