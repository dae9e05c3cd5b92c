import { type Position, RefusalError, roomIdSchema } from "@parley/protocol";
import type { Bus, Signal } from "../bus/bus.ts";
import type { CloseReason, Connection, User } from "../gateway/connection.ts";
import type { Revocation, Store, UserKey } from "../store/store.ts";
import { Access, type AccessLimits, type AccessPolicy, sameRoles } from "./access.ts";
import { arrivalsPerCall, Batches } from "./batches.ts";
import type { Clock } from "./clock.ts";
import { Confirmation } from "./confirmation.ts";
import { Control } from "./control.ts";
import type { Committed, Feed } from "./feed.ts";
import { Feeds, type FeedsLimits } from "./feeds.ts";
import { defaultFollowerLimits, Follower, type FollowerLimits } from "./follower.ts";
import { eventFrame, textFrame } from "./frame.ts";
import { Inboxes } from "./inbox.ts";
import { Leases } from "./leases.ts";
import { announcementsRoom, controlLog, inboxOf, isRoom, type LogId, roomOf } from "./log.ts";
import { Presence, type PresenceEvents, type PresenceLimits } from "./presence.ts";
import { Recovery } from "./recovery.ts";
import { Rooms, type RoomsLimits } from "./rooms.ts";
import { defaultSequencerLimits, Sequencer, type SequencerLimits } from "./sequencer.ts";
import type { Session } from "./session.ts";
import { Sessions, type SessionsLimits } from "./sessions.ts";
import { Signals } from "./signals.ts";
import type { Subscriber } from "./subscriber.ts";
import { lastEventOf } from "./unconfirmed.ts";

export interface NodeLimits extends FeedsLimits, RoomsLimits, SessionsLimits, PresenceLimits, AccessLimits {
  /** How long arrived inbox positions are gathered before one write. */
  readonly inboxSaveMs: number;
  readonly sequencer?: SequencerLimits;
  readonly follower?: FollowerLimits;
}

export interface NodeParts {
  readonly id: string;
  readonly store: Store;
  readonly bus: Bus;
  readonly clock: Clock;
  readonly policy: AccessPolicy;
  /** Rooms that are there without a record in the store (development). */
  readonly openRooms: ReadonlySet<LogId>;
  readonly limits: NodeLimits;
  /** The access policy failed or was late; for the log. */
  readonly onAccessFailure?: (error: unknown) => void;
}

/** What a client presents when it connects to `/`. */
export interface Return {
  readonly resume?: Readonly<Record<string, Position>> | undefined;
  readonly pid?: string | undefined;
  readonly offset?: string | undefined;
  readonly recovery?: boolean | undefined;
}

export interface Connected {
  readonly session: Session;
  readonly result: ConnectResult;
}

/** `session`: it went on as the same socket; `positions`: by `resume`; `unknown`: the session it asked for is not here. */
export type ConnectResult = "new" | "session" | "positions" | "unknown";

/** Figures since the start. */
export interface NodeCounts {
  deliveredTotal: number;
}

/**
 * One server process without its edges: logs, feeds, sessions and rooms, wired together. Knows neither Socket.IO nor
 * HTTP nor a driver.
 */
export class ParleyNode {
  readonly id: string;
  readonly clock: Clock;
  readonly store: Store;
  readonly feeds: Feeds;
  readonly sequencer: Sequencer;
  readonly sessions: Sessions;
  readonly access: Access;
  readonly presence: Presence;
  readonly rooms: Rooms;
  readonly signals: Signals;
  readonly inboxes: Inboxes;
  /** What this node and the others are told of lost rights. */
  readonly control: Control;
  readonly leases: Leases;
  readonly openRooms: ReadonlySet<LogId>;
  readonly startedAt: number;
  readonly counts: NodeCounts = { deliveredTotal: 0 };
  /** Rises when a user's rights to be here were taken away, for those who are being let in meanwhile. */
  revocations = 0;
  readonly #bus: Bus;
  readonly #follower: Follower;
  readonly #recovery: Recovery;
  readonly #askedRevocations: Batches<UserKey, Revocation | undefined>;
  /** Connections that speak for a user outside of any session, by user. */
  readonly #others = new Map<string, Set<Connection>>();

  constructor({ id, store, bus, clock, policy, openRooms, limits, onAccessFailure = () => {} }: NodeParts) {
    this.id = id;
    this.openRooms = openRooms;
    this.startedAt = clock.now();
    this.clock = clock;
    this.store = store;
    this.#bus = bus;
    this.#askedRevocations = new Batches(clock, arrivalsPerCall, (users) => store.revocations(users));
    const confirmation = new Confirmation(clock, bus.alone);
    this.access = new Access(policy, clock, limits, onAccessFailure, () => confirmation.holds);
    this.leases = new Leases({ store, clock, node: id, alone: bus.alone });
    this.presence = new Presence({ clock, bus, node: id, leases: this.leases, limits, events: this.#presenceEvents() });
    this.feeds = new Feeds({ store, clock, bus, limits, confirmation, events: this.#feedsEvents() });
    confirmation.onConfirmed = () => this.feeds.flusher.resume();
    this.signals = new Signals({ clock, feeds: this.feeds, bus, confirmation, crowd: limits.presenceListMax });
    this.#follower = new Follower({
      store,
      clock,
      bus,
      feeds: this.feeds,
      node: id,
      leases: this.leases,
      limits: limits.follower ?? defaultFollowerLimits,
    });
    this.sequencer = new Sequencer({
      store,
      clock,
      node: id,
      limits: limits.sequencer ?? defaultSequencerLimits,
      events: { onCommitted: (committed, n) => this.#committed(committed, n) },
    });
    this.sessions = new Sessions({
      clock,
      limits,
      sessionEvents: this.#sessionEvents(),
      events: this.#sessionsEvents(),
    });
    this.inboxes = new Inboxes({ store, clock, feeds: this.feeds, sessions: this.sessions, limits });
    this.rooms = new Rooms({
      store,
      clock,
      feeds: this.feeds,
      access: this.access,
      presence: this.presence,
      sequencer: this.sequencer,
      limits,
      alone: bus.alone,
      confirmation,
      keep: (session) => this.#recovery.keeper.keep(session),
    });
    const { sessions, inboxes, rooms } = this;
    this.#recovery = new Recovery({ store, bus, clock, node: id, sessions, inboxes, rooms, limits });
    this.control = this.#createControl(confirmation);
  }

  #committed(committed: Committed, n: number): void {
    const { log, epoch, from, events } = committed;
    const to = from + events.length - 1;
    this.feeds.committed(committed);
    this.#follower.committed(log, epoch, to, n);
    if (!this.#bus.alone) this.#bus.hint({ log, epoch, from, to, events });
  }

  #createControl(confirmation: Confirmation): Control {
    const { id: node, store, clock, feeds, sequencer } = this;
    return new Control({ store, clock, feeds, sequencer, confirmation, actions: this, node, alone: this.#bus.alone });
  }

  async start(): Promise<void> {
    await this.#bus.start({
      onHint: (hint) => this.feeds.hinted(hint),
      onSignal: (log, signal) => this.#signalled(log, signal),
      onMessage: (message) => this.#recovery.onMessage(message),
      onDigest: (digest) => {
        this.presence.onHeard(digest.node);
        this.#follower.onDigest(digest);
      },
      onState: (state) => {
        this.presence.onState(state);
        this.#follower.onState(state);
      },
    });
    this.feeds.start();
    this.sessions.start();
    this.#recovery.keeper.start();
    this.leases.start();
    this.#follower.start();
    this.control.start();
    this.presence.start();
  }

  /** Finishes the commits that were taken, then stops; store and bus are the caller's to close. */
  async stop(): Promise<void> {
    await this.sequencer.stop();
    this.inboxes.stop();
    await this.inboxes.save().catch(() => {});
    await this.#recovery.keeper.stop();
    this.control.stop();
    this.#follower.stop();
    this.sessions.stop();
    this.presence.stop();
    this.feeds.stop();
    await this.leases.stop();
  }

  /**
   * A client joins `/`: it goes on with the session or the positions that it presents, each right asked anew, or begins.
   * Nothing is written before `session.open()`. Rejects with `RefusalError`, or when the store is away.
   */
  async connect(user: User, connection: Connection, back: Return): Promise<Connected> {
    const { pid } = back;
    const before = pid === undefined ? undefined : this.sessions.find(pid, user);
    if (before !== undefined) this.#recovery.supersede(before);
    if (pid !== undefined && back.resume === undefined) {
      const session = await this.#recovery.recover(user, connection, { pid, offset: back.offset });
      if (session !== undefined) return { session, result: "session" };
    }
    // Why: who presents positions begins a new session, and never comes back to that one.
    if (before !== undefined && !before.dropped) this.sessions.end(before);
    if (this.sessions.full(user))
      throw new RefusalError(
        "too_many_connections",
        "this user has too many connections (limits.connectionsPerUserMax)",
      );
    // Why not kept: who presents positions goes on by them on any node.
    const kept = back.resume === undefined;
    const fresh = this.sessions.create(user, connection, { recovery: back.recovery !== false, kept });
    const remembered = lastEventOf(user.tenant, back.offset);
    if (remembered !== null) fresh.remembers(remembered);
    try {
      await this.#begin(fresh, back.resume ?? {});
      this.#recovery.keeper.keepSoon(fresh);
    } catch (error) {
      this.disconnected(fresh, connection, true);
      throw error;
    }
    // Why: a stock client keeps the offset of its last session, and would present it as one of this session.
    if (pid !== undefined) fresh.emit(textFrame('42["parley:position","0"]'));
    const without = pid === undefined ? "new" : "unknown";
    return { session: fresh, result: back.resume === undefined ? without : "positions" };
  }

  /** What the store says now of the user's tokens. Rejects when it is away. */
  revocation({ tenant, id }: User): Promise<Revocation | undefined> {
    return this.#askedRevocations.ask({ tenant, userId: id });
  }

  /** The connection is gone. `forGood`: the client said goodbye. Ignored for a connection that no longer serves the session. */
  disconnected(session: Session, connection: Connection, forGood: boolean): void {
    if (forGood && session.connection === connection) this.sessions.end(session);
    else this.#recovery.detach(session, connection);
  }

  /** The session goes on with a fresh token of its user; other roles may mean other rights. */
  renew(session: Session, user: User): void {
    const { roles } = session.user;
    session.user = user;
    if (sameRoles(roles, user.roles)) return;
    this.access.forget(user.tenant, user.id);
    session.doubts += 1;
    for (const { log } of [...session.subscribers]) if (isRoom(log)) this.rooms.recheck(session, log);
  }

  /** A connection speaks for the user outside of any session, until the returned function is called. */
  attend(user: User, connection: Connection): () => void {
    const key = `${user.tenant}/${user.id}`;
    const others = this.#others.get(key) ?? new Set();
    this.#others.set(key, others.add(connection));
    return () => {
      others.delete(connection);
      if (others.size === 0 && this.#others.get(key) === others) this.#others.delete(key);
    };
  }

  /** Closes the transports of a user's connections, which come back by themselves as far as they may. Gives their number. */
  disconnectUser(tenant: string, userId: string, reason: CloseReason, forGood: boolean): number {
    const sessions = [...this.sessions.of(tenant, userId)];
    const connections = new Set(this.#others.get(`${tenant}/${userId}`));
    for (const { connection } of sessions) if (connection !== null) connections.add(connection);
    if (forGood) {
      this.revocations += 1;
      for (const session of sessions) this.sessions.end(session);
    }
    for (const connection of connections) connection.close(reason);
    return connections.size;
  }

  /** Answers of the access policy hold no longer: for this user (null: for everyone) in this log (null: in every room). */
  accessChanged(tenant: string, userId: string | null, log: LogId | null): void {
    if (userId !== null) this.access.forget(tenant, userId, log ?? undefined);
    else if (log !== null) this.access.forgetLog(log);
    const sessions = userId === null ? [...this.sessions.connected] : this.sessions.of(tenant, userId);
    for (const session of sessions) {
      // Who is joining just now has no subscriber yet.
      session.doubts += 1;
      for (const subscriber of [...session.subscribers]) {
        if (isRoom(subscriber.log) && (log === null || subscriber.log === log))
          this.rooms.recheck(session, subscriber.log);
      }
    }
  }

  /** Which rights were lost is not known: each is asked for anew, and who speaks outside of a session connects anew. */
  doubtAll(): void {
    this.access.forgetAll();
    for (const session of [...this.sessions.connected]) {
      session.doubts += 1;
      for (const { log } of [...session.subscribers]) if (isRoom(log)) this.rooms.recheck(session, log);
    }
    for (const connections of [...this.#others.values()])
      for (const connection of [...connections]) connection.close("kicked");
  }

  *users(): Iterable<User> {
    for (const { user } of this.sessions.connected) yield user;
  }

  /** The room's log is gone: its subscribers are told, also those who wait for a page of it. */
  roomDeleted(log: LogId): void {
    this.access.forgetLog(log);
    for (const session of [...this.sessions.connected]) {
      session.doubts += 1;
      const subscriber = session.find(log);
      if (subscriber !== undefined) this.rooms.close(subscriber, "deleted");
    }
    this.feeds.drop(log);
  }

  async #begin(session: Session, resume: Readonly<Record<string, Position>>): Promise<void> {
    const { tenant, id } = session.user;
    const inbox = roomOf(inboxOf(tenant, id));
    // Why: the app's own policy is asked about rooms alone, by names that can be one.
    const rooms = Object.entries(resume).filter(([roomId]) => roomIdSchema.safeParse(roomId).success);
    await Promise.all([
      this.inboxes.follow(session, resume[inbox]),
      this.rooms.followAnnouncements(session, resume[announcementsRoom]),
      ...rooms.map(([roomId, after]) => this.rooms.rejoin(session, roomId, after)),
    ]);
  }

  #presenceEvents(): PresenceEvents {
    return {
      onTold: (log, event, userId, except) => this.signals.tell(log, event, userId, except),
      follow: async (log) => this.feeds.open(log),
    };
  }

  #signalled(log: LogId, signal: Signal): void {
    if (signal.kind === "event") this.signals.onTyping(log, signal.userId);
    else this.presence.onSignal(log, signal);
  }

  #feedsEvents() {
    return {
      onGap: (subscriber: Subscriber, reason: "floor" | "epoch") => {
        if (this.inboxes.isInbox(subscriber.log)) this.inboxes.startOver(subscriber);
        else this.rooms.startOver(subscriber, reason);
      },
      onAccepted: (feed: Parameters<Rooms["onAccepted"]>[0], _from: number, events: readonly string[]) => {
        // Why: a feed lingers after its last subscriber; a session that came since stands at its head, outside of it.
        if (feed.log === controlLog) this.control.onAccepted(feed, events);
        else if (this.inboxes.isInbox(feed.log)) this.inboxes.wake(feed.log);
        else this.rooms.onAccepted(feed, events, (tenant, userId) => this.sessions.of(tenant, userId));
      },
      onReset: (feed: Feed) => {
        // Why: a session that stands outside of the feed has not been told; a membership that was lost, neither.
        if (feed.log === controlLog) {
          this.control.onReset(feed);
          // Why: another life of this log is mostly one of the whole store, of which idle rooms would not hear.
          this.feeds.recheck();
        } else if (this.inboxes.isInbox(feed.log)) this.inboxes.wake(feed.log);
        else this.access.forgetLog(feed.log);
      },
      onFollowed: (log: LogId) => {
        if (isRoom(log)) this.presence.onFollowed(log);
      },
      onDropped: (log: LogId) => this.presence.onDropped(log),
      onUnfollowed: (log: LogId) => {
        if (this.inboxes.isInbox(log)) this.inboxes.wake(log);
      },
    };
  }

  #sessionEvents() {
    return {
      onDue: (session: Session) => this.feeds.flusher.sessionDue(session),
      onBehind: (subscriber: Subscriber) => this.feeds.behind(subscriber),
      onArrived: (session: Session, runs: Parameters<Inboxes["arrived"]>[0]) => {
        this.inboxes.arrived(runs);
        this.#recovery.keeper.arrived(session, runs);
      },
      delivered: (entries: number) => {
        this.counts.deliveredTotal += entries;
      },
    };
  }

  #sessionsEvents() {
    return {
      // Why not with a feed: an inbox has one only once there is something in it, of which a hint is to tell.
      onUserCame: ({ tenant, id }: User) => this.#bus.follow(inboxOf(tenant, id)),
      onUserGone: ({ tenant, id }: User) => this.#bus.unfollow(inboxOf(tenant, id)),
      onDetached: (session: Session) => this.#recovery.keeper.keepSoon(session),
      onDropped: (session: Session) => {
        this.rooms.end(session);
        this.#recovery.keeper.forget(session);
      },
      onEnded: (session: Session) => this.#recovery.keeper.end(session),
      onExpiring: (session: Session, expiresAt: number) => {
        const notice = { expiresAt: new Date(expiresAt).toISOString(), inMs: expiresAt - this.clock.now() };
        session.emit(eventFrame("token_expiring", notice));
      },
      onExpired: (session: Session) => {
        const { connection } = session;
        if (connection === null) return;
        const error = {
          code: "token_expired",
          message: "the token has expired; connect again with a fresh one, or send refresh_token in time",
        };
        connection.write([eventFrame("error", error)]);
        connection.close("token_expired");
      },
    };
  }
}
