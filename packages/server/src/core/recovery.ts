import { RefusalError } from "@parley/protocol";
import type { Bus, NodeMessage } from "../bus/bus.ts";
import type { Connection, User } from "../gateway/connection.ts";
import type { Store } from "../store/store.ts";
import type { Clock } from "./clock.ts";
import { Handover } from "./handover.ts";
import type { Inboxes } from "./inbox.ts";
import { lastEventOf } from "./last-event.ts";
import type { Rooms } from "./rooms.ts";
import type { Session } from "./session.ts";
import { SessionKeeper, type SessionKeeperLimits } from "./session-keeper.ts";
import type { Sessions } from "./sessions.ts";

/** How the client of a session comes back to it: on another connection, to this node or to another one (REC-2). */
export class Recovery {
  readonly keeper: SessionKeeper;
  readonly #handover: Handover;
  readonly #sessions: Sessions;
  readonly #inboxes: Inboxes;
  readonly #rooms: Rooms;

  constructor(parts: {
    store: Store;
    bus: Bus;
    clock: Clock;
    node: string;
    sessions: Sessions;
    inboxes: Inboxes;
    rooms: Rooms;
    limits: SessionKeeperLimits;
  }) {
    this.#sessions = parts.sessions;
    this.#inboxes = parts.inboxes;
    this.#rooms = parts.rooms;
    this.keeper = new SessionKeeper({
      ...parts,
      onLost: (session) => this.#handover.release(session),
    });
    this.#handover = new Handover({
      ...parts,
      keeper: this.keeper,
      giveWay: (session) => this.#giveWay(session),
    });
  }

  onMessage(message: NodeMessage): void {
    this.#handover.onMessage(message);
  }

  /**
   * The session under `pid`, if it is the user's, goes on with this connection, each right asked anew; undefined when
   * there is none. Rejects when that cannot be found out or done now; the session then waits for the next attempt.
   */
  async recover(
    user: User,
    connection: Connection,
    back: { readonly pid: string; readonly offset: string | undefined },
  ): Promise<Session | undefined> {
    const session = await this.#handover.find(back.pid, user);
    if (session === undefined) return undefined;
    // Why not looked for again: it would be taken from the client's newer connection.
    if (session.dropped)
      throw new RefusalError("overloaded", "another node goes on with this session; try again", 1_000);
    // Why: it may have been found for another connection just before.
    this.supersede(session);
    // Why not sooner alone: others of the user's may have come meanwhile, and a session that waits has no place.
    this.#sessions.requirePlace(user);
    await this.#resume(session, user, connection, back.offset);
    return session;
  }

  async #resume(session: Session, user: User, connection: Connection, offset: string | undefined): Promise<void> {
    this.#sessions.resume(session, connection, user);
    session.rewind(lastEventOf(user.tenant, offset));
    try {
      await Promise.all(
        [...session.subscribers].map((subscriber) =>
          this.#inboxes.isInbox(subscriber.log) ? this.#inboxes.resume(subscriber) : this.#rooms.resume(subscriber),
        ),
      );
      this.keeper.keepSoon(session);
    } catch (error) {
      this.detach(session, connection);
      throw error;
    }
  }

  /** The connection is gone. Ignored for one that no longer serves the session. */
  detach(session: Session, connection: Connection): void {
    if (session.connection !== connection) return;
    this.#rooms.detach(session);
    this.#sessions.detach(session);
  }

  /** Its client came back before the loss of its old connection was noticed: that one gives way, and nobody has left. */
  supersede(session: Session): void {
    const old = session.connection;
    if (old === null) return;
    this.detach(session, old);
    old.close("superseded");
  }

  /** Another node goes on with the session: nothing more is delivered here, and nobody has left. */
  #giveWay(session: Session): void {
    const { connection } = session;
    this.#rooms.detach(session);
    session.disconnect();
    connection?.close("superseded");
  }
}
