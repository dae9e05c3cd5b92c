import { createServer, type Server as HttpServer } from "node:http";
import { Server, type Socket } from "socket.io";

type Reply = (answer: object) => void;
interface Entry {
  readonly seq: number;
  readonly event: string;
  readonly args: readonly unknown[];
}

/** What a test may put in the way of a client's event. `swallow`: it is lost; `mute`: done, but never acknowledged. */
export type Interference = "swallow" | "mute" | { readonly code: string; readonly retryAfterMs?: number };

/** Auth of a CONNECT as the fake saw it. */
export interface SeenAuth {
  readonly token?: string;
  readonly resume: Readonly<Record<string, { readonly epoch: string; readonly seq: number }>>;
}

/**
 * A Parley of few lines on the stock server, in memory: logs, joins, resume, repeats by `clientId`; and every fault that
 * a test asks for.
 */
export class FakeServer implements AsyncDisposable {
  epoch = "e1";
  /** Refuses a CONNECT: data of the CONNECT_ERROR; undefined admits. */
  admit: (auth: SeenAuth) => { readonly code: string; readonly message: string } | undefined = () => undefined;
  /** Closes the transport instead of answering CONNECT. */
  closesTransport = false;
  /** Never answers CONNECT. */
  holdsConnect = false;
  interfere: (event: string, payload: unknown) => Interference | undefined = () => undefined;
  readonly auths: SeenAuth[] = [];
  readonly received: { readonly event: string; readonly payload: unknown }[] = [];
  readonly #logs = new Map<string, Entry[]>();
  readonly #committed = new Map<string, { readonly id: string; readonly seq: number }>();
  readonly #members = new Map<Socket, Set<string>>();
  readonly #listeners = new Set<() => void>();
  #http: HttpServer | undefined;
  #io: Server | undefined;
  #port = 0;

  static async start(): Promise<FakeServer> {
    const fake = new FakeServer();
    await fake.listen();
    return fake;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get connections(): number {
    return this.#members.size;
  }

  /** Listens on the port of its last life, or on a new one. */
  async listen(): Promise<void> {
    const http = createServer();
    const io = new Server(http, { serveClient: false });
    io.use((socket, next) => this.#admit(socket, next));
    io.on("connection", (socket) => this.#serve(socket));
    await new Promise<void>((resolve) => http.listen(this.#port, "127.0.0.1", resolve));
    const address = http.address();
    if (address !== null && typeof address === "object") this.#port = address.port;
    this.#http = http;
    this.#io = io;
  }

  /** Dies: every connection is gone, and nobody listens. Logs stay. */
  async kill(): Promise<void> {
    const http = this.#http;
    this.dropConnections();
    await this.#io?.close();
    http?.closeAllConnections();
    this.#io = undefined;
  }

  /** Closes every transport; the stock server then forgets the sockets. */
  dropConnections(): void {
    for (const socket of this.#members.keys()) socket.conn.close();
  }

  /** Closes the transport that has been open for the longest time. */
  dropOldest(): void {
    const [oldest] = this.#members.keys();
    oldest?.conn.close();
  }

  /** A DISCONNECT packet to everybody, after an `error` event that says why. */
  disconnect(refusal?: { readonly code: string; readonly message: string }): void {
    for (const socket of this.#members.keys()) {
      if (refusal !== undefined) socket.emit("error", refusal);
      socket.disconnect();
    }
  }

  /** Commits an entry and delivers it. `deliver: false` loses it on the way. */
  append(log: string, event: string, args: readonly unknown[], { deliver = true } = {}): number {
    const entries = this.#log(log);
    const entry = { seq: entries.length + 1, event, args };
    entries.push(entry);
    if (deliver) this.deliver(log, entry.seq);
    return entry.seq;
  }

  /** A message of somebody else. */
  say(roomId: string, text: string, options: { deliver?: boolean } = {}): number {
    return this.append(roomId, "new_message", [this.#message(roomId, text, "someone")], options);
  }

  /** Sends an entry to all who follow its log, also again. */
  deliver(log: string, seq: number): void {
    for (const [socket, logs] of this.#members) if (logs.has(log)) this.#send(socket, log, seq);
  }

  /** Sends any event to everybody. */
  broadcast(event: string, ...args: readonly unknown[]): void {
    for (const socket of this.#members.keys()) socket.emit(event, ...args);
  }

  texts(roomId: string): unknown[] {
    return this.#log(roomId).map(({ args: [message] }) => (isObject(message) ? message["text"] : undefined));
  }

  count(event: string): number {
    return this.received.filter((one) => one.event === event).length;
  }

  /** Resolves once `holds`, looked at after each event and connection. */
  async until(holds: () => boolean): Promise<void> {
    await new Promise<void>((resolve) => {
      const look = (): void => {
        if (!holds()) return;
        this.#listeners.delete(look);
        resolve();
      };
      this.#listeners.add(look);
      look();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  #admit(socket: Socket, next: (error?: Error) => void): void {
    const auth: SeenAuth = { resume: {}, ...socket.handshake.auth };
    this.auths.push(auth);
    this.#changed();
    if (this.holdsConnect) return;
    if (this.closesTransport) {
      socket.conn.close();
      return;
    }
    const refusal = this.admit(auth);
    next(refusal === undefined ? undefined : Object.assign(new Error(refusal.message), { data: refusal }));
  }

  #serve(socket: Socket): void {
    const logs = new Set(["@announcements", "@user:me"]);
    this.#members.set(socket, logs);
    const resume: SeenAuth["resume"] = { ...socket.handshake.auth["resume"] };
    for (const [log, position] of Object.entries(resume)) {
      logs.add(log);
      this.#follow(socket, log, position, undefined);
    }
    socket.onAny((event: string, payload: unknown, reply: Reply) => {
      this.received.push({ event, payload });
      const interference = this.interfere(event, payload);
      if (typeof interference === "object") {
        reply({ ok: false, error: { message: "no", ...interference } });
      } else if (interference !== "swallow") {
        this.#handle(socket, event, payload, interference === "mute" ? () => undefined : reply);
      }
      this.#changed();
    });
    socket.on("disconnect", () => {
      this.#members.delete(socket);
      this.#changed();
    });
    this.#changed();
  }

  #handle(socket: Socket, event: string, payload: unknown, reply: Reply): void {
    if (!isObject(payload)) return;
    const roomId = String(payload["roomId"]);
    if (event === "join_room") {
      this.#members.get(socket)?.add(roomId);
      const after = isObject(payload["after"]) ? payload["after"] : undefined;
      const from = after === undefined ? undefined : { epoch: String(after["epoch"]), seq: Number(after["seq"]) };
      this.#follow(socket, roomId, from, reply);
    } else if (event === "leave_room") {
      this.#members.get(socket)?.delete(roomId);
      reply({ ok: true, roomId });
    } else if (event === "send_message") {
      reply({ ok: true, ...this.#commit(roomId, String(payload["clientId"]), payload["text"]) });
    } else {
      reply({ ok: true, roomId, users: ["me"], count: 1, expiresAt: null });
    }
  }

  #commit(roomId: string, clientId: string, text: unknown): { readonly id: string; readonly seq: number } {
    const repeat = this.#committed.get(clientId);
    if (repeat !== undefined) return repeat;
    const message = { ...this.#message(roomId, String(text), "me"), clientId };
    const committed = { id: message.id, seq: this.append(roomId, "new_message", [message]) };
    this.#committed.set(clientId, committed);
    return committed;
  }

  #follow(
    socket: Socket,
    log: string,
    after: { epoch: string; seq: number } | undefined,
    reply: Reply | undefined,
  ): void {
    const entries = this.#log(log);
    const head = entries.length;
    const continues = after !== undefined && after.epoch === this.epoch && after.seq <= head;
    if (after !== undefined && !continues) {
      const reason = after.epoch === this.epoch ? "ahead" : "epoch";
      socket.emit("room_gap", { roomId: log, reason, epoch: this.epoch, head });
    }
    if (!continues)
      socket.emit(
        "room_history",
        entries.map(({ args }) => args[0]),
        `${log}:${this.epoch}:${head}`,
      );
    const start = continues ? after.seq : head;
    reply?.({ ok: true, roomId: log, epoch: this.epoch, seq: start });
    for (const { seq } of entries.slice(start)) this.#send(socket, log, seq);
  }

  #send(socket: Socket, log: string, seq: number): void {
    const entry = this.#log(log)[seq - 1];
    if (entry !== undefined) socket.emit(entry.event, ...entry.args, `${log}:${this.epoch}:${seq}`);
  }

  #message(roomId: string, text: string, userId: string) {
    const seq = this.#log(roomId).length + 1;
    return { id: `${roomId}-${seq}`, roomId, seq, userId, text, createdAt: new Date(0).toISOString() };
  }

  #log(id: string): Entry[] {
    let entries = this.#logs.get(id);
    if (entries === undefined) {
      entries = [];
      this.#logs.set(id, entries);
    }
    return entries;
  }

  #changed(): void {
    for (const look of this.#listeners) look();
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
