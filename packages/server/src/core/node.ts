import { type Position, roomIdSchema } from "@parley/protocol";
import type { Bus, Signal } from "../bus/bus.ts";
import type { Connection, User } from "../gateway/connection.ts";
import type { Store } from "../store/store.ts";
import { Access, type AccessLimits, type AccessPolicy, sameRoles } from "./access.ts";
import type { Clock } from "./clock.ts";
import { Confirmation } from "./confirmation.ts";
import { Control } from "./control.ts";
import type { Committed, Feed } from "./feed.ts";
import { Feeds, type FeedsLimits } from "./feeds.ts";
import { defaultFollowerLimits, Follower, type FollowerLimits } from "./follower.ts";
import { eventFrame, textFrame } from "./frame.ts";
import { Inboxes } from "./inbox.ts";
import { lastEventOf } from "./last-event.ts";
import { Leases } from "./leases.ts";
import { announcementsRoom, controlLog, inboxOf, isRoom, type LogId, roomOf } from "./log.ts";
import { LostRights } from "./lost-rights.ts";
import { Presence, type PresenceEvents, type PresenceLimits } from "./presence.ts";
import { Recovery } from "./recovery.ts";
import { Rooms, type RoomsLimits } from "./rooms.ts";
import { defaultSequencerLimits, Sequencer, type SequencerLimits } from "./sequencer.ts";
import type { Session } from "./session.ts";
import { Sessions, type SessionsLimits } from "./sessions.ts";
import { Signals } from "./signals.ts";
import type { Subscriber } from "./subscriber.ts";

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
  readonly lostRights: LostRights;
  readonly leases: Leases;
  readonly openRooms: ReadonlySet<LogId>;
  readonly startedAt: number;
  readonly counts: NodeCounts = { deliveredTotal: 0 };
  readonly #bus: Bus;
  readonly #follower: Follower;
  readonly #recovery: Recovery;

  constructor({ id, store, bus, clock, policy, openRooms, limits, onAccessFailure = () => {} }: NodeParts) {
    this.id = id;
    this.openRooms = openRooms;
    this.startedAt = clock.now();
    this.clock = clock;
    this.store = store;
    this.#bus = bus;
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
      onUnread: () => {
        this.feeds.recheck();
        this.inboxes.recheck();
      },
    });
    this.sequencer = new Sequencer({
      store,
      clock,
      node: id,
      limits: limits.sequencer ?? defaultSequencerLimits,
      events: { onCommitted: (committed, n) => this.#committed(committed, n) },
      isBehind: () => this.feeds.flusher.isBehind,
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
    const { access, feeds, sessions, inboxes, rooms } = this;
    this.#recovery = new Recovery({ store, bus, clock, node: id, sessions, inboxes, rooms, limits });
    this.lostRights = new LostRights({ store, clock, access, feeds, sessions, rooms });
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
    const { id: node, store, clock, feeds, sequencer, lostRights: actions } = this;
    return new Control({ store, clock, feeds, sequencer, confirmation, actions, node, alone: this.#bus.alone });
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
    this.sessions.requirePlace(user);
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

  /** The connection is gone. `forGood`: the client said goodbye. Ignored for a connection that no longer serves the session. */
  disconnected(session: Session, connection: Connection, forGood: boolean): void {
    if (forGood && session.connection === connection) this.sessions.end(session);
    else this.#recovery.detach(session, connection);
  }

  /** The session goes on with a fresh token of its user; other roles may mean other rights. */
  renew(session: Session, user: User): void {
    const { roles } = session.user;
    session.user = user;
    if (!sameRoles(roles, user.roles)) this.lostRights.rolesChanged(session);
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
        // Why: nobody goes on with a session as it was stored in the life before.
        if (reason === "epoch") this.#recovery.keeper.keepSoon(subscriber.session);
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
