import { ClientSocket, type ClientSocketOwner } from "./client-socket.ts";
import type { CloseReason, ConnectionEvents } from "./connection.ts";
import type { EngineConnection } from "./engine-connection.ts";
import type { ForeignNamespaces, ForeignSide } from "./foreign.ts";
import type { Log, NamespaceHandler } from "./namespace.ts";
import { PacketQueue } from "./packet-queue.ts";
import {
  type BinaryPacket,
  encodeConnectError,
  isBinaryPacket,
  isBounded,
  namespaceOf,
  type Packet,
  parseBinaryPacket,
  parsePacket,
  startBinaryPacket,
} from "./packets.ts";
import type { GatewaySettings } from "./settings.ts";

/** What all clients share. */
export interface SocketsShared {
  readonly settings: GatewaySettings;
  readonly log: Log;
  readonly namespaces: ReadonlyMap<string, NamespaceHandler>;
  /** For all other names. */
  readonly foreign: ForeignNamespaces | null;
  /** Whether handshakes are kept after the first namespace was joined, for those joined later. */
  keepHandshakes: boolean;
}

/** Which namespaces one HTTP server lets its clients join. */
export interface Scope {
  readonly namespaces: ReadonlySet<string> | "all";
}

/** Through this server come operators alone. */
export function isOperators({ namespaces }: Scope): boolean {
  return namespaces !== "all" && !namespaces.has("/");
}

/**
 * The namespaces of one connection: takes its packets apart and drives the sockets behind them.
 *
 * Invariant: packets are handled in the order they came. While a handler is busy, a CONNECT that the client took back is
 * undecided, or more than half of the window is unanswered, they wait; the queue is bounded, and who overflows it is cut.
 */
export class ClientSockets implements ConnectionEvents, ClientSocketOwner {
  readonly connection: EngineConnection;
  readonly shared: SocketsShared;
  readonly #scope: Scope;
  /** A list through `next`: nearly every client has one namespace, and none has many. */
  #first: ClientSocket | null = null;
  #foreign: ForeignSide | null = null;
  #assembling: BinaryPacket | null = null;
  #waiting: PacketQueue | null = null;
  #busy = false;

  constructor(connection: EngineConnection, shared: SocketsShared, scope: Scope) {
    this.connection = connection;
    this.shared = shared;
    this.#scope = scope;
  }

  get isOperators(): boolean {
    return isOperators(this.#scope);
  }

  onPacket(text: string): void {
    if (this.#assembling !== null) {
      this.connection.close("parse_error");
    } else if (isBinaryPacket(text)) {
      this.#assembling = startBinaryPacket(text, this.shared.settings);
      if (this.#assembling === null) this.connection.close("parse_error");
    } else {
      this.#take(text, text.length);
    }
  }

  onBinary(data: Buffer): void {
    const packet = this.#assembling;
    if (packet === null) {
      this.connection.close("parse_error");
      return;
    }
    packet.attachments.push(data);
    packet.bytes += data.length;
    if (packet.bytes > this.shared.settings.attachmentBytesMax) {
      this.connection.close("payload_too_large");
    } else if (packet.attachments.length === packet.expected) {
      this.#assembling = null;
      this.#take(packet, packet.bytes);
    }
  }

  onPinged(): void {
    for (let socket = this.#first; socket !== null; socket = socket.next) socket.tell("onPinged");
  }

  onAnswered(): void {
    for (let socket = this.#first; socket !== null; socket = socket.next) socket.tell("onAnswered");
    this.#foreign?.onAnswered();
    this.#drain();
  }

  onDraining(withinMs: number): void {
    for (let socket = this.#first; socket !== null; socket = socket.next) socket.draining(withinMs);
  }

  onUpgraded(): void {
    this.#foreign?.onUpgraded();
  }

  onClosed(reason: CloseReason): void {
    this.#assembling = null;
    this.#waiting = null;
    const first = this.#first;
    this.#first = null;
    for (let socket = first; socket !== null; socket = socket.next) socket.left(reason);
    this.#foreign?.onClosed(reason);
    this.#foreign = null;
  }

  #take(packet: string | BinaryPacket, bytes: number): void {
    if (this.#waiting === null && !this.#isHeld()) {
      this.#handle(packet);
      return;
    }
    this.#waiting ??= new PacketQueue(this.shared.settings);
    if (!this.#waiting.push(packet, bytes)) this.connection.close("too_many_requests");
  }

  #isHeld(): boolean {
    return this.#busy || this.connection.unanswered() * 2 > this.shared.settings.windowBytes;
  }

  #drain(): void {
    while (this.#waiting !== null && !this.#isHeld()) {
      const packet = this.#waiting.shift();
      if (packet === undefined) this.#waiting = null;
      else this.#handle(packet);
    }
  }

  #handle(raw: string | BinaryPacket): void {
    const { settings } = this.shared;
    const text = typeof raw === "string" ? raw : raw.text;
    const namespace = namespaceOf(text);
    if (this.#isForeign(namespace)) {
      this.#handOver(namespace, text, typeof raw === "string" ? [] : raw.attachments);
      return;
    }
    const packet = typeof raw === "string" ? parsePacket(raw, settings) : parseBinaryPacket(raw, settings);
    if (packet === null) this.connection.close("parse_error");
    else if (packet.type === "connect") this.#connect(packet.namespace, packet.auth);
    else this.#forward(packet);
  }

  #isForeign(namespace: string): boolean {
    const { namespaces, foreign } = this.shared;
    return (
      namespace !== "/" &&
      foreign !== null &&
      !namespaces.has(namespace) &&
      this.#scope.namespaces === "all" &&
      foreign.isOpen()
    );
  }

  #handOver(namespace: string, text: string, attachments: readonly Buffer[]): void {
    const { settings, foreign } = this.shared;
    if (this.#foreign?.isDetached === true) this.#foreign = null;
    if (!isBounded(text, namespace, settings) || (this.#foreign === null && !text.startsWith("0"))) {
      this.connection.close("parse_error");
      return;
    }
    this.#foreign ??= foreign?.attach(this.connection) ?? null;
    this.#foreign?.onPacket(namespace, text, attachments);
  }

  #forward(packet: Exclude<Packet, { type: "connect" }>): void {
    const socket = this.#find(packet.namespace);
    // Why ignored: what a client sent before it learnt that the server had ended the namespace.
    if (socket?.state === "ended") return;
    if (socket === null || (socket.state === "connecting" && packet.type !== "disconnect")) {
      this.connection.close("parse_error");
    } else if (packet.type === "disconnect") {
      // Why all else then waits for the verdict: a client could have any number of CONNECTs at work.
      if (socket.state === "connecting") this.#busy = true;
      this.remove(socket);
      socket.left("client_left");
    } else if (packet.type === "ack") {
      socket.acknowledged(packet.id, packet.args);
    } else {
      this.#dispatch(socket, packet.args, packet.id);
    }
  }

  #dispatch(socket: ClientSocket, args: unknown[], id: number | null): void {
    const pending = socket.dispatch(args, id);
    if (pending === null) return;
    this.#busy = true;
    const done = (): void => {
      this.#busy = false;
      this.#drain();
    };
    pending.then(done, done);
  }

  #connect(namespace: string, auth: Readonly<Record<string, unknown>>): void {
    const { connection, shared } = this;
    const before = this.#find(namespace);
    if (before !== null && before.state !== "ended") {
      connection.close("parse_error");
      return;
    }
    if (before !== null) this.remove(before);
    const { namespaces } = this.#scope;
    const handler = shared.namespaces.get(namespace);
    if (handler === undefined || (namespaces !== "all" && !namespaces.has(namespace))) {
      connection.write(encodeConnectError(namespace, "Invalid namespace"));
      return;
    }
    if (this.#count() >= shared.settings.namespacesMax) {
      connection.close("too_many_requests");
      return;
    }
    const socket = new ClientSocket(this, namespace, this.#first);
    this.#first = socket;
    void socket.connect(handler, auth);
  }

  #find(namespace: string): ClientSocket | null {
    for (let socket = this.#first; socket !== null; socket = socket.next) {
      if (socket.namespace === namespace) return socket;
    }
    return null;
  }

  #count(): number {
    let count = 0;
    for (let socket = this.#first; socket !== null; socket = socket.next) count++;
    return count;
  }

  decidedLate(): void {
    this.#busy = false;
    this.#drain();
  }

  remove(gone: ClientSocket): void {
    if (this.#first === gone) {
      this.#first = gone.next;
      return;
    }
    for (let socket = this.#first; socket !== null; socket = socket.next) {
      if (socket.next === gone) socket.next = gone.next;
    }
  }
}
