import {
  bounds,
  type JsonValue,
  type Position,
  RefusalError,
  type RoomClosedReason,
  type RoomGapReason,
} from "@parley/protocol";
import type { User } from "../gateway/connection.ts";
import type { Store } from "../store/store.ts";
import { type Access, requireRight } from "./access.ts";
import type { Clock } from "./clock.ts";
import type { Confirmation } from "./confirmation.ts";
import { membershipChangeIn } from "./entry-event.ts";
import type { Feed } from "./feed.ts";
import type { Feeds } from "./feeds.ts";
import { eventFrame } from "./frame.ts";
import { HistoryPages, type HistoryRange } from "./history.ts";
import { newEntryId } from "./ids.ts";
import { announcementsRoom, isRoom, type LogId, logId, roomOf, type Seq, tenantOf } from "./log.ts";
import { Placement } from "./placement.ts";
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

interface JoinRequest {
  readonly roomId: string;
  readonly after?: Position | undefined;
  readonly history?: number | undefined;
}

/** A join under way. Another connection of the session may leave the room meanwhile: nobody asks for it any more then. */
interface Join {
  readonly log: LogId;
  isOff: boolean;
}

/** Where a joined session stands. */
export interface Joined {
  readonly roomId: string;
  readonly epoch: string;
  readonly seq: Seq;
}

/** Joining, leaving, sending and reading rooms, each with the right to it. */
export class Rooms {
  readonly #clock: Clock;
  readonly #feeds: Feeds;
  readonly #access: Access;
  readonly #presence: Presence;
  readonly #sequencer: Sequencer;
  /** Pages of messages; whoever asks for them must have the right to read. */
  readonly pages: HistoryPages;
  readonly #limits: RoomsLimits;
  readonly #keep: (session: Session) => undefined | Promise<void>;
  readonly #confirmation: Confirmation;
  readonly #placement: Placement;
  /** One for each connection of a session, at most. */
  readonly #joins = new Map<Session, readonly Join[]>();

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
    this.#clock = parts.clock;
    this.#feeds = parts.feeds;
    this.#access = parts.access;
    this.#presence = parts.presence;
    this.#sequencer = parts.sequencer;
    this.pages = new HistoryPages(parts.store, parts.limits.historyPageBytesMax);
    this.#limits = parts.limits;
    this.#keep = parts.keep;
    this.#confirmation = parts.confirmation;
    this.#placement = new Placement({
      ...parts,
      pages: this.pages,
      catchUpMax: parts.limits.catchUpMax,
      close: (subscriber, reason) => this.close(subscriber, reason),
    });
  }

  /**
   * Makes the session a subscriber of the room: after its position, or from the latest page of history. Rejoining
   * begins anew from there. Rejects with `RefusalError` `forbidden`, `too_many_rooms`, `access_unavailable`, and with
   * `store_unavailable` when it has joined, but would not be known to have on another node.
   */
  async join(session: Session, request: JoinRequest): Promise<Joined> {
    const join = { log: logId(session.user.tenant, request.roomId), isOff: false };
    this.#joins.set(session, [...(this.#joins.get(session) ?? []), join]);
    try {
      return await this.#join(session, request, join);
    } finally {
      const others = this.#joins.get(session)?.filter((other) => other !== join) ?? [];
      if (others.length > 0) this.#joins.set(session, others);
      else this.#joins.delete(session);
    }
  }

  async #join(session: Session, request: JoinRequest, join: Join): Promise<Joined> {
    const { log } = join;
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
      const subscriber = await this.#placement.place(session, log, { ...request, isOff: () => join.isOff });
      this.#enter(subscriber);
      if (session.doubts !== doubts) this.recheck(session, log);
      const joined = { roomId: request.roomId, epoch: subscriber.epoch, seq: subscriber.cursor };
      await this.#keep(session);
      return joined;
    } catch (error) {
      if (before !== undefined) this.#placement.goOn(before);
      throw error;
    }
  }

  /**
   * Nothing of the room is written after this. Settles when the session may be told so, undefined: at once. Rejects with
   * `RefusalError` `store_unavailable`.
   */
  leave(session: Session, roomId: string): undefined | Promise<void> {
    const log = logId(session.user.tenant, roomId);
    // Why: a connection has its requests done in turn, but a join that was asked for on the one before may still wait.
    for (const join of this.#joins.get(session) ?? []) join.isOff ||= join.log === log;
    const subscriber = session.find(log);
    if (subscriber !== undefined) {
      this.#exit(subscriber, true);
      this.#placement.remove(subscriber);
    }
    session.withdrawClosing(log);
    return this.#keep(session);
  }

  /**
   * Continues a subscriber of a session that came back, at its cursor; its right is asked anew (REC-3). Where that cannot
   * be, and where a first page may not have arrived, it gets the latest page: later, as the window has room for it.
   */
  async resume(subscriber: Subscriber): Promise<void> {
    const { session, log } = subscriber;
    const { doubts, connection } = session;
    // Why the same connection: who has come back once more meanwhile was rewound, and is resumed from there.
    const isOver = (): boolean =>
      connection === null || session.connection !== connection || !session.subscribers.includes(subscriber);
    const feed = isRoom(log) ? await this.#placement.readableFeed(session.user, log) : await this.#feeds.open(log);
    if (feed === null) {
      if (session.subscribers.includes(subscriber)) this.close(subscriber, "forbidden");
      return;
    }
    if (isOver()) return;
    const { cursor } = subscriber;
    const reason = await this.#placement.gapBefore(subscriber, feed);
    if (isOver()) return;
    // Why: the client claims a place that the log has not reached; no page would ever be as new.
    if (reason === "ahead") subscriber.cursor = 0;
    if (cursor === fromHistory || reason !== null) {
      this.#enter(subscriber);
      this.#placement.startOver(subscriber, reason ?? subscriber.gap);
    } else {
      this.#enter(this.#placement.subscribe(session, feed, cursor));
      if (isRoom(log) && session.doubts !== doubts) this.recheck(session, log);
    }
  }

  /** Joins with a position as the client connects. A lost right costs this room alone. */
  async rejoin(session: Session, roomId: string, after: Position): Promise<void> {
    const isOver = this.#roomsOf(session) >= this.#limits.roomsPerConnectionMax;
    const subscriber = session.add(logId(session.user.tenant, roomId), after.epoch, after.seq);
    if (isOver) this.close(subscriber, "too_many_rooms");
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
    this.#placement.startOver(subscriber, reason);
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
      const feed = this.#feeds.get(log);
      // Why: a page may wait for long.
      const isOutdated = feed !== undefined && feed.epoch === page.epoch && feed.isOutdated(page.head);
      if (!fits || (!isOutdated && this.#placement.holds(session, doubts))) return page;
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
    this.#placement.goOn(subscriber);
  }

  /** Ends a subscriber for good and tells its client. */
  close(subscriber: Subscriber, reason: RoomClosedReason): void {
    const { session, log } = subscriber;
    this.#exit(subscriber, true);
    this.#placement.remove(subscriber);
    session.tell(subscriber, { frame: eventFrame("room_closed", { roomId: roomOf(log), reason }), joined: false });
  }

  async #require(user: User, log: LogId, what: "read" | "send"): Promise<void> {
    requireRight(await this.#access.rights(user, log), roomOf(log), what);
  }

  #roomsOf(session: Session): number {
    return session.subscribers.filter(({ log }) => isRoom(log)).length;
  }

  #enter(subscriber: Subscriber): void {
    const { session, log } = subscriber;
    if (subscriber.present || session.connection === null || !isRoom(log)) return;
    subscriber.present = true;
    this.#presence.entered(log, session.user.id);
  }

  /** Invariant: every presence that was entered is left once. */
  #exit(subscriber: Subscriber, forGood: boolean): void {
    const { session, log, epoch, cursor, repeatsTo } = subscriber;
    if (forGood) session.leaves(log, { epoch, seq: Math.max(cursor, repeatsTo) });
    if (!subscriber.present) return;
    subscriber.present = false;
    this.#presence.left(log, session.user.id, forGood);
  }
}
