import type { Connection, User } from "../gateway/connection.ts";
import type { Revocation, Store, UserKey } from "../store/store.ts";
import type { Access } from "./access.ts";
import { arrivalsPerCall, Batches } from "./batches.ts";
import type { Clock } from "./clock.ts";
import type { ControlActions } from "./control.ts";
import type { Feeds } from "./feeds.ts";
import { isRoom, type LogId } from "./log.ts";
import type { Rooms } from "./rooms.ts";
import type { Session } from "./session.ts";
import type { Sessions } from "./sessions.ts";

/**
 * What becomes of this node's connections when somebody may have lost a right (ACC-1, ACC-2): rooms are asked for anew
 * or closed, connections end. Who is being let in just now is not found here: `revocations` and `Session.doubts` tell.
 */
export class LostRights implements ControlActions {
  /** Rises when a user's rights to be here were, or may have been, taken away, for those who are being let in meanwhile. */
  revocations = 0;
  readonly #access: Access;
  readonly #feeds: Feeds;
  readonly #sessions: Sessions;
  readonly #rooms: Rooms;
  readonly #asked: Batches<UserKey, Revocation | undefined>;
  /** Connections that speak for a user outside of any session, by user. */
  readonly #attending = new Map<string, Set<Connection>>();

  constructor(parts: { store: Store; clock: Clock; access: Access; feeds: Feeds; sessions: Sessions; rooms: Rooms }) {
    this.#access = parts.access;
    this.#feeds = parts.feeds;
    this.#sessions = parts.sessions;
    this.#rooms = parts.rooms;
    this.#asked = new Batches(parts.clock, arrivalsPerCall, (users) => parts.store.revocations(users));
  }

  /** What the store says now of the user's tokens. Rejects when it is away. */
  revocation({ tenant, id }: User): Promise<Revocation | undefined> {
    return this.#asked.ask({ tenant, userId: id });
  }

  /** A connection speaks for the user outside of any session, until the returned function is called. */
  attend(user: User, connection: Connection): () => void {
    const key = `${user.tenant}/${user.id}`;
    const connections = this.#attending.get(key) ?? new Set();
    this.#attending.set(key, connections.add(connection));
    return () => {
      connections.delete(connection);
      if (connections.size === 0 && this.#attending.get(key) === connections) this.#attending.delete(key);
    };
  }

  /** Closes the transports of a user's connections, which come back by themselves as far as they may. Gives their number. */
  disconnectUser(tenant: string, userId: string, forGood: boolean): number {
    const sessions = [...this.#sessions.of(tenant, userId)];
    const connections = new Set(this.#attending.get(`${tenant}/${userId}`));
    for (const { connection } of sessions) if (connection !== null) connections.add(connection);
    if (forGood) {
      this.revocations += 1;
      for (const session of sessions) this.#sessions.end(session);
    }
    for (const connection of connections) connection.close("kicked");
    return connections.size;
  }

  /** Answers of the access policy hold no longer: for this user (null: for everyone) in this log (null: in every room). */
  accessChanged(tenant: string, userId: string | null, log: LogId | null): void {
    if (userId !== null) this.#access.forget(tenant, userId, log ?? undefined);
    else if (log !== null) this.#access.forgetLog(log);
    const sessions = userId === null ? [...this.#sessions.connected] : this.#sessions.of(tenant, userId);
    for (const session of sessions) this.#doubt(session, log);
  }

  /** Which rights were lost is not known: each is asked for anew, and who speaks outside of a session connects anew. */
  doubtAll(): void {
    this.revocations += 1;
    this.#access.forgetAll();
    for (const session of [...this.#sessions.connected]) this.#doubt(session, null);
    for (const connections of [...this.#attending.values()])
      for (const connection of [...connections]) connection.close("kicked");
  }

  /** The user of this session has other roles, which may mean other rights. */
  rolesChanged(session: Session): void {
    this.#access.forget(session.user.tenant, session.user.id);
    this.#doubt(session, null);
  }

  sessions(): Iterable<Session> {
    return this.#sessions.connected;
  }

  endSession(session: Session): void {
    const { connection } = session;
    this.#sessions.end(session);
    connection?.close("kicked");
  }

  /** The room's log is gone: its subscribers are told, also those who wait for a page of it. */
  roomDeleted(log: LogId): void {
    this.#access.forgetLog(log);
    for (const session of [...this.#sessions.connected]) {
      session.doubts += 1;
      const subscriber = session.find(log);
      if (subscriber !== undefined) this.#rooms.close(subscriber, "deleted");
    }
    this.#feeds.drop(log);
  }

  /** The session's right to this log (null: to each of its rooms) is asked for anew. */
  #doubt(session: Session, log: LogId | null): void {
    // Why counted: who is joining just now has no subscriber yet.
    session.doubts += 1;
    for (const subscriber of [...session.subscribers]) {
      if (isRoom(subscriber.log) && (log === null || subscriber.log === log))
        this.#rooms.recheck(session, subscriber.log);
    }
  }
}
