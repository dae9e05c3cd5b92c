import type { Socket } from "node:net";
import { FrameReader, type FrameSink } from "./frame-reader.ts";
import { maskedFrame, opcode, textFrame } from "./frame-writer.ts";
import { messageText } from "./marker.ts";
import { PollingSession } from "./polling-session.ts";
import { type ComingBack, fromOf, offsetOf, positionOf, type Past, sessionOf } from "./past.ts";
import { authorityOf, openReading, type Target } from "./target.ts";
import { nowMicros, type RoomTraffic, type Subscription, type Traffic } from "./traffic.ts";

/** `websocket`: straight to WebSocket. `default`: as stock clients do, polling first and then the upgrade. */
export type Arrival = "websocket" | "default";

type Phase = "new" | "upgrading" | "probing" | "opening" | "connecting" | "ready" | "closed";

const acknowledgementsMax = 8192;
const byte = {
  quote: 0x22,
  zero: 0x30,
  two: 0x32,
  three: 0x33,
  four: 0x34,
  bracket: 0x5b,
  n: 0x6e,
  e: 0x65,
  m: 0x6d,
  underscore: 0x5f,
};

/** A connection has as many sends without an acknowledgement as are kept track of: its server does not keep up at all. */
export class TooManyUnacknowledged extends Error {
  override readonly name = "TooManyUnacknowledged";
}

/** One Socket.IO 5 client over Engine.IO 4 on a raw socket. */
export class Client implements FrameSink {
  readonly subscriptions: Subscription[];
  readonly #traffic: Traffic;
  readonly #target: Target;
  readonly #token: string;
  readonly #comingBack: ComingBack;
  readonly #past: Past | undefined;
  #session: string | undefined;
  /** The last string argument of the last message; kept where a session needs it. */
  #offset: string | undefined;
  readonly #frames = new FrameReader(this);
  #phase: Phase = "new";
  #socket: Socket | undefined;
  #head: string | undefined = "";
  #step: { resolve(): void; reject(error: Error): void } | undefined;
  #nextAcknowledgement = 0;
  /** Time of sending of each message that is not yet acknowledged; 0 where there is none. Only senders have one. */
  #unacknowledged: Float64Array | undefined;
  /** The room of each of them. */
  #unacknowledgedRooms: Int32Array | undefined;
  #inFlight = 0;
  readonly #requests = new Map<number, { resolve(reply: unknown): void; reject(error: Error): void }>();
  /** Called after an acknowledgement of a message, also of a refusing one. */
  onAcknowledged: (() => void) | undefined;
  /** Called after a message into this room of the run was refused. */
  onRefused: ((room: number) => void) | undefined;

  constructor(traffic: Traffic, target: Target, token: string, comingBack: ComingBack = "none", past?: Past) {
    this.#traffic = traffic;
    this.#target = target;
    this.#token = token;
    this.#comingBack = comingBack;
    this.#past = past;
    this.#offset = past?.offset;
    this.subscriptions = past?.subscriptions ?? [];
  }

  /** This client's next connection, to where `target` says; this one is over. */
  next(target: Pick<Target, "host" | "port" | "tls">): Client {
    const past: Past = {
      subscriptions: this.subscriptions,
      session: this.#session ?? this.#past?.session,
      offset: this.#offset,
      connections: this.connection,
    };
    return new Client(this.#traffic, { ...this.#target, ...target }, this.#token, this.#comingBack, past);
  }

  /** Goes on where the last connection ended: by what CONNECT said, else by joining its rooms anew. */
  async comeBack(): Promise<void> {
    await this.connect("websocket");
    const recovered =
      this.#comingBack === "session" && this.#session !== undefined && this.#session === this.#past?.session;
    if (recovered || this.#comingBack === "positions") return;
    for (const { room } of this.subscriptions) await this.request("join_room", this.#traffic.rooms[room]?.name);
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** 1 for the first, 2 for the one after it. */
  get connection(): number {
    return (this.#past?.connections ?? 0) + 1;
  }

  /** It has got the last message of each of its rooms. */
  get isComplete(): boolean {
    return this.subscriptions.every(({ room, nextCounter }) => nextCounter === this.#traffic.rooms[room]?.sent);
  }

  get ready(): boolean {
    return this.#phase === "ready";
  }

  /** Errors: rejects with a reason that is the same for the same kind of failure, so that failures can be counted. */
  async connect(arrival: Arrival): Promise<void> {
    if (arrival === "websocket") {
      await this.#openSocket("", "upgrading");
      return;
    }
    using session = new PollingSession(this.#target);
    await session.open();
    await session.post(`40${JSON.stringify(this.#auth())}`);
    const [packet = ""] = await session.poll();
    if (!packet.startsWith("40")) throw new Error(`polling: CONNECT was answered with ${packet.slice(0, 2)}`);
    const lastPoll = session.poll();
    await Promise.all([this.#openSocket(`&sid=${session.id}`, "probing"), lastPoll]);
    this.#phase = "ready";
    this.#send("5");
  }

  #openSocket(query: string, phase: "upgrading" | "probing"): Promise<void> {
    this.#phase = phase;
    const socket = openReading(this.#target, (buffer, bytes) => this.#onRead(buffer, bytes));
    this.#socket = socket;
    socket.on("error", (error: NodeJS.ErrnoException) => this.#lose(error.code ?? error.message));
    socket.on("close", () => this.#lose("closed by the server"));
    socket.write(
      `GET /socket.io/?EIO=4&transport=websocket${query} HTTP/1.1\r\nHost: ${authorityOf(this.#target)}\r\nUpgrade: websocket\r\n` +
        "Connection: Upgrade\r\nSec-WebSocket-Key: cGFybGV5LWJlbmNobWFyaw==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    return new Promise((resolve, reject) => {
      this.#step = { resolve, reject };
    });
  }

  #onRead(buffer: Buffer, bytes: number): void {
    this.#traffic.nowMicros = nowMicros();
    try {
      const from = this.#head === undefined ? 0 : this.#readHead(buffer, bytes);
      this.#frames.read(buffer, from, bytes);
    } catch (error) {
      this.#lose(error instanceof Error ? error.message : String(error));
    }
  }

  /** Returns where the frames begin. */
  #readHead(buffer: Buffer, bytes: number): number {
    const before = this.#head?.length ?? 0;
    const head = `${this.#head}${buffer.toString("latin1", 0, bytes)}`;
    const end = head.indexOf("\r\n\r\n");
    if (end === -1) {
      this.#head = head;
      return bytes;
    }
    if (!head.startsWith("HTTP/1.1 101 ")) throw new Error(`upgrade: status ${head.slice(9, 12)}`);
    this.#head = undefined;
    if (this.#phase === "probing") this.#send("2probe");
    else this.#phase = "opening";
    return end + 4 - before;
  }

  onFrame(code: number, buffer: Buffer, start: number, end: number): void {
    if (code === opcode.text) {
      this.#onPacket(buffer, start, end);
    } else if (code === opcode.ping) {
      this.#socket?.write(maskedFrame(opcode.pong, buffer.subarray(start, end)));
    } else if (code === opcode.close) {
      this.#lose(`closed with ${end - start >= 2 ? buffer.readUInt16BE(start) : "no"} code`);
    }
  }

  #onPacket(buffer: Buffer, start: number, end: number): void {
    const engineType = buffer[start];
    if (engineType === byte.four) {
      const socketType = buffer[start + 1];
      if (socketType === byte.two) this.#onEvent(buffer, start, end);
      else if (socketType === byte.three) this.#onAcknowledgement(buffer, start + 2, end);
      else this.#onConnection(buffer.toString("latin1", start, end));
    } else if (engineType === byte.two) {
      this.#send("3");
    } else if (engineType === byte.zero && this.#phase === "opening") {
      this.#phase = "connecting";
      this.#send(`40${JSON.stringify(this.#auth())}`);
    } else if (engineType === byte.three && this.#phase === "probing") {
      this.#step?.resolve();
    }
  }

  #auth(): object {
    const token = this.#token;
    if (this.#past === undefined || this.#comingBack === "none") return { token };
    if (this.#comingBack === "session") return { token, pid: this.#past.session, offset: this.#past.offset };
    const resume: Record<string, object> = {};
    for (const subscription of this.subscriptions) {
      const position = positionOf(subscription);
      const name = this.#traffic.rooms[subscription.room]?.name;
      if (position === undefined || name === undefined) continue;
      resume[name] = position;
      subscription.nextSeq = position.seq + 1;
    }
    return { token, resume };
  }

  #onEvent(buffer: Buffer, start: number, end: number): void {
    const isMessage =
      buffer[start + 2] === byte.bracket &&
      buffer[start + 3] === byte.quote &&
      buffer[start + 4] === byte.n &&
      buffer[start + 5] === byte.e &&
      buffer[start + 7] === byte.underscore &&
      buffer[start + 8] === byte.m;
    if (isMessage) this.#traffic.onMessage(this.subscriptions, buffer, start, end);
    else this.#traffic.otherEvents += 1;
    // As stock clients do: of any event.
    if (this.#comingBack === "session") this.#offset = offsetOf(buffer, end) ?? this.#offset;
  }

  #onConnection(packet: string): void {
    if (packet.startsWith("40") && this.#phase === "connecting") {
      this.#phase = "ready";
      this.#session = sessionOf(packet);
      this.#step?.resolve();
    } else if (packet.startsWith("44")) {
      const message = /"message":"([^"]{1,200})/.exec(packet)?.[1] ?? packet.slice(2, 80);
      this.#lose(`CONNECT refused: ${message}`);
    } else if (packet.startsWith("41")) {
      this.#lose("disconnected by the server");
    }
  }

  #onAcknowledgement(buffer: Buffer, start: number, end: number): void {
    let id = 0;
    let offset = start;
    for (; offset < end && buffer[offset] !== byte.bracket; offset += 1)
      id = id * 10 + (buffer[offset] ?? 0) - byte.zero;
    const request = this.#requests.size === 0 ? undefined : this.#requests.get(id);
    if (request !== undefined) {
      this.#requests.delete(id);
      const replies: unknown = JSON.parse(buffer.toString("utf8", offset, end));
      request.resolve(Array.isArray(replies) ? replies[0] : undefined);
      return;
    }
    const slot = id % acknowledgementsMax;
    const stamp = this.#unacknowledged?.[slot] ?? 0;
    if (this.#unacknowledged === undefined || stamp === 0) {
      this.#traffic.strayAcknowledgements += 1;
      return;
    }
    this.#unacknowledged[slot] = 0;
    this.#inFlight -= 1;
    // Every server here answers a send with an object whose first field is `ok`.
    if (buffer.toString("latin1", offset, offset + 11) === '[{"ok":true') this.#traffic.onAcknowledged(stamp);
    else this.#onRefused(slot, buffer.toString("latin1", offset, end));
    this.onAcknowledged?.();
  }

  #onRefused(slot: number, reply: string): void {
    const code = /"code":"([^"]+)"/.exec(reply)?.[1] ?? "unknown";
    const room = this.#unacknowledgedRooms?.[slot] ?? 0;
    this.#traffic.onRefused(code, room);
    this.onRefused?.(room);
  }

  /** Sends an event and gives the first argument of its acknowledgement. */
  request(event: string, payload: unknown): Promise<unknown> {
    if (this.#phase !== "ready") return Promise.reject(new Error("not connected"));
    const id = this.#nextAcknowledgement;
    this.#nextAcknowledgement += 1;
    this.#send(`42${id}${JSON.stringify([event, payload])}`);
    return new Promise((resolve, reject) => {
      this.#requests.set(id, { resolve, reject });
    });
  }

  /** Joins a room of the run, from its head on. Errors: rejects when the server refuses. */
  async join(room: RoomTraffic): Promise<void> {
    const subscription: Subscription = { room: room.index, nextCounter: room.sent, nextSeq: -1, from: undefined };
    this.subscriptions.push(subscription);
    const reply = await this.request("join_room", room.name);
    const accepted = typeof reply === "object" && reply !== null && "ok" in reply && reply.ok === true;
    if (!accepted) throw new Error(`join_room refused: ${JSON.stringify(reply)}`);
    subscription.from = fromOf(reply);
    room.members += 1;
  }

  /** One message whose text is `textLength` long, stamped with `stampMicros`. Errors: throws `TooManyUnacknowledged`. */
  sendMessage(room: RoomTraffic, stampMicros: number, textLength: number): void {
    const id = this.#nextAcknowledgement;
    this.#unacknowledged ??= new Float64Array(acknowledgementsMax);
    this.#unacknowledgedRooms ??= new Int32Array(acknowledgementsMax);
    const slot = id % acknowledgementsMax;
    if (this.#unacknowledged[slot] !== 0)
      throw new TooManyUnacknowledged(`more than ${acknowledgementsMax} sends without an acknowledgement`);
    const counter = room.begin();
    this.#nextAcknowledgement += 1;
    this.#unacknowledged[slot] = stampMicros;
    this.#unacknowledgedRooms[slot] = room.index;
    this.#inFlight += 1;
    this.#traffic.sends += 1;
    const text = messageText(room.index, counter, stampMicros, textLength);
    this.#send(
      `42${id}["send_message",{"roomId":"${room.name}","text":"${text}","clientId":"bench-${room.index}-${counter}"}]`,
    );
  }

  #send(packet: string): void {
    this.#socket?.write(textFrame(packet));
  }

  #lose(reason: string): void {
    if (this.#phase === "closed") return;
    if (this.#phase === "ready") this.#traffic.onLost(reason);
    this.#end(reason);
  }

  #end(reason: string): void {
    this.#phase = "closed";
    this.#socket?.destroy();
    const error = new Error(reason);
    this.#step?.reject(error);
    for (const request of this.#requests.values()) request.reject(error);
    this.#requests.clear();
  }

  /** Leaves as a page does that is done: its server keeps nothing for a return. */
  leave(): void {
    if (this.#phase !== "ready") return;
    this.#phase = "closed";
    this.#send("41");
    this.#socket?.destroySoon();
  }

  /** Ends the connection without a word, as a network does: no close frame. */
  close(): void {
    this.#end("closed");
  }
}
