import { payloadsOf, textFrame } from "../../packages/server/src/core/frame.ts";
import { parseOffset } from "../../packages/server/src/core/entry-event.ts";
import type { ParleyNode } from "../../packages/server/src/core/node.ts";
import type { Session } from "../../packages/server/src/core/session.ts";
import type { CloseReason, Connection, User } from "../../packages/server/src/gateway/connection.ts";
import type { SimulatedClock } from "./simulated-clock.ts";

/** One network connection: bytes in flight, read at the client's speed; pings travel among them. */
export class SimulatedConnection implements Connection {
  readonly id: string;
  readonly #clock: SimulatedClock;
  readonly #windowBytes: number;
  readonly #onPayload: (payload: string) => void;
  readonly #onClosed: (reason: CloseReason) => void;
  readonly #pipe: (Buffer | "ping")[] = [];
  session: Session | null = null;
  bytesPerMs: number;
  closed = false;
  /** The most that was ever unanswered. */
  unansweredMax = 0;
  #beforePing = 0;
  #sincePing = 0;
  #pinging = false;
  #confirm = false;
  #reading = false;

  constructor(
    id: string,
    parts: { clock: SimulatedClock; windowBytes: number; bytesPerMs: number },
    events: { onPayload: (payload: string) => void; onClosed: (reason: CloseReason) => void },
  ) {
    this.id = id;
    this.#clock = parts.clock;
    this.#windowBytes = parts.windowBytes;
    this.bytesPerMs = parts.bytesPerMs;
    this.#onPayload = events.onPayload;
    this.#onClosed = events.onClosed;
  }

  get unanswered(): number {
    return this.#beforePing + this.#sincePing;
  }

  free(): number {
    return this.#windowBytes - this.unanswered;
  }

  reserve(): void {}
  release(): void {}

  write(frames: readonly Buffer[]): void {
    if (this.closed) return;
    for (const frame of frames) {
      this.#pipe.push(frame);
      this.#sincePing += frame.length;
    }
    this.unansweredMax = Math.max(this.unansweredMax, this.unanswered);
    if (this.#sincePing >= this.#windowBytes / 2) this.confirm();
    this.#read();
  }

  confirm(): void {
    if (this.#pinging) {
      this.#confirm = true;
      return;
    }
    this.#pinging = true;
    this.#beforePing = this.unanswered;
    this.#sincePing = 0;
    this.#pipe.push("ping");
    this.session?.onPinged();
    this.#read();
  }

  close(reason: CloseReason): void {
    if (this.closed) return;
    this.cut();
    this.#onClosed(reason);
  }

  /** The link is cut: what is under way is lost, and the server does not know yet. */
  cut(): void {
    this.closed = true;
    this.#pipe.length = 0;
  }

  /** Starts reading again after `bytesPerMs` was 0. */
  resumeReading(bytesPerMs: number): void {
    this.bytesPerMs = bytesPerMs;
    this.#read();
  }

  #read(): void {
    const [next] = this.#pipe;
    if (this.#reading || this.closed || next === undefined || this.bytesPerMs === 0) return;
    this.#reading = true;
    const ms = next === "ping" ? 0 : Math.ceil(next.length / this.bytesPerMs);
    this.#clock.after(ms, () => {
      this.#reading = false;
      if (this.closed) return;
      this.#pipe.shift();
      if (next === "ping") this.#answer();
      else for (const { payload } of payloadsOf(next)) this.#onPayload(payload.toString());
      this.#read();
    });
  }

  #answer(): void {
    this.#pinging = false;
    this.#beforePing = 0;
    this.session?.onAnswered();
    if (this.#confirm) {
      this.#confirm = false;
      this.confirm();
    }
  }
}

const leaveAcknowledged = "leave acknowledged";

/** What a client saw of one room: the epoch and the last seq, from where it began. */
interface Seen {
  epoch: string;
  seq: number;
}

/**
 * A client as a stock Socket.IO client is, with a transcript that is checked as it grows: entries of a room come in
 * order, each once, without a gap, from where it asked to start (FEED-1).
 */
export class SimulatedClient {
  readonly user: User;
  readonly rooms = new Set<string>();
  readonly seen = new Map<string, Seen>();
  /** What broke a rule. */
  readonly faults: string[] = [];
  readonly deliveries: { room: string; seq: number; at: number; event: string }[] = [];
  readonly gaps: { room: string; reason: string }[] = [];
  connection: SimulatedConnection | null = null;
  session: Session | null = null;
  node: ParleyNode | null = null;
  recovered = 0;
  readonly #clock: SimulatedClock;
  readonly #windowBytes: number;
  #pid: string | undefined;
  #offset: string | undefined;
  #turn: Promise<void> = Promise.resolve();
  #connections = 0;
  readonly #leaving = new Map<string, number>();
  bytesPerMs: number;
  unansweredMax = 0;

  constructor(id: string, clock: SimulatedClock, options: { bytesPerMs: number; windowBytes: number }) {
    this.user = { id, tenant: "default", roles: [], expiresAt: null, issuedAt: 0 };
    this.#clock = clock;
    this.#windowBytes = options.windowBytes;
    this.bytesPerMs = options.bytesPerMs;
  }

  /** By its session while its node lives (`pid`), else by positions. */
  async connect(node: ParleyNode, by: "session" | "positions"): Promise<void> {
    this.drop(false);
    const connection = new SimulatedConnection(
      `${this.user.id}-${(this.#connections += 1)}`,
      { clock: this.#clock, windowBytes: this.#windowBytes, bytesPerMs: this.bytesPerMs },
      { onPayload: (payload) => this.#take(payload), onClosed: () => this.#lost(connection) },
    );
    this.connection = connection;
    this.#leaving.clear();
    this.#turn = Promise.resolve();
    const resume = Object.fromEntries([...this.seen].map(([room, { epoch, seq }]) => [room, { epoch, seq }]));
    const back = by === "session" ? { pid: this.#pid, offset: this.#offset } : { resume };
    const { session, result } = await node.connect(this.user, connection, back).catch((error: unknown) => {
      // As the gateway does for a refusal that may pass: the transport is closed, and the client tries again.
      connection.cut();
      if (this.connection === connection) this.connection = null;
      throw error;
    });
    if (this.connection !== connection) {
      node.disconnected(session, connection, false);
      return;
    }
    this.node = node;
    this.session = session;
    connection.session = session;
    this.#pid = session.pid ?? undefined;
    if (result === "session") this.recovered += 1;
    if (result === "new" || result === "unknown") this.#forgetRooms();
    session.open();
  }

  /** The link is cut. `noticed`: the node learns it at once, and not only when the client is back. */
  drop(noticed: boolean): void {
    const { connection, session, node } = this;
    if (connection === null) return;
    this.unansweredMax = Math.max(this.unansweredMax, connection.unansweredMax);
    connection.cut();
    this.connection = null;
    if (noticed && session !== null) node?.disconnected(session, connection, false);
  }

  /** Requests of one connection are handled in turn, as the gateway does. */
  join(room: string): Promise<void> {
    return this.#inTurn(async (session) => {
      this.rooms.add(room);
      await this.node?.rooms.join(session, { roomId: room });
    });
  }

  leave(room: string): Promise<void> {
    return this.#inTurn(async (session) => {
      this.node?.rooms.leave(session, room);
      session.emit(textFrame(`43${JSON.stringify([leaveAcknowledged, { roomId: room }])}`));
      this.rooms.delete(room);
      this.seen.delete(room);
      this.#leaving.set(room, (this.#leaving.get(room) ?? 0) + 1);
    });
  }

  #inTurn(request: (session: Session) => Promise<void>): Promise<void> {
    const { connection } = this;
    const run = async (): Promise<void> => {
      if (this.session !== null && this.connection !== null && connection === this.connection)
        await request(this.session);
    };
    const done = this.#turn.then(run);
    this.#turn = done.catch(() => {});
    return done;
  }

  #lost(connection: SimulatedConnection): void {
    if (this.session !== null) this.node?.disconnected(this.session, connection, false);
    if (this.connection === connection) this.connection = null;
  }

  #forgetRooms(): void {
    this.#leaving.clear();
    this.rooms.clear();
    this.seen.clear();
  }

  #take(payload: string): void {
    const args: unknown = JSON.parse(payload.slice(2));
    if (!Array.isArray(args)) return;
    const event = String(args[0]);
    const last: unknown = args.at(-1);
    if (typeof last === "string" && args.length > 1) this.#offset = last;
    const at = typeof last === "string" ? parseOffset(last) : undefined;
    if (event === leaveAcknowledged) {
      const room = String(args[1].roomId);
      this.#leaving.set(room, (this.#leaving.get(room) ?? 1) - 1);
      return;
    }
    if (event === "room_gap") {
      this.gaps.push({ room: String(args[1].roomId), reason: String(args[1].reason) });
      this.seen.delete(String(args[1].roomId));
    }
    // What was under way when the client left.
    if (at !== undefined && (this.#leaving.get(at.room) ?? 0) > 0) return;
    if (at === undefined || (!this.rooms.has(at.room) && !at.room.startsWith("@"))) return;
    if (event === "room_history") this.#history(at);
    else this.#entry(event, at);
  }

  /** A page may end before what was delivered already, when the client joined again. */
  #history({ room, epoch, seq }: { room: string; epoch: string; seq: number }): void {
    const seen = this.seen.get(room);
    this.seen.set(room, { epoch, seq: seen?.epoch === epoch ? Math.max(seen.seq, seq) : seq });
  }

  #entry(event: string, { room, epoch, seq }: { room: string; epoch: string; seq: number }): void {
    const seen = this.seen.get(room);
    if (seen !== undefined && seen.epoch !== epoch) this.faults.push(`${room}: epoch ${epoch} after ${seen.epoch}`);
    if (seen !== undefined && seq !== seen.seq + 1) this.faults.push(`${room}: ${seq} after ${seen.seq}`);
    if (seen === undefined && !room.startsWith("@")) this.faults.push(`${room}: ${seq} before any history`);
    this.seen.set(room, { epoch, seq });
    this.deliveries.push({ room, seq, at: this.#clock.now(), event });
  }
}
