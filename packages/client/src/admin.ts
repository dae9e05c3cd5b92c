import type { JsonValue } from "@parley/protocol";
import { Connection, type ConnectionState, type TransportName } from "./connection.ts";
import { Emitter } from "./emitter.ts";
import { ParleyError } from "./errors.ts";
import { type NodeStatistics, Requests } from "./requests.ts";
import { type Backoff, systemTimers, type Timers } from "./timers.ts";
import { TokenSource } from "./token.ts";

export interface AdminOptions {
  /** Origin of the server's internal port. In a browser: the page's own by default. */
  readonly url?: string;
  readonly path?: string;
  readonly token?: string;
  readonly getToken?: () => Promise<string>;
  readonly transports?: readonly TransportName[];
  /** 500 ms to 15 s by default. */
  readonly backoff?: Backoff;
  readonly timers?: Timers;
}

export interface AdminEvents {
  state: [state: ConnectionState];
}

const backoffDefault: Backoff = { minMs: 500, maxMs: 15_000 };
const connectTimeoutMs = 20_000;
const requestTimeoutMs = 10_000;

/** An administrator's connection to one node, which comes back by itself. Made by `connectAdmin`. */
export class AdminClient {
  readonly #events = new Emitter<AdminEvents>();
  readonly #connection: Connection;
  readonly #requests: Requests;

  constructor(options: AdminOptions) {
    const timers = options.timers ?? systemTimers;
    this.#connection = new Connection(
      {
        url: options.url,
        path: options.path ?? "/socket.io/",
        namespace: "/admin",
        transports: options.transports ?? ["websocket", "polling"],
        backoff: options.backoff ?? backoffDefault,
        connectTimeoutMs,
        timers,
        tokens: new TokenSource(options),
      },
      {
        auth: () => ({}),
        onState: (state) => this.#events.emit("state", state),
        onConnected: () => undefined,
        onDisconnected: () => {
          this.#requests.failAll(new ParleyError("disconnected", "The connection was lost"));
        },
      },
    );
    this.#requests = new Requests(() => this.#connection.socket, timers, requestTimeoutMs);
  }

  /** Begins to connect. `connectAdmin` has called it. */
  open(): void {
    this.#connection.open();
  }

  get state(): ConnectionState {
    return this.#connection.state;
  }

  /** Calls `listener` at each event until the returned function is called. */
  on<Name extends keyof AdminEvents>(name: Name, listener: (...values: AdminEvents[Name]) => void): () => void {
    return this.#events.on(name, listener);
  }

  /** Sends any JSON to every client, as `announcement`. Errors: rejects with `ParleyError`. */
  async announce(message: JsonValue): Promise<void> {
    await this.#requests.send("broadcast_announcement", message);
  }

  /** The node's present figures. Errors: rejects with `ParleyError`. */
  async statistics(): Promise<NodeStatistics> {
    const { statistics } = await this.#requests.send("statistics", {});
    return statistics;
  }

  /**
   * Ends the user's connections on all nodes; their software comes back by itself. Gives the number of those that were
   * closed on this node. Errors: rejects with `ParleyError`.
   */
  async kick(userId: string): Promise<number> {
    const { connections } = await this.#requests.send("kick", { userId });
    return connections;
  }

  /** As `kick`, and keeps the user out: no token is taken, old or new, until `unban`. */
  async ban(userId: string): Promise<number> {
    const { connections } = await this.#requests.send("ban", { userId });
    return connections;
  }

  /** The user may come back, with a new token: those from before the ban stay revoked. Errors: as `kick`. */
  async unban(userId: string): Promise<void> {
    await this.#requests.send("unban", { userId });
  }

  /**
   * Takes this node out of service: no more clients, and those there are move to other nodes. Resolves when that has
   * begun. The node stays, and so does this connection. Errors: as `kick`.
   */
  async drain(): Promise<void> {
    await this.#requests.send("drain", {});
  }

  /** Clients may come again. Errors: as `kick`. */
  async undrain(): Promise<void> {
    await this.#requests.send("undrain", {});
  }

  retryNow(): void {
    this.#connection.retryNow();
  }

  close(): void {
    this.#connection.close(new ParleyError("closed", "The client was closed"));
  }
}

/** Connects to the node's console as an administrator. Works in browsers and in Node. */
export function connectAdmin(options: AdminOptions = {}): AdminClient {
  const client = new AdminClient(options);
  client.open();
  return client;
}
