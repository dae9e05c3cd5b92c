import { RefusalError } from "@parley/protocol";
import type { Connection, User } from "../gateway/connection.ts";
import type { Clock } from "./clock.ts";
import { newDatedSecret, newSecret } from "./ids.ts";
import { dropOldest } from "./oldest.ts";
import { firstGeneration, Session, type SessionEvents, type SessionIdentity } from "./session.ts";
import { inTurns } from "./turns.ts";

export interface SessionsLimits {
  /** How long a session waits for its client to come back. 0: no client is given the means to. */
  readonly maxDisconnectionDurationMs: number;
  /** Sessions that may wait; those that wait longest go first. */
  readonly detachedSessionsMax: number;
  readonly connectionsPerUserMax: number;
  /** How long before its token ends a client is told. */
  readonly expiringNoticeMs: number;
}

export interface SessionsEvents {
  /** A user has a session here from now on, with a connection or waiting for one; until `onUserGone`. */
  onUserCame(user: User): void;
  onUserGone(user: User): void;
  onDetached(session: Session): void;
  /** The session is not here any more. */
  onDropped(session: Session): void;
  /** It was dropped for good: nobody can come back to it. */
  onEnded(session: Session): void;
  onExpiring(session: Session, expiresAt: number): void;
  onExpired(session: Session): void;
}

const sweepMs = 1_000;

/** The sessions of this node: who is connected, and who may still come back. */
export class Sessions {
  readonly #clock: Clock;
  readonly #limits: SessionsLimits;
  readonly #sessionEvents: SessionEvents;
  readonly #events: SessionsEvents;
  readonly #byPid = new Map<string, Session>();
  /** Why not always lists: nearly every user has one. */
  readonly #byUser = new Map<string, Session | readonly Session[]>();
  /** In the order of detaching. */
  readonly #detached = new Set<Session>();
  readonly #connected = new Set<Session>();
  readonly #noticed = new WeakMap<Session, number>();
  #cancelSweep: () => void = () => {};

  constructor(parts: { clock: Clock; limits: SessionsLimits; sessionEvents: SessionEvents; events: SessionsEvents }) {
    this.#clock = parts.clock;
    this.#limits = parts.limits;
    this.#sessionEvents = parts.sessionEvents;
    this.#events = parts.events;
  }

  start(): void {
    this.#cancelSweep = this.#clock.after(sweepMs, () => {
      this.#cancelSweep = inTurns(this.#clock, this.#sweep(), () => this.start());
    });
  }

  stop(): void {
    this.#cancelSweep();
  }

  get connected(): ReadonlySet<Session> {
    return this.#connected;
  }

  get detachedCount(): number {
    return this.#detached.size;
  }

  /** Users with a connection; counted anew, for figures alone. */
  get userCount(): number {
    const users = new Set<string>();
    for (const { user } of this.#connected) users.add(userKey(user.tenant, user.id));
    return users.size;
  }

  /** Sessions of a user, detached ones included. */
  of(tenant: string, userId: string): readonly Session[] {
    const found = this.#byUser.get(userKey(tenant, userId)) ?? [];
    return found instanceof Session ? [found] : found;
  }

  /** Throws `RefusalError` `too_many_connections` when the user has as many connections as a user may have. */
  requirePlace(user: User): void {
    const connected = this.of(user.tenant, user.id).filter((session) => session.connection !== null);
    if (connected.length < this.#limits.connectionsPerUserMax) return;
    throw new RefusalError("too_many_connections", "this user has too many connections (limits.connectionsPerUserMax)");
  }

  /**
   * A new session on a connection; `recovery` false: no pid, and events without offsets. `kept`: its client recovers it
   * on any node, if at all.
   */
  create(user: User, connection: Connection, { recovery, kept }: { recovery: boolean; kept: boolean }): Session {
    const pid = recovery && this.#limits.maxDisconnectionDurationMs > 0 ? newDatedSecret() : null;
    const session = this.#register({
      id: newSecret(),
      pid,
      offsets: recovery,
      kept: kept && pid !== null,
      generation: firstGeneration,
      user,
    });
    session.connect(connection);
    this.#connected.add(session);
    return session;
  }

  /** A session that was another node's until now: it waits for its client. */
  adopt(identity: { id: string; pid: string; generation: number; user: User }): Session {
    const session = this.#register({ ...identity, offsets: true, kept: true });
    this.#wait(session);
    return session;
  }

  #register(identity: SessionIdentity): Session {
    const session = new Session(identity, this.#sessionEvents);
    if (session.pid !== null) this.#byPid.set(session.pid, session);
    const { tenant, id } = identity.user;
    const others = this.of(tenant, id);
    this.#byUser.set(userKey(tenant, id), others.length === 0 ? session : [...others, session]);
    if (others.length === 0) this.#events.onUserCame(identity.user);
    return session;
  }

  /** The session that a client may come back to: its own, by its secret and its user. It may still have a connection. */
  find(pid: string, user: User): Session | undefined {
    const session = this.#byPid.get(pid);
    if (session === undefined || session.user.id !== user.id || session.user.tenant !== user.tenant) return undefined;
    return session;
  }

  /** Whoever's it is. */
  at(pid: string): Session | undefined {
    return this.#byPid.get(pid);
  }

  /** The session goes on with another connection. */
  resume(session: Session, connection: Connection, user: User): void {
    this.#detached.delete(session);
    session.user = user;
    session.connect(connection);
    this.#connected.add(session);
  }

  /** The connection is gone; the client may come back, unless there is no way for it to. */
  detach(session: Session): void {
    session.disconnect();
    this.#connected.delete(session);
    if (session.pid === null) {
      this.end(session);
      return;
    }
    this.#wait(session);
    this.#events.onDetached(session);
  }

  #wait(session: Session): void {
    session.detachedAt = Math.trunc(this.#clock.monotonic());
    this.#detached.add(session);
    dropOldest(this.#detached, this.#limits.detachedSessionsMax, (oldest) => this.drop(oldest));
  }

  /** Nobody can come back to it from now on. */
  end(session: Session): void {
    this.drop(session);
    this.#events.onEnded(session);
  }

  /** Nothing of it stays here; whoever keeps it elsewhere may go on with it. */
  drop(session: Session): void {
    session.dropped = true;
    session.disconnect();
    this.#connected.delete(session);
    this.#detached.delete(session);
    if (session.pid !== null && this.#byPid.get(session.pid) === session) this.#byPid.delete(session.pid);
    const { tenant, id } = session.user;
    const key = userKey(tenant, id);
    const others = this.of(tenant, id).filter((other) => other !== session);
    if (others.length > 0) this.#byUser.set(key, others);
    else if (this.#byUser.delete(key)) this.#events.onUserGone(session.user);
    this.#events.onDropped(session);
  }

  *#sweep(): Generator<void> {
    const monotonic = this.#clock.monotonic();
    for (const session of this.#detached) {
      if (monotonic - session.detachedAt < this.#limits.maxDisconnectionDurationMs) break;
      this.end(session);
      yield;
    }
    const now = this.#clock.now();
    for (const session of this.#connected) if (this.#checkToken(session, now)) yield;
  }

  /** True when there was something to do: nearly never. */
  #checkToken(session: Session, now: number): boolean {
    const { expiresAt } = session.user;
    if (expiresAt === null || expiresAt - now > this.#limits.expiringNoticeMs) return false;
    if (expiresAt <= now) {
      this.#events.onExpired(session);
    } else {
      if (this.#noticed.get(session) === expiresAt) return false;
      this.#noticed.set(session, expiresAt);
      this.#events.onExpiring(session, expiresAt);
    }
    return true;
  }
}

function userKey(tenant: string, userId: string): string {
  return `${tenant}/${userId}`;
}
