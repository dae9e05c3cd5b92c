import { randomBytes } from "node:crypto";
import { Agent, type ClientRequest, type IncomingHttpHeaders, request as httpRequest } from "node:http";
import { connect, type Socket } from "node:net";

/** Clients that do exactly what a test says, right or wrong: on `http` and `net`, without any library between. */

export interface RawResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface RawRequest {
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: string | Buffer;
  readonly signal?: AbortSignal;
}

const agent = new Agent({ keepAlive: false });

/** One HTTP request to `/socket.io/` with the given query (without `?`). */
export function rawRequest(port: number, query: string, options: RawRequest = {}): Promise<RawResponse> {
  const { method = "GET", headers = {}, body, signal } = options;
  return new Promise((resolve, reject) => {
    const path = `/socket.io/?${query}`;
    const request = httpRequest({ host: "127.0.0.1", port, path, method, headers, agent, ...(signal && { signal }) });
    request.on("error", reject);
    request.on("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks).toString("utf8"),
        });
      });
    });
    request.end(body);
  });
}

/** A long-polling session. */
export class RawPolling {
  readonly #port: number;
  readonly sid: string;
  /** What the `open` packet said. */
  readonly open: Readonly<Record<string, unknown>>;

  private constructor(port: number, open: Record<string, unknown>) {
    this.#port = port;
    this.open = open;
    this.sid = String(open["sid"]);
  }

  static async start(port: number, headers: Record<string, string> = {}): Promise<RawPolling> {
    const { status, body } = await rawRequest(port, "EIO=4&transport=polling", { headers });
    if (status !== 200 || !body.startsWith("0")) throw new Error(`handshake: ${status} ${body}`);
    const open: Record<string, unknown> = JSON.parse(body.slice(1));
    return new RawPolling(port, open);
  }

  get query(): string {
    return `EIO=4&transport=polling&sid=${this.sid}`;
  }

  get(options: RawRequest = {}): Promise<RawResponse> {
    return rawRequest(this.#port, this.query, options);
  }

  post(body: string | Buffer, options: RawRequest = {}): Promise<RawResponse> {
    const headers = { "content-type": "text/plain;charset=UTF-8", ...options.headers };
    return rawRequest(this.#port, this.query, { ...options, method: "POST", body, headers });
  }

  /** Begins a POST of `bytes` bytes and sends none of them. Resolves when the server waits for them. */
  holdPost(bytes: number): Promise<ClientRequest> {
    const path = `/socket.io/?${this.query}`;
    const headers = { "content-length": String(bytes), expect: "100-continue" };
    const request = httpRequest({ host: "127.0.0.1", port: this.#port, path, method: "POST", headers, agent });
    request.on("error", () => {});
    request.flushHeaders();
    return new Promise((resolve) => request.on("continue", () => resolve(request)));
  }

  /** GETs until a packet that is no ping and no noop comes; the packets of that answer. */
  async packets(): Promise<string[]> {
    for (;;) {
      const { status, body } = await this.get();
      if (status !== 200) throw new Error(`poll: ${status} ${body}`);
      const packets = body.split("\u001e").filter((packet) => packet !== "6" && packet !== "2");
      if (packets.length > 0) return packets;
    }
  }

  /** Joins `/`. */
  async join(): Promise<string[]> {
    await this.post("40");
    return this.packets();
  }
}

export interface RawFrame {
  readonly fin?: boolean;
  /** Bits 4, 2, 1 for RSV 1, 2, 3. */
  readonly reserved?: number;
  readonly opcode: number;
  readonly masked?: boolean;
  readonly payload?: Buffer | string;
  /** What the header says, when it lies. */
  readonly declaredLength?: number;
}

/** A client's frame. */
export function rawFrame(frame: RawFrame): Buffer {
  const { fin = true, reserved = 0, opcode, masked = true, payload = "" } = frame;
  const body = Buffer.from(payload);
  const length = frame.declaredLength ?? body.length;
  const header: number[] = [(fin ? 0x80 : 0) | (reserved << 4) | opcode];
  const mark = masked ? 0x80 : 0;
  if (length < 126) header.push(mark | length);
  else if (length < 65_536) header.push(mark | 126, length >> 8, length & 0xff);
  else header.push(mark | 127, ...bigEndian(length));
  if (!masked) return Buffer.concat([Buffer.from(header), body]);
  const mask = randomBytes(4);
  const scrambled = Buffer.from(body.map((byte, at) => byte ^ (mask[at % 4] ?? 0)));
  return Buffer.concat([Buffer.from(header), mask, scrambled]);
}

function bigEndian(length: number): number[] {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(length));
  return [...bytes];
}

/** What the server sent: the payload of a data frame, or a control frame by its opcode. */
export type RawMessage = string | Buffer | { readonly opcode: number; readonly payload: Buffer };

/**
 * A WebSocket. Messages wait until they are asked for; pings of the server's heartbeat are answered and left out unless
 * `manual` is set.
 */
export class RawWebSocket implements AsyncDisposable {
  readonly socket: Socket;
  /** Status line of the answer to the handshake. */
  status = "";
  /** Resolves when the TCP connection is over, with the close frame's code, or null without one. */
  readonly closed: Promise<number | null>;
  #closeCode: number | null = null;
  #isClosed = false;
  #bytes = Buffer.alloc(0);
  #upgraded = false;
  readonly #manual: boolean;
  readonly #messages: RawMessage[] = [];
  readonly #waiting: ((message: RawMessage | null) => void)[] = [];
  readonly #handshake = Promise.withResolvers<void>();

  private constructor(port: number, query: string, headers: Record<string, string>, manual: boolean) {
    this.#manual = manual;
    this.socket = connect(port, "127.0.0.1");
    this.closed = new Promise((resolve) => {
      this.socket.on("close", () => {
        this.#isClosed = true;
        for (const waiting of this.#waiting.splice(0)) waiting(null);
        this.#handshake.resolve();
        resolve(this.#closeCode);
      });
    });
    this.socket.on("error", () => {});
    this.socket.on("data", (chunk) => this.#onData(Buffer.from(chunk)));
    const all = {
      Host: `127.0.0.1:${port}`,
      Upgrade: "websocket",
      Connection: "Upgrade",
      "Sec-WebSocket-Key": randomBytes(16).toString("base64"),
      "Sec-WebSocket-Version": "13",
      ...headers,
    };
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
    this.socket.write(`GET /socket.io/?${query} HTTP/1.1\r\n${lines.join("")}\r\n`);
  }

  /** Resolves when the server has answered the handshake, whatever it said. */
  static async open(
    port: number,
    query = "EIO=4&transport=websocket",
    { headers = {}, manual = false }: { headers?: Record<string, string>; manual?: boolean } = {},
  ): Promise<RawWebSocket> {
    const opened = new RawWebSocket(port, query, headers, manual);
    await opened.#handshake.promise;
    return opened;
  }

  /** Opens, and joins `/`. `greets`: whether the namespace sends an event at once. */
  static async join(
    port: number,
    options: { manual?: boolean; greets?: boolean; packet?: string } = {},
  ): Promise<RawWebSocket> {
    const joined = await RawWebSocket.open(port, undefined, options);
    await joined.text();
    joined.send(options.packet ?? "40");
    await joined.text();
    if (options.greets !== false) await joined.text();
    return joined;
  }

  /** Null once the connection is over and all was read. */
  next(): Promise<RawMessage | null> {
    const message = this.#messages.shift();
    if (message !== undefined) return Promise.resolve(message);
    if (this.#isClosed) return Promise.resolve(null);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** The next text message; throws when something else comes. */
  async text(): Promise<string> {
    const message = await this.next();
    if (typeof message === "string") return message;
    throw new Error(message === null ? `closed (${String(await this.closed)})` : "no text");
  }

  async binary(): Promise<Buffer> {
    const message = await this.next();
    if (Buffer.isBuffer(message)) return message;
    throw new Error(`no binary message, but ${typeof message === "string" ? message : "something else"}`);
  }

  send(payload: string | Buffer): void {
    this.sendFrame({ opcode: typeof payload === "string" ? 1 : 2, payload });
  }

  sendFrame(frame: RawFrame): void {
    this.socket.write(rawFrame(frame));
  }

  destroy(): void {
    this.socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy();
    await this.closed;
  }

  #onData(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    if (!this.#upgraded) {
      const end = this.#bytes.indexOf("\r\n\r\n");
      if (end < 0) return;
      this.status = this.#bytes.toString("latin1", 0, this.#bytes.indexOf("\r\n"));
      this.#upgraded = this.status.includes(" 101 ");
      this.#bytes = this.#bytes.subarray(end + 4);
      this.#handshake.resolve();
      if (!this.#upgraded) return;
    }
    for (let frame = this.#takeFrame(); frame !== null; frame = this.#takeFrame()) this.#onFrame(frame);
  }

  #takeFrame(): { opcode: number; payload: Buffer } | null {
    const bytes = this.#bytes;
    if (bytes.length < 2) return null;
    let length = bytes.readUInt8(1) & 0x7f;
    let start = 2;
    if (length === 126) start = 4;
    if (length === 127) start = 10;
    if (bytes.length < start) return null;
    if (start === 4) length = bytes.readUInt16BE(2);
    if (start === 10) length = Number(bytes.readBigUInt64BE(2));
    if (bytes.length < start + length) return null;
    this.#bytes = bytes.subarray(start + length);
    return { opcode: bytes.readUInt8(0) & 0x0f, payload: bytes.subarray(start, start + length) };
  }

  #onFrame(frame: { opcode: number; payload: Buffer }): void {
    const { opcode, payload } = frame;
    if (opcode === 8) {
      this.#closeCode = payload.length >= 2 ? payload.readUInt16BE(0) : 1005;
      this.sendFrame({ opcode: 8, payload });
      return;
    }
    const message = opcode === 1 ? payload.toString("utf8") : opcode === 2 ? payload : frame;
    if (message === "2" && !this.#manual) {
      this.send("3");
      return;
    }
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#messages.push(message);
    else waiting(message);
  }
}
