import { hash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { Sender, WebSocket, WebSocketServer } from "ws";
import type { CloseReason } from "./connection.ts";
import type { GatewaySettings } from "./settings.ts";
import { type Ending, packetType, type Transport, type TransportOwner } from "./transport.ts";
import { handleOf, type TcpHandle, waitingBytes, type WireOwner, type WireSocket, writeFrames } from "./wire.ts";

/** Pongs are not worth more memory than this to a client that does not read them. */
const unreadBytesForPongs = 16_384;
const closeTimeoutMs = 10_000;

/** Frozen: whoever listened to one WebSocket would listen to all. What there is to hear of comes by `emit`. */
const noListeners: Readonly<Record<string, unknown>> = Object.freeze(Object.create(null));
/** There is no compression. */
const noExtensions = Object.freeze({});

/** With the arguments that a `WebSocketServer` gives. */
const ServedWebSocket: typeof WebSocket & (new (address: null, protocols: undefined, options: object) => WebSocket) =
  WebSocket;

/**
 * A WebSocket as a transport. `ws` reads frames, answers the closing handshake and nothing else; Parley writes ready
 * frames to the same socket (`wire.ts`).
 *
 * Invariant: `ws` without compression writes whole frames synchronously, so frames of both cannot interleave.
 */
export class EngineWebSocket extends ServedWebSocket implements Transport, WireOwner {
  readonly name = "websocket";
  /** Begins to read; of `ws`, whose types lack it. */
  declare readonly setSocket: (wire: Duplex, head: Buffer, options: object) => void;
  // Why: Node and `ws` would make these for each connection, to hold nothing: 240 bytes.
  readonly _events = noListeners;
  readonly _extensions = noExtensions;
  /** Null before it is adopted and after it ended. */
  owner: TransportOwner | null = null;
  wire: WireSocket | null = null;
  handle: TcpHandle | null = null;
  // The answer to the upgrade request.
  usesStream = true;
  unsentBytes = 0;

  /** What `ws` writes with: closing frames and pongs alone. Why not kept: nearly no connection has one of them on its way. */
  get _sender(): object {
    this.usesStream = true;
    return new Sender(this.wire);
  }

  set _sender(_given: object | null) {}

  bufferedBytes(): number {
    return waitingBytes(this);
  }

  write(frames: readonly Buffer[]): void {
    const { wire } = this;
    if (wire === null || this.readyState !== WebSocket.OPEN) return;
    writeFrames(this, wire, frames);
  }

  end(how: Ending): void {
    this.owner = null;
    if (how === "abort") this.terminate();
    else this.close(how === "orderly" ? 1000 : 1008);
  }

  /** Begins to read for an owner, who is told of everything from the first byte on. */
  adopt(owner: TransportOwner, wire: WireSocket): void {
    this.owner = owner;
    this.wire = wire;
    this.handle = handleOf(wire);
  }

  /** What `ws` tells. Why not listeners: a list of them for each connection takes more memory than the rest of this. */
  override emit(event: string | symbol, ...args: unknown[]): boolean {
    const [first, second] = args;
    switch (event) {
      case "message":
        this.#onMessage(first, second === true);
        return true;
      case "ping":
        this.#onPing(first);
        return true;
      case "error":
        this.#onError(first);
        return true;
      case "close":
        this.#onClose(first);
        return true;
      default:
        return super.emit(event, ...args);
    }
  }

  #onMessage(data: unknown, isBinary: boolean): void {
    const { owner } = this;
    if (owner === null || !Buffer.isBuffer(data)) return;
    if (isBinary) {
      // Why copied: `data` is a view of a buffer that other frames share, and would keep all of it alive.
      owner.onBinary(Buffer.copyBytesFrom(data));
      return;
    }
    if (data.length === 1) owner.onText(data[0] ?? 0, "");
    else owner.onText(data.length === 0 ? 0 : (data[0] ?? 0), data.toString("utf8", 1));
  }

  #onPing(data: unknown): void {
    if (this.bufferedBytes() <= unreadBytesForPongs) this.pong(data);
    // For Engine.IO a ping of WebSocket's own carries nothing, like its `noop`; the owner counts those.
    this.owner?.onText(packetType.noop, "");
  }

  #onError(error: unknown): void {
    const { owner } = this;
    this.owner = null;
    // `ws` closes by itself after an error, with the code that belongs to it.
    owner?.onTransportClosed(reasonOf(error));
  }

  #onClose(code: unknown): void {
    const { owner } = this;
    this.owner = null;
    this.wire = null;
    this.handle = null;
    owner?.onTransportClosed(code === 1006 ? "transport_error" : "client_closed");
  }
}

function reasonOf(error: unknown): CloseReason {
  const code = error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
  if (code === "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH" || code === "WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH") {
    return "payload_too_large";
  }
  if (code === "WS_ERR_TOO_MANY_BUFFERED_PARTS") return "too_many_requests";
  return code.startsWith("WS_ERR_") ? "parse_error" : "transport_error";
}

/** Turns upgrade requests into WebSockets. */
export interface WebSocketDoor {
  /**
   * Calls back at once, or answers with an HTTP error and never does. What `opened` gives goes out with the answer to
   * the request.
   */
  open(request: IncomingMessage, wire: Duplex, head: Buffer, opened: Opened): void;
}

type Opened = (socket: EngineWebSocket) => readonly Buffer[];

export function createWebSocketDoor(settings: GatewaySettings): WebSocketDoor {
  const options = {
    perMessageDeflate: false,
    skipUTF8Validation: false,
    // Why: what one read brought is handled in one turn; the deferring alternative costs a turn per frame.
    allowSynchronousEvents: true,
    autoPong: false,
    maxPayload: settings.payloadBytesMax,
    maxFragments: 1_024,
    // Why 16 thousand: a megabyte in packets of 64 bytes. Each piece costs far more memory than its bytes.
    maxBufferedChunks: 16_384,
    ...{ closeTimeout: closeTimeoutMs },
  };
  const server = new WebSocketServer({
    ...options,
    noServer: true,
    clientTracking: false,
    WebSocket: EngineWebSocket,
  });
  return {
    open(request, wire, head, opened) {
      dropIdleListener(wire);
      const key = plainKeyOf(request);
      if (key !== null && wire.readable && wire.writable) {
        const socket = new EngineWebSocket(null, undefined, options);
        socket.setSocket(wire, head, options);
        const first = opened(socket);
        writeFrames(socket, wire, [acceptance(key), ...first]);
        return;
      }
      wire.cork();
      server.handleUpgrade(request, wire, head, (socket) => socket.write(opened(socket)));
      wire.uncork();
    },
  };
}

const keyPattern = /^[+/0-9A-Za-z]{22}==$/;
/** https://www.rfc-editor.org/rfc/rfc6455#section-1.3 */
const acceptGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/**
 * The key of a request that asks for nothing but a WebSocket of today's version. Null: `ws` is to judge, and to answer.
 * Why not all: what it does for a request, beside what is needed, took a tenth of what a connection cost.
 */
function plainKeyOf({ method, headers }: IncomingMessage): string | null {
  const key = headers["sec-websocket-key"];
  const isPlain =
    method === "GET" &&
    headers.upgrade?.toLowerCase() === "websocket" &&
    headers["sec-websocket-version"] === "13" &&
    headers["sec-websocket-protocol"] === undefined;
  return isPlain && key !== undefined && keyPattern.test(key) ? key : null;
}

function acceptance(key: string): Buffer {
  const accept = hash("sha1", key + acceptGuid, "base64");
  return Buffer.from(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    "latin1",
  );
}

/**
 * Why: `ws` listens to the end of what a client sends, too, and a list of two takes a hundred bytes more than one. Node's
 * own does nothing on sockets that may stay half open, as those of HTTP servers do.
 */
function dropIdleListener(wire: Duplex): void {
  if (!wire.allowHalfOpen) return;
  for (const listener of wire.listeners("end")) if (isNodesOwn(listener)) wire.off("end", listener);
}

function isNodesOwn(listener: unknown): listener is () => void {
  return typeof listener === "function" && listener.name === "onReadableStreamEnd";
}
