import { io, type ManagerOptions, type Socket, type SocketOptions } from "socket.io-client";

export interface Reply {
  readonly ok: boolean;
  readonly error?: { readonly code: string; readonly message: string; readonly retryAfterMs?: number };
  readonly [field: string]: unknown;
}

/** What a client got, in order: events with their arguments, and its own `connect`, `connect_error` and `disconnect`. */
export interface Received {
  readonly event: string;
  readonly args: readonly unknown[];
}

const limitMs = 20_000;

/** The stock `socket.io-client` of one user, with a record of all that it got. */
export class UserClient implements Disposable {
  readonly socket: Socket;
  readonly received: Received[] = [];
  readonly #listeners = new Set<() => void>();

  /** `path` is `/` or a namespace. Comes back at once when its transport closes, as often as it must. */
  constructor(url: string, auth: object, options: Partial<ManagerOptions & SocketOptions> = {}) {
    this.socket = io(url, {
      auth: { ...auth },
      forceNew: true,
      transports: ["websocket"],
      reconnectionDelay: 1,
      reconnectionDelayMax: 20,
      ...options,
    });
    const { socket } = this;
    socket.onAny((event: string, ...args: unknown[]) => this.#note(event, args));
    socket.on("connect", () => this.#note("connect", [socket.recovered]));
    socket.on("disconnect", (reason) => this.#note("disconnect", [reason]));
    socket.on("connect_error", (error) => {
      // A transport that failed is tried again by the client; a verdict has data.
      this.#note("connect_error", [error.message, "data" in error ? error.data : undefined]);
    });
  }

  /** Resolves when it is connected. Errors: rejects when it is refused. */
  static async connect(
    url: string,
    auth: object,
    options?: Partial<ManagerOptions & SocketOptions>,
  ): Promise<UserClient> {
    const client = new UserClient(url, auth, options);
    const first = await client.got(/^connect(_error)?$/);
    if (first.event === "connect") return client;
    client.socket.disconnect();
    throw new Error(`connect_error: ${JSON.stringify(first.args)}`);
  }

  /** The first event that matches, also one that came before the call. Errors: rejects after 20 s. */
  async got(event: string | RegExp, matches: (...args: readonly unknown[]) => boolean = () => true): Promise<Received> {
    const find = (): Received | undefined =>
      this.received.find(
        (one) => (typeof event === "string" ? one.event === event : event.test(one.event)) && matches(...one.args),
      );
    const { promise, resolve, reject } = Promise.withResolvers<Received>();
    const late = (): void =>
      reject(new Error(`waited ${limitMs} ms for ${String(event)}; got ${JSON.stringify(this.received)}`));
    const limit = setTimeout(late, limitMs);
    const look = (): void => {
      const found = find();
      if (found !== undefined) resolve(found);
    };
    this.#listeners.add(look);
    look();
    try {
      return await promise;
    } finally {
      clearTimeout(limit);
      this.#listeners.delete(look);
    }
  }

  /** The arguments of each event of this name, so far. */
  all(event: string): readonly (readonly unknown[])[] {
    return this.received.filter((one) => one.event === event).map(({ args }) => args);
  }

  /** Texts of the messages that came live, so far. */
  get texts(): readonly unknown[] {
    return this.all("new_message").map(([message]) => field(message, "text"));
  }

  /** Drops the record. */
  forget(): void {
    this.received.length = 0;
  }

  /** Errors: rejects when the server does not answer in 20 s. */
  request(event: string, ...payload: unknown[]): Promise<Reply> {
    return this.socket.timeout(limitMs).emitWithAck(event, ...payload);
  }

  /** Resolves when all that the server had decided to send before has come. */
  async settle(): Promise<void> {
    await this.request("leave_room", "a room that nobody has joined");
  }

  /** Cuts the transport as a lost network does, under the client's feet; it then comes back. */
  cut(): void {
    this.socket.io.engine.close();
  }

  [Symbol.dispose](): void {
    this.socket.disconnect();
  }

  #note(event: string, args: readonly unknown[]): void {
    this.received.push({ event, args });
    for (const listener of this.#listeners) listener();
  }
}

/** A field of what came, undefined where there is none. */
export function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}
