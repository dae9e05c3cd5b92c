import { bounds, type JsonValue, type Position, RefusalError, type RoomGapReason } from "@parley/protocol";
import type { User } from "../gateway/connection.ts";
import type { Store } from "../store/store.ts";
import { type Access, type Rights } from "./access.ts";
import type { Clock } from "./clock.ts";
import { membershipChangeIn } from "./entry-event.ts";
import type { Feed } from "./feed.ts";
import type { Feeds } from "./feeds.ts";
import { eventFrame } from "./frame.ts";
import { historyFrame, HistoryPages, type LatestPage } from "./history.ts";
import { newEntryId } from "./ids.ts";
import { announcementsRoom, isRoom, type LogId, logId, roomOf, type Seq, tenantOf } from "./log.ts";
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
  readonly #onTyping: (log: LogId, roomId: string, userId: string) => void;

  constructor(parts: {
    store: Store;
    clock: Clock;
    feeds: Feeds;
    access: Access;
    presence: Presence;
    sequencer: Sequencer;
    limits: RoomsLimits;
    /** Tells the other nodes. */
    onTyping: (log: LogId, roomId: string, userId: string) => void;
  }) {
    this.#store = parts.store;
    this.#clock = parts.clock;
    this.#feeds = parts.feeds;
    this.#access = parts.access;
    this.#presence = parts.presence;
    this.#sequencer = parts.sequencer;
    this.pages = new HistoryPages(parts.store, parts.limits.historyPageBytesMax);
    this.#limits = parts.limits;
    this.#onTyping = parts.onTyping;
  }

  /**
   * Makes the session a subscriber of the room: after its position, or from the latest page of history. Rejoining
   * begins anew from there. Rejects with `RefusalError` `forbidden`, `too_many_rooms`, `access_unavailable`.
   */
  async join(
    session: Session,
    request: { roomId: string; after?: Position | undefined; history?: number | undefined },
  ): Promise<Joined> {
    const log = logId(session.user.tenant, request.roomId);
    await this.#require(session.user, log, "read");
    if (session.find(log) === undefined && this.#roomsOf(session) >= this.#limits.roomsPerConnectionMax) {
      throw new RefusalError(
        "too_many_rooms",
        `a connection joins at most ${this.#limits.roomsPerConnectionMax} rooms (limits.roomsPerConnectionMax)`,
      );
    }
    const feed = await this.#feeds.open(log);
    const subscriber = await this.#place(session, feed, request);
    this.#enter(subscriber);
    return { roomId: request.roomId, epoch: feed.epoch, seq: subscriber.cursor };
  }

  /** Nothing of the room is written after this. */
  leave(session: Session, roomId: string): void {
    const subscriber = session.find(logId(session.user.tenant, roomId));
    if (subscriber === undefined) return;
    this.#exit(subscriber, true);
    this.#remove(subscriber);
  }

  /**
   * Continues a subscriber of a session that came back, at its cursor; its right is asked anew (REC-3). Where that cannot
   * be, and where a first page may not have arrived, it gets the latest page: later, as the window has room for it.
   */
  async resume(subscriber: Subscriber): Promise<void> {
    const { session, log } = subscriber;
    if (isRoom(log) && !(await this.#mayRead(session.user, log))) {
      session.remove(subscriber);
      session.emit(eventFrame("room_closed", { roomId: roomOf(log), reason: "forbidden" }));
      return;
    }
    const feed = await this.#feeds.open(log);
    if (session.connection === null || !session.subscribers.includes(subscriber)) return;
    const { epoch, cursor } = subscriber;
    const reason = cursor === fromHistory ? null : await this.#gapReason(feed, { epoch, seq: cursor });
    if (session.connection === null || !session.subscribers.includes(subscriber)) return;
    if (cursor === fromHistory || reason !== null) {
      this.#enter(subscriber);
      this.startOver(subscriber, reason);
    } else {
      this.#enter(this.#subscribe(session, feed, cursor));
    }
  }

  /** Joins with a position as the client connects. A lost right costs this room alone. */
  async rejoin(session: Session, roomId: string, after: Position): Promise<void> {
    if (this.#roomsOf(session) >= this.#limits.roomsPerConnectionMax) {
      session.emit(eventFrame("room_closed", { roomId, reason: "forbidden" }));
      return;
    }
    await this.resume(session.add(logId(session.user.tenant, roomId), after.epoch, after.seq));
  }

  /** Follows the announcements, from a position or else from now. */
  async followAnnouncements(session: Session, after: Position | undefined): Promise<void> {
    const feed = await this.#feeds.open(logId(session.user.tenant, announcementsRoom));
    const { epoch, seq } = after ?? { epoch: feed.epoch, seq: feed.head };
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
      const feed = await this.#feeds.open(subscriber.log);
      if (!session.subscribers.includes(subscriber)) return;
      if (reason === null) await this.#fromHistory(session, feed, historyDefault);
      else await this.#gap(session, feed, reason);
    };
    const retry = (): void => {
      if (session.connection === null || !session.subscribers.includes(subscriber)) return;
      attempt().catch(() => this.#clock.after(retryMs, retry));
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
      return Promise.reject(
        new RefusalError("payload_too_large", `a message has at most ${bounds.entryBytes} bytes with its data`),
      );
    }
    const log = logId(user.tenant, roomId);
    const append = {
      log,
      id: newEntryId(),
      type: "message",
      actor: user.id,
      at: this.#clock.now(),
      v: 1,
      data,
      clientId: clientId ?? null,
      effect: null,
    };
    return this.#sequencer.append(append);
  }

  /** Tells the others that the user types; the right to send was checked before, and the session must have joined. */
  typing(session: Session, roomId: string): void {
    const log = logId(session.user.tenant, roomId);
    if (session.find(log) === undefined) throw new RefusalError("not_joined", "join the room before typing in it");
    const { id } = session.user;
    this.signal(log, "user_typing", { roomId, userId: id }, (other) => other.user.id === id);
    this.#onTyping(log, roomId, id);
  }

  /** Tells the others in the room; best effort. */
  signal(log: LogId, event: string, payload: object, except: (session: Session) => boolean): void {
    const feed = this.#feeds.get(log);
    if (feed === undefined) return;
    const frame = eventFrame(event, payload);
    for (const { session } of feed.subscribers) if (!except(session)) session.signal(frame);
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

  /** Asks for the session's right to the room again, without delivery meanwhile. */
  recheck(session: Session, log: LogId): void {
    const subscriber = session.find(log);
    if (subscriber === undefined || subscriber.feed === null) return;
    this.#feeds.unsubscribe(subscriber);
    const check = async () => {
      const readable = await this.#mayRead(session.user, log);
      if (session.connection === null || !session.subscribers.includes(subscriber) || subscriber.feed !== null) return;
      if (readable) this.#feeds.subscribe(subscriber, await this.#feeds.open(log));
      else this.close(subscriber, "forbidden");
    };
    const retry = (): void => void check().catch(() => this.#clock.after(retryMs, retry));
    retry();
  }

  /** Ends a subscriber for good and tells its client. */
  close(subscriber: Subscriber, reason: "forbidden" | "deleted"): void {
    const { session, log } = subscriber;
    this.#exit(subscriber, true);
    this.#remove(subscriber);
    session.emit(eventFrame("room_closed", { roomId: roomOf(log), reason }));
  }

  async #mayRead(user: User, log: LogId): Promise<boolean> {
    return (await this.#access.rightsNow(user, log)).read;
  }

  async #require(user: User, log: LogId, what: "read" | "send"): Promise<void> {
    requireRight(await this.#access.rights(user, log), roomOf(log), what);
  }

  #roomsOf(session: Session): number {
    return session.subscribers.filter(({ log }) => isRoom(log)).length;
  }

  /** A subscriber of the feed after `after`, or else after the latest page, which is sent. */
  async #place(
    session: Session,
    feed: Feed,
    request: { after?: Position | undefined; history?: number | undefined },
  ): Promise<Subscriber> {
    const { after } = request;
    if (after === undefined) return this.#fromHistory(session, feed, request.history ?? historyDefault);
    const reason = await this.#gapReason(feed, after);
    if (reason !== null) return this.#gap(session, feed, reason);
    return this.#subscribe(session, feed, after.seq);
  }

  async #gapReason(feed: Feed, after: Position): Promise<RoomGapReason | null> {
    if (after.seq > feed.head) {
      // Why: the client may have it from another node, whose hint is still on its way to this one.
      const [state] = await this.#store.states([feed.log]);
      if (state !== undefined) feed.announce(state.epoch, state.head);
      if (state?.epoch === after.epoch && state.head < after.seq) return "ahead";
    }
    if (after.epoch !== feed.epoch) return "epoch";
    // What lies below the floor shows when the first page is read: the feed then reports the gap.
    return feed.head - after.seq > this.#limits.catchUpMax ? "too_far" : null;
  }

  async #gap(session: Session, feed: Feed, reason: RoomGapReason): Promise<Subscriber> {
    const roomId = roomOf(feed.log);
    if (!isRoom(feed.log)) {
      session.emit(eventFrame("room_gap", { roomId, reason, epoch: feed.epoch, head: feed.head }));
      return this.#subscribe(session, feed, feed.head);
    }
    const gap = { roomId, reason };
    return this.#sendHistory(session, feed, await this.pages.latest(feed, historyDefault), gap);
  }

  async #fromHistory(session: Session, feed: Feed, limit: number): Promise<Subscriber> {
    if (limit === 0) return this.#subscribe(session, feed, feed.head);
    return this.#sendHistory(session, feed, await this.pages.latest(feed, limit));
  }

  /** Sends the page as soon as the window has room for it; what follows it comes from the feed. */
  async #sendHistory(
    session: Session,
    feed: Feed,
    latest: LatestPage,
    gap?: { roomId: string; reason: RoomGapReason },
  ): Promise<Subscriber> {
    const page = session.holdsPage(feed.log, latest.number) ? this.pages.anew(latest) : latest;
    const frame = historyFrame(feed.log, page, session.offsets);
    const before = session.find(feed.log);
    const fits = await session.spare(frame.length + gapBytes);
    const now = session.find(feed.log);
    // Why: while the page waited the session may have lost its connection, come back, and begun anew in this room.
    if (now !== undefined && now !== before) return now;
    if (!fits) return this.#owePage(session, feed, before);
    if (gap !== undefined) session.emit(eventFrame("room_gap", { ...gap, epoch: page.epoch, head: page.head }));
    session.emit(frame);
    // Why not always the page's head: who joins again while entries arrive may have some that the page lacks.
    const reached = gap === undefined && before?.epoch === feed.epoch ? before.cursor : 0;
    const subscriber = this.#subscribe(session, feed, Math.max(page.head, reached));
    session.wroteHistory(subscriber, page.head, page.number);
    return subscriber;
  }

  /** The connection is gone: the page is owed to the next one, which may be there by now. */
  #owePage(session: Session, feed: Feed, before: Subscriber | undefined): Subscriber {
    const owed = before ?? session.add(feed.log, feed.epoch, fromHistory);
    if (owed.feed === null) owed.cursor = fromHistory;
    if (before === undefined) this.startOver(owed, null);
    return owed;
  }

  #subscribe(session: Session, feed: Feed, cursor: Seq): Subscriber {
    const old = session.find(feed.log);
    if (old !== undefined) this.#remove(old);
    const subscriber = session.add(feed.log, feed.epoch, cursor);
    subscriber.present = old?.present ?? false;
    if (old?.epoch === feed.epoch) subscriber.repeatsTo = Math.max(old.cursor, old.repeatsTo);
    if (session.connection !== null) this.#feeds.subscribe(subscriber, feed);
    return subscriber;
  }

  #enter(subscriber: Subscriber): void {
    const { session, log } = subscriber;
    if (subscriber.present || session.connection === null || !isRoom(log)) return;
    subscriber.present = true;
    this.#presence.entered(log, session.user.id);
  }

  /** Invariant: every presence that was entered is left once. */
  #exit(subscriber: Subscriber, forGood: boolean): void {
    if (!subscriber.present) return;
    subscriber.present = false;
    this.#presence.left(subscriber.log, subscriber.session.user.id, forGood);
  }

  #remove(subscriber: Subscriber): void {
    this.#feeds.unsubscribe(subscriber);
    subscriber.session.remove(subscriber);
  }
}

function requireRight(rights: Rights, roomId: string, what: "read" | "send"): void {
  if (rights[what]) return;
  const verb = what === "read" ? "read" : "send to";
  throw new RefusalError(
    "forbidden",
    `you may not ${verb} room ${JSON.stringify(roomId)}: it takes a membership, or the room's access set to public`,
  );
}
