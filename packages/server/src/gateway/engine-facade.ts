import { EventEmitter } from "node:events";
import { textFrame } from "../core/frame.ts";
import type { CloseReason } from "./connection.ts";
import type { EngineConnection } from "./engine-connection.ts";
import type { ForeignSide } from "./foreign.ts";
import type { Handshake } from "./handshake.ts";
import { binaryFrame, bytesOf } from "./packets.ts";

/** The engine that Socket.IO is bound to: hands it a facade for each connection that wants one of its namespaces. */
export class FacadeEngine extends EventEmitter {
  readonly facades = new Set<EngineFacade>();
  #text = "";
  #frame: Buffer | null = null;

  get clientsCount(): number {
    return this.facades.size;
  }

  use(): never {
    throw new Error(
      "io.engine.use: Parley serves the HTTP requests itself; use a middleware of the namespace, or the app's own server.",
    );
  }

  /** Socket.IO closes; connections stay, for they are Parley's. */
  close(): this {
    for (const facade of this.facades) facade.detach();
    return this;
  }

  /** The frame of a packet. A broadcast writes one text to many, one after the other: they share it. */
  frameOf(text: string): Buffer {
    if (this.#frame === null || this.#text !== text) {
      this.#text = text;
      this.#frame = textFrame(`4${text}`);
    }
    return this.#frame;
  }
}

/**
 * What Socket.IO's objects see instead of an Engine.IO socket: a shared connection that is Parley's. Its own refusals
 * and its connect timeout give up the facade alone; `socket.disconnect(true)` and broken rules close the connection,
 * as they do in Socket.IO.
 */
export class EngineFacade extends EventEmitter implements ForeignSide {
  readonly id: string;
  readonly protocol = 4;
  readonly server: FacadeEngine;
  readonly request: FacadeRequest;
  readonly remoteAddress: string;
  readyState: "open" | "closing" | "closed" = "open";
  readonly #connection: EngineConnection;
  readonly #namespacesMax: number;
  /** `ended` by the server: what the client sent before it learnt of it is ignored. */
  readonly #namespaces = new Map<string, "connecting" | "open" | "ended">();
  #hasJoined = false;
  #isReceiving = false;

  constructor(server: FacadeEngine, connection: EngineConnection, namespacesMax: number) {
    super();
    this.id = connection.id;
    this.server = server;
    this.request = requestOf(connection.handshake);
    this.remoteAddress = this.request.connection.remoteAddress;
    this.#connection = connection;
    this.#namespacesMax = namespacesMax;
    server.facades.add(this);
  }

  get isDetached(): boolean {
    return this.readyState === "closed";
  }

  get upgraded(): boolean {
    return this.transport.name === "websocket";
  }

  get transport(): { readonly name: string; readonly writable: boolean } {
    const { transport } = this.#connection;
    return { name: transport?.name ?? "websocket", writable: this.#connection.free() > 0 };
  }

  send(data: unknown, options?: unknown, callback?: unknown): this {
    return this.write(data, options, callback);
  }

  write(data: unknown, options?: unknown, callback?: unknown): this {
    if (this.readyState !== "open") return this;
    if (typeof data === "string") {
      this.#sends(data);
      this.#connection.write([this.server.frameOf(data)]);
    } else {
      this.#connection.write([binaryFrame(bytesOf(data))]);
    }
    const done = typeof options === "function" ? options : callback;
    if (typeof done === "function") process.nextTick(() => Reflect.apply(done, this, [this.transport]));
    return this;
  }

  close(): this {
    if (this.readyState !== "open") return this;
    if (this.#isReceiving) this.#closeConnection("parse_error");
    else if (this.#hasJoined) this.#closeConnection("kicked");
    else this.detach();
    return this;
  }

  detach(): void {
    this.readyState = "closed";
    this.server.facades.delete(this);
  }

  onPacket(namespace: string, text: string, attachments: readonly Buffer[]): void {
    const state = this.#namespaces.get(namespace);
    if (text.startsWith("0")) {
      if (state === undefined && this.#namespaces.size >= this.#namespacesMax) {
        this.#closeConnection("too_many_requests");
        return;
      }
      // Why only then: a second CONNECT to an open namespace is Socket.IO's to refuse.
      if (state !== "open") this.#namespaces.set(namespace, "connecting");
    } else if (state === "ended") {
      return;
    } else if (text.startsWith("1")) {
      this.#namespaces.delete(namespace);
    }
    this.#isReceiving = true;
    try {
      this.#receive(text);
      for (const attachment of attachments) this.#receive(attachment);
    } finally {
      this.#isReceiving = false;
    }
  }

  onAnswered(): void {
    this.emit("heartbeat");
  }

  onUpgraded(): void {
    this.emit("upgrade", this.transport);
  }

  onClosed(reason: CloseReason): void {
    if (this.readyState === "closed") return;
    const isOurs = this.readyState === "closing";
    this.readyState = "closed";
    this.server.facades.delete(this);
    // Why later: who closes an Engine.IO socket hears of it afterwards, and Socket.IO counts on it.
    if (isOurs) process.nextTick(() => this.emit("close", "forced close"));
    else this.emit("close", reasonText(reason));
  }

  #receive(data: string | Buffer): void {
    if (this.readyState !== "open") return;
    this.emit("packet", { type: "message", data });
    this.emit("data", data);
    this.emit("message", data);
  }

  #closeConnection(reason: CloseReason): void {
    this.readyState = "closing";
    this.#connection.close(reason);
  }

  #sends(text: string): void {
    const kind = text.charAt(0);
    if (kind !== "0" && kind !== "1" && kind !== "4") return;
    const comma = text.indexOf(",");
    const namespace = text.slice(1, comma < 0 ? text.length : comma);
    if (kind === "0") {
      this.#namespaces.set(namespace, "open");
      this.#hasJoined = true;
      this.#connection.joined();
    } else if (kind === "1") {
      this.#namespaces.set(namespace, "ended");
    } else {
      this.#namespaces.delete(namespace);
    }
  }
}

/** As much of an `http.IncomingMessage` as Socket.IO's sockets and the code that uses them look at. */
export interface FacadeRequest {
  readonly method: "GET";
  readonly url: string;
  readonly headers: Handshake["headers"];
  readonly connection: { readonly remoteAddress: string; readonly encrypted: boolean };
  readonly socket: { readonly remoteAddress: string; readonly encrypted: boolean };
  readonly _query: Readonly<Record<string, string>>;
}

function requestOf(handshake: Handshake | null): FacadeRequest {
  const url = handshake?.url ?? "/socket.io/";
  const at = url.indexOf("?");
  const query: Record<string, string> = Object.create(null);
  for (const [name, value] of new URLSearchParams(at < 0 ? "" : url.slice(at + 1))) query[name] = value;
  const connection = { remoteAddress: handshake?.address ?? "", encrypted: handshake?.secure ?? false };
  return { method: "GET", url, headers: handshake?.headers ?? {}, connection, socket: connection, _query: query };
}

/** Reasons as Engine.IO's socket gives them; Socket.IO hands them to `disconnect` listeners. */
function reasonText(reason: CloseReason): string {
  switch (reason) {
    case "client_closed":
    case "transport_error":
      return "transport close";
    case "ping_timeout":
      return "ping timeout";
    case "parse_error":
    case "payload_too_large":
      return "parse error";
    case "server_closing":
      return "server shutting down";
    case "connect_timeout":
    case "overloaded":
    case "too_many_requests":
    case "superseded":
    case "kicked":
    case "token_expired":
      return "forced close";
  }
}
