import { Manager, type Socket } from "socket.io-client";
import { isRecord, ParleyError, readRefusal } from "./errors.ts";
import { type Backoff, backoffMs, type Timers } from "./timers.ts";
import type { TokenSource } from "./token.ts";

/** `retryAtMs`: milliseconds since 1970. `error` says why there is no connection. */
export type ConnectionState =
  | { readonly state: "connecting" }
  | { readonly state: "connected" }
  | { readonly state: "waiting"; readonly retryAtMs: number; readonly attempt: number; readonly error: ParleyError }
  | { readonly state: "closed"; readonly verdict: ParleyError };

export type TransportName = "websocket" | "polling";

export interface ConnectionSettings {
  /** Origin of the server; undefined in a browser: the page's own. */
  readonly url: string | undefined;
  readonly path: string;
  readonly namespace: "/" | "/admin";
  readonly transports: readonly TransportName[];
  readonly backoff: Backoff;
  /** From the begin of an attempt, the token's fetching included, until the server admits the client. */
  readonly connectTimeoutMs: number;
  readonly timers: Timers;
  readonly tokens: TokenSource;
}

export interface ConnectionOwner {
  /** What goes to the server beside the token, asked for at each attempt. */
  auth(): object;
  /** A socket was made: called before it connects, and while another one may still be in use. */
  listen?(socket: Socket): void;
  onState(state: ConnectionState): void;
  onConnected(): void;
  /** Another socket has taken over, without a moment between. Resolves when `before` is not needed any more. */
  onMoved?(before: Socket): Promise<void>;
  /** Once for each `onConnected`. */
  onDisconnected(): void;
}

// A connection that lasts less did not prove that the server is well; its end continues the backoff.
const stableAfterMs = 5_000;
const refusedTokensMax = 3;
const tokenCodes: ReadonlySet<string> = new Set(["token_expired", "token_revoked", "unauthorized"]);

// A browser's window says when the network is back; Node has nothing of the kind.
const globalScope: unknown = globalThis;
const networkEvents = globalScope instanceof EventTarget ? globalScope : undefined;

/**
 * One namespace of one server, connected again and again until a verdict or `close`. Not left to the stock manager,
 * which neither says when it will try, nor comes back after a CONNECT_ERROR.
 */
export class Connection {
  #socket: Socket;
  /** The one that is to take over. */
  #next: Socket | undefined;
  readonly #settings: ConnectionSettings;
  readonly #owner: ConnectionOwner;
  #state: ConnectionState = { state: "connecting" };
  #token: string | undefined;
  /** Counts attempts, so that what belongs to an abandoned one is not heard. */
  #generation = 0;
  #failures = 0;
  #refusedTokens = 0;
  #connectedAtMs: number | undefined;
  /** The last error that came as an event of its own: the reason, when the server disconnects next. */
  #lastError: ParleyError | undefined;
  #cancelTimer: () => void = () => undefined;
  #cancelMoveTimer: () => void = () => undefined;
  readonly #onOnline = (): void => this.retryNow();

  constructor(settings: ConnectionSettings, owner: ConnectionOwner) {
    this.#settings = settings;
    this.#owner = owner;
    this.#socket = this.#createSocket();
    this.#listen(this.#socket);
  }

  /** The socket of the present connection, or of the last one. Another may take its place. */
  get socket(): Socket {
    return this.#socket;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  get connected(): boolean {
    return this.#state.state === "connected" && this.socket.connected;
  }

  open(): void {
    networkEvents?.addEventListener("online", this.#onOnline);
    void this.#attempt();
  }

  /** Ends a wait; does nothing in other states. */
  retryNow(): void {
    if (this.#state.state === "waiting") void this.#attempt();
  }

  /** Leaves the server at once and comes back by itself. */
  reconnect(error: ParleyError): void {
    if (this.#state.state !== "connected") return;
    this.#leave();
    this.#wait(error);
  }

  close(verdict: ParleyError): void {
    if (this.#state.state === "closed") return;
    this.#generation += 1;
    networkEvents?.removeEventListener("online", this.#onOnline);
    this.#leave();
    this.#enter({ state: "closed", verdict });
  }

  /**
   * The server is about to go: another connection takes over before this one ends, so that nothing pauses. Tried until
   * it succeeds or this one ends.
   */
  move(): void {
    if (this.#state.state !== "connected" || this.#next !== undefined) return;
    const next = this.#createSocket();
    this.#next = next;
    const again = (): void => {
      if (this.#next !== next) return;
      this.#abandonMove();
      const { timers, backoff } = this.#settings;
      this.#cancelMoveTimer = timers.after(backoffMs(backoff, 0, timers.random()), () => this.move());
    };
    next.on("connect", () => this.#takeOver(next));
    next.on("connect_error", again);
    next.on("disconnect", again);
    this.#cancelMoveTimer = this.#settings.timers.after(this.#settings.connectTimeoutMs, again);
    this.#settings.tokens.current().then(
      (token) => {
        if (this.#next !== next) return;
        this.#token = token;
        next.connect();
      },
      () => again(),
    );
  }

  #takeOver(next: Socket): void {
    if (this.#next !== next) return;
    const before = this.#socket;
    this.#cancelMoveTimer();
    this.#next = undefined;
    for (const event of ["connect", "connect_error", "disconnect"]) next.off(event);
    this.#socket = next;
    this.#listen(next);
    this.#connectedAtMs = this.#settings.timers.now();
    // Why not at once: what was asked for on it is answered there.
    void Promise.resolve(this.#owner.onMoved?.(before)).finally(() => before.disconnect());
  }

  #abandonMove(): void {
    this.#cancelMoveTimer();
    const next = this.#next;
    this.#next = undefined;
    next?.disconnect();
  }

  async #attempt(): Promise<void> {
    this.#generation += 1;
    const generation = this.#generation;
    let fetching = true;
    this.#startTimer(this.#settings.connectTimeoutMs, () => {
      this.#generation += 1;
      if (fetching) this.#settings.tokens.discard();
      this.#leave();
      this.#wait(new ParleyError("timed_out", "The server did not answer in time"));
    });
    this.#enter({ state: "connecting" });
    try {
      const token = await this.#settings.tokens.current();
      if (generation !== this.#generation) return;
      fetching = false;
      this.#token = token;
      this.#socket.connect();
    } catch (error) {
      if (generation !== this.#generation) return;
      this.#wait(new ParleyError("token_unavailable", `getToken failed: ${String(error)}`));
    }
  }

  #auth(): object {
    const auth = this.#owner.auth();
    return this.#token === undefined ? auth : { ...auth, token: this.#token };
  }

  #createSocket(): Socket {
    const { url, path, transports, namespace, timers } = this.#settings;
    const options = {
      path,
      // Why: a balancer keeps the requests of one polling connection together by it.
      query: { key: timers.random().toString(36).slice(2) },
      transports: [...transports],
      tryAllTransports: true,
      reconnection: false,
      autoConnect: false,
    };
    const manager = url === undefined ? new Manager(options) : new Manager(url, options);
    // Why: an attempt is timed as a whole, on the injected timers.
    manager.timeout(false);
    const socket = manager.socket(namespace, { auth: (give) => give(this.#auth()) });
    this.#owner.listen?.(socket);
    return socket;
  }

  /** Follows what becomes of the socket in use. */
  #listen(socket: Socket): void {
    socket.on("connect", () => {
      this.#cancelTimer();
      this.#connectedAtMs = this.#settings.timers.now();
      this.#refusedTokens = 0;
      this.#lastError = undefined;
      // Why in this order: who hears of the new state finds the rooms resumed, and does not ask for them again.
      this.#state = { state: "connected" };
      this.#owner.onConnected();
      this.#owner.onState(this.#state);
    });
    socket.on("connect_error", (error) => {
      // Why `active`: after a CONNECT_ERROR the stock socket has given up; after a failed transport it has not.
      if (socket.active) this.#wait(new ParleyError("unreachable", error.message));
      else this.#judge(readConnectError(error));
    });
    socket.on("error", (error: unknown) => {
      // Why: one that names an event refused that event alone.
      if (isRecord(error) && error["event"] === undefined) this.#lastError = readRefusal(error);
    });
    socket.on("disconnect", (reason) => {
      if (socket !== this.#socket) return;
      this.#abandonMove();
      this.#ended();
      // Why: a disconnect of our own is followed by the state that it was made for.
      if (reason === "io client disconnect") return;
      // Not only when connected: a server that cannot admit a client now closes its transport.
      const ending = this.#lastError;
      if (reason === "io server disconnect") {
        this.#judge(ending ?? new ParleyError("refused", "The server ended the connection"));
      } else if (ending !== undefined && tokenCodes.has(ending.code)) {
        this.#judge(ending);
      } else {
        this.#wait(new ParleyError("disconnected", `The connection was lost (${reason})`));
      }
    });
  }

  /** What follows from a refusal: a fresh token, another try later, or the end. */
  #judge(error: ParleyError): void {
    const { tokens } = this.#settings;
    if (tokens.renewable && tokenCodes.has(error.code) && this.#refusedTokens < refusedTokensMax) {
      tokens.discard();
      this.#refusedTokens += 1;
      // Why at once: the first refusal says only that the token was old.
      if (this.#refusedTokens === 1) void this.#attempt();
      else this.#wait(error);
    } else if (error.retry === "later") {
      this.#wait(error);
    } else {
      this.close(error);
    }
  }

  #wait(error: ParleyError): void {
    const { timers, backoff } = this.#settings;
    const attempt = this.#failures;
    this.#failures += 1;
    const waitMs = Math.max(error.retryAfterMs ?? 0, backoffMs(backoff, attempt, timers.random()));
    this.#startTimer(waitMs, () => void this.#attempt());
    this.#enter({ state: "waiting", retryAtMs: timers.now() + waitMs, attempt, error });
  }

  /** Ends what there is of a connection; the stock socket reports it only when it was connected. */
  #leave(): void {
    this.#cancelTimer();
    this.#abandonMove();
    this.#socket.disconnect();
  }

  #ended(): void {
    // Why: what was emitted meanwhile would be sent again by itself, beside the outbox.
    this.#socket.sendBuffer = [];
    if (this.#connectedAtMs === undefined) return;
    if (this.#settings.timers.now() - this.#connectedAtMs >= stableAfterMs) this.#failures = 0;
    this.#connectedAtMs = undefined;
    this.#owner.onDisconnected();
  }

  #startTimer(ms: number, callback: () => void): void {
    this.#cancelTimer();
    this.#cancelTimer = this.#settings.timers.after(ms, callback);
  }

  #enter(state: ConnectionState): void {
    this.#state = state;
    this.#owner.onState(state);
  }
}

// The code travels as data; a server that gives none has refused all the same.
function readConnectError(error: Error): ParleyError {
  const data: unknown = "data" in error ? error.data : undefined;
  return readRefusal(data) ?? new ParleyError("refused", error.message);
}
