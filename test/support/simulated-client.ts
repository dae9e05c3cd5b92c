import { textFrame } from "../../packages/server/src/core/frame.ts";
import type { ParleyNode } from "../../packages/server/src/core/node.ts";
import type { Session } from "../../packages/server/src/core/session.ts";
import type { CloseReason, User } from "../../packages/server/src/gateway/connection.ts";
import type { SimulatedClock } from "./simulated-clock.ts";
import { type LinkOptions, SimulatedConnection } from "./simulated-connection.ts";
import { leaveAcknowledged, type Seen, Transcript } from "./simulated-transcript.ts";

export interface ClientOptions extends Omit<LinkOptions, "clock"> {
  readonly recovery?: boolean;
}

/**
 * A client as a stock Socket.IO client is, with a transcript that is checked as it grows. Its gateway is this class:
 * requests of one connection are handled in turn, and refusals that may pass close the transport.
 */
export class SimulatedClient {
  readonly user: User;
  readonly transcript: Transcript;
  connection: SimulatedConnection | null = null;
  session: Session | null = null;
  node: ParleyNode | null = null;
  /** The node that has yet to answer. */
  connectingTo: ParleyNode | null = null;
  recovered = 0;
  bytesPerMs: number;
  /** The most that any of its connections ever had unanswered. */
  unansweredMax = 0;
  readonly closeReasons: CloseReason[] = [];
  readonly #clock: SimulatedClock;
  readonly #options: ClientOptions;
  #pid: string | undefined;
  #turn: Promise<void> = Promise.resolve();
  #connections = 0;
  /** What it asked last of a room, when the answer did not come. */
  readonly #unanswered = new Map<string, "join" | "leave">();
  /** Where the client stood in rooms that it has left. */
  readonly #left = new Map<string, Seen>();

  constructor(userId: string, clock: SimulatedClock, options: ClientOptions) {
    this.user = { id: userId, tenant: "default", roles: [], expiresAt: null, issuedAt: 0 };
    this.transcript = new Transcript(clock, userId);
    this.#clock = clock;
    this.#options = options;
    this.bytesPerMs = options.bytesPerMs;
  }

  get pid(): string | undefined {
    return this.#pid;
  }

  /** By its session while its node lives (`pid`), by positions, or as a stock client that begins anew. */
  async connect(node: ParleyNode, by: "session" | "positions" | "nothing" = "nothing"): Promise<void> {
    this.drop(false);
    const connection = new SimulatedConnection(
      `${this.user.id}-${(this.#connections += 1)}`,
      { ...this.#options, clock: this.#clock, bytesPerMs: this.bytesPerMs },
      {
        onPayload: (payload) => this.transcript.take(payload),
        onClosed: (reason) => this.#lost(connection, reason),
      },
    );
    this.connection = connection;
    this.session = null;
    this.connectingTo = node;
    this.#turn = Promise.resolve();
    this.transcript.reconnecting();
    if (by !== "session") this.#reload();
    const { session, result } = await node
      .connect(this.user, connection, { ...this.#returning(by), recovery: this.#options.recovery })
      .catch((error: unknown) => {
        // As the gateway does for a refusal that may pass: the transport is closed, and the client tries again.
        connection.cut();
        if (this.connection === connection) this.connection = null;
        throw error;
      });
    if (this.connection !== connection || connection.closed) {
      node.disconnected(session, connection, false);
      return;
    }
    this.node = node;
    this.connectingTo = null;
    this.session = session;
    connection.session = session;
    this.#pid = session.pid ?? undefined;
    this.#begin(result);
    session.open();
  }

  /** As a page that was loaded anew, it remembers no session. */
  #reload(): void {
    this.transcript.offset = undefined;
    this.#pid = undefined;
  }

  #returning(by: "session" | "positions" | "nothing") {
    if (by === "session") return { pid: this.#pid, offset: this.transcript.offset };
    return by === "positions" ? { resume: Object.fromEntries(this.transcript.seen) } : {};
  }

  /** As apps do: who was not recovered joins again. */
  #begin(result: "new" | "session" | "positions" | "unknown"): void {
    const { transcript } = this;
    const unanswered = [...this.#unanswered];
    this.#unanswered.clear();
    if (result === "session") {
      this.recovered += 1;
      for (const [room, what] of unanswered) this[what](room).catch(() => {});
      return;
    }
    const lost =
      result === "positions"
        ? [...transcript.rooms].filter((room) => !transcript.seen.has(room))
        : [...transcript.rooms];
    if (result === "positions") for (const room of lost) transcript.forget(room);
    else transcript.restart();
    for (const room of lost) this.join(room).catch(() => {});
  }

  /** The link is cut. `noticed`: the node learns it at once, and not only when the client is back. */
  drop(noticed: boolean): void {
    const { connection, session, node } = this;
    if (connection === null) return;
    this.#count(connection);
    connection.cut();
    this.connection = null;
    if (noticed && session !== null) node?.disconnected(session, connection, false);
  }

  /** The client says goodbye. */
  goodbye(): void {
    const { connection, session, node } = this;
    this.drop(false);
    if (connection !== null && session !== null) node?.disconnected(session, connection, true);
    this.transcript.restart();
    this.#pid = undefined;
    this.session = null;
  }

  /** From a page of history (`history` messages), or where it left (`where`). */
  join(room: string, from: "page" | "where it left" = "page", history?: number): Promise<void> {
    return this.#inTurn(async (session) => {
      const { transcript } = this;
      const after = from === "page" || transcript.rooms.has(room) ? undefined : this.#left.get(room);
      transcript.joining(room, after);
      const { connection } = this;
      await this.#asking(room, "join", async () => {
        try {
          await this.node?.rooms.join(session, { roomId: room, after, ...(history === undefined ? {} : { history }) });
        } catch (error) {
          if (connection === this.connection) transcript.refused(room, after);
          else if (after === undefined) transcript.unasked(room);
          throw error;
        }
      });
    });
  }

  leave(room: string): Promise<void> {
    return this.#inTurn(async (session) => {
      const seen = this.transcript.seen.get(room);
      if (seen !== undefined) this.#left.set(room, seen);
      this.transcript.leaving(room);
      await this.#asking(room, "leave", async () => this.node?.rooms.leave(session, room));
      session.emit(textFrame(`43${JSON.stringify([leaveAcknowledged, { roomId: room }])}`));
    });
  }

  /** Remembers what it asked until it is answered, on the connection on which it asked. */
  async #asking(room: string, what: "join" | "leave", ask: () => Promise<void>): Promise<void> {
    const { connection } = this;
    this.#unanswered.set(room, what);
    try {
      await ask();
    } finally {
      if (connection === this.connection && connection?.closed === false) this.#unanswered.delete(room);
    }
  }

  typing(room: string): Promise<void> {
    return this.#inTurn(async (session) => this.node?.signals.typing(session, room));
  }

  /** Asks for a page as `room_history` does; its reply is a frame of as many bytes. */
  history(room: string, limit: number): Promise<void> {
    return this.#inTurn(async (session) => {
      const page = await this.node?.rooms.history(session, { roomId: room, limit });
      if (page === undefined) return;
      session.emit(textFrame(`430[${JSON.stringify({ ok: true, messages: page.messages })}]`));
    });
  }

  #inTurn(request: (session: Session) => Promise<void>): Promise<void> {
    const { connection } = this;
    const run = async (): Promise<void> => {
      if (this.session !== null && connection !== null && connection === this.connection && !connection.closed)
        await request(this.session);
    };
    const done = this.#turn.then(run);
    this.#turn = done.catch(() => {});
    return done;
  }

  #lost(connection: SimulatedConnection, reason: CloseReason): void {
    this.#count(connection);
    this.closeReasons.push(reason);
    if (this.session !== null) this.node?.disconnected(this.session, connection, false);
    if (this.connection === connection) this.connection = null;
  }

  #count(connection: SimulatedConnection): void {
    this.unansweredMax = Math.max(this.unansweredMax, connection.unansweredMax);
  }
}
