import type { CloseReason } from "./connection.ts";
import type { EngineConnection } from "./engine-connection.ts";
import type { Handshake } from "./handshake.ts";
import type {
  ConnectRequest,
  ConnectVerdict,
  Log,
  NamespaceClient,
  NamespaceHandler,
  NamespaceSocket,
  Reply,
} from "./namespace.ts";
import { encodeAck, encodeConnect, encodeConnectError, encodeDisconnect, encodeEvent } from "./packets.ts";

/** What a namespace of a connection needs of the connection's other namespaces. */
export interface ClientSocketOwner {
  readonly connection: EngineConnection;
  readonly shared: {
    readonly log: Log;
    /** Whether handshakes are kept after the first namespace was joined, for those joined later. */
    readonly keepHandshakes: boolean;
  };
  remove(socket: ClientSocket): void;
  /** The verdict came on a client that had left the namespace meanwhile. */
  decidedLate(): void;
}

/**
 * One namespace of one connection.
 *
 * `connecting` until the verdict; `open` until one side ends it; `ended` by the server, when the client may not know
 * yet; `left` by the client, or with the connection.
 */
export class ClientSocket implements NamespaceClient {
  readonly owner: ClientSocketOwner;
  readonly namespace: string;
  next: ClientSocket | null;
  state: "connecting" | "open" | "ended" | "left" = "connecting";
  #socket: NamespaceSocket | null = null;
  #abort: AbortController | null = null;
  #reason: CloseReason | "client_left" = "client_left";

  constructor(owner: ClientSocketOwner, namespace: string, next: ClientSocket | null) {
    this.owner = owner;
    this.namespace = namespace;
    this.next = next;
  }

  get connection(): EngineConnection {
    return this.owner.connection;
  }

  emit(event: string, ...args: unknown[]): void {
    if (this.state === "open") this.#write(encodeEvent(this.namespace, [event, ...args]));
  }

  disconnect(reason: CloseReason): void {
    if (this.state !== "open") return;
    this.connection.write(encodeDisconnect(this.namespace));
    this.#leave("ended", reason);
  }

  async connect(handler: NamespaceHandler, auth: Readonly<Record<string, unknown>>): Promise<void> {
    const { connection, owner } = this;
    let verdict: ConnectVerdict;
    try {
      const asked = handler.connect(new PendingConnect(this, auth, connection.handshake ?? unknownHandshake));
      // Why not always awaited: a verdict at hand is answered in the same turn.
      verdict = asked instanceof Promise ? await asked : asked;
    } catch (error) {
      this.#failed("connect", error);
      // Why not refused: the next try may succeed, and a refusal would be for good.
      verdict = { kind: "later", reason: "overloaded" };
    }
    this.#abort = null;
    const isLate = this.state !== "connecting";
    if (verdict.kind === "accepted") {
      this.#accepted(verdict);
    } else if (!isLate) {
      this.state = "left";
      owner.remove(this);
      if (verdict.kind === "later") connection.close(verdict.reason);
      else connection.write(encodeConnectError(this.namespace, verdict.message, verdict.data));
    }
    if (isLate) owner.decidedLate();
  }

  #accepted({ sid, pid, socket }: Extract<ConnectVerdict, { kind: "accepted" }>): void {
    this.#socket = socket;
    if (this.state !== "connecting") {
      this.#end();
      return;
    }
    this.state = "open";
    const { connection } = this;
    connection.joined();
    // Why kept with a token in it: whoever joins a namespace later authenticates by it again. Browsers send none.
    const hasToken = connection.handshake?.headers.authorization !== undefined;
    if (!hasToken && !this.owner.shared.keepHandshakes) connection.handshake = null;
    connection.write(encodeConnect(this.namespace, sid, pid));
    this.tell("opened");
  }

  signal(): AbortSignal {
    this.#abort ??= new AbortController();
    if (this.state !== "connecting") this.#abort.abort();
    return this.#abort.signal;
  }

  tell(what: "opened" | "onPinged" | "onAnswered"): void {
    if (this.state !== "open") return;
    try {
      this.#socket?.[what]();
    } catch (error) {
      this.#failed(what, error);
    }
  }

  draining(withinMs: number): void {
    if (this.state !== "open") return;
    this.#write(encodeEvent(this.namespace, ["server_draining", { withinMs }]));
  }

  acknowledged(id: number, args: unknown[]): void {
    try {
      this.#socket?.onAck?.(id, args);
    } catch (error) {
      this.#failed("onAck", error);
    }
  }

  /** Null: handled. Else a promise of it, which never rejects. */
  dispatch(args: unknown[], id: number | null): Promise<void> | null {
    const reply = id === null ? null : this.#replyTo(id);
    const failed = (error: unknown): void => {
      this.#failed("onEvent", error);
      const refusal = { code: "internal", message: "The server failed to handle this event." };
      if (reply !== null) reply({ ok: false, error: refusal });
      else this.emit("error", { ...refusal, event: args[0] });
    };
    try {
      const pending = this.#socket?.onEvent(args, reply);
      return pending === undefined ? null : pending.catch(failed);
    } catch (error) {
      failed(error);
      return null;
    }
  }

  #replyTo(id: number): Reply {
    let sent = false;
    return (...args) => {
      if (sent || this.state !== "open") return;
      const frames = encodeAck(this.namespace, id, args);
      sent = true;
      this.#write(frames);
    };
  }

  #write(frames: readonly Buffer[]): void {
    if (this.#socket?.write === undefined) this.connection.write(frames);
    else this.#socket.write(frames);
  }

  /** The client left the namespace, or the whole connection ended. */
  left(reason: CloseReason | "client_left"): void {
    if (this.state === "left") return;
    this.#leave("left", reason);
  }

  #leave(state: "ended" | "left", reason: CloseReason | "client_left"): void {
    const before = this.state;
    this.state = state;
    this.#reason = reason;
    if (before === "connecting") this.#abort?.abort();
    if (before === "open") this.#end();
  }

  #end(): void {
    const socket = this.#socket;
    this.#socket = null;
    try {
      socket?.onDisconnected(this.#reason);
    } catch (error) {
      this.#failed("onDisconnected", error);
    }
  }

  #failed(where: string, error: unknown): void {
    const message = error instanceof Error ? `${error.name}: ${error.message}` : "not an Error";
    this.owner.shared.log("namespace_handler_failed", { namespace: this.namespace, where, error: message });
  }
}

/** For a namespace that was joined when the handshake was not kept. */
const unknownHandshake: Handshake = { address: "", url: "", headers: {}, secure: false, at: 0 };

class PendingConnect implements ConnectRequest {
  readonly client: ClientSocket;
  readonly auth: Readonly<Record<string, unknown>>;
  readonly handshake: Handshake;

  constructor(client: ClientSocket, auth: Readonly<Record<string, unknown>>, handshake: Handshake) {
    this.client = client;
    this.auth = auth;
    this.handshake = handshake;
  }

  get connection(): EngineConnection {
    return this.client.connection;
  }

  get namespace(): string {
    return this.client.namespace;
  }

  get signal(): AbortSignal {
    return this.client.signal();
  }
}
