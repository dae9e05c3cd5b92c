import { createClient, ErrorReply } from "redis";
import type { Clock } from "../core/clock.ts";

export interface RedisAddress {
  readonly host: string;
  readonly port: number;
}

/** How one server is entered. `tls` null: plain TCP. */
export interface RedisLogin {
  readonly username: string | undefined;
  readonly password: string | undefined;
  /** `ca`: certificates of authorities in PEM; undefined: those that Node knows. */
  readonly tls: { readonly ca: string | undefined } | null;
}

export interface ConnectionEvents {
  onMessage(channel: string, message: Buffer): void;
  /** A slot went elsewhere. The server holds this channel's subscription no longer; null: it took no message. */
  onMoved(channel: string | null): void;
  /** Once, unless it was closed from here. */
  onLost(cause: unknown): void;
}

/** A server that does not answer in time counts as gone. */
const answerMs = 1_500;
const connectMs = 2_000;
const probeEveryMs = 400;
/** Bytes published and not answered; beyond, messages are dropped. */
const unansweredBytesMax = 8_388_608;

/** Redis has not answered in time. */
class NoAnswerError extends Error {
  override readonly name = "NoAnswerError";
}

function newClient({ host, port }: RedisAddress, { username, password, tls }: RedisLogin) {
  const socket = { host, port, reconnectStrategy: false as const, connectTimeout: connectMs };
  return createClient({
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    socket: tls === null ? socket : { ...socket, tls: true, ...(tls.ca === undefined ? {} : { ca: tls.ca }) },
    name: "parley",
    // Why: a timer for each message would cost more than the message; `command` has one of its own.
    commandOptions: { timeout: 0 },
    disableOfflineQueue: true,
    disableClientInfo: true,
    maintNotifications: "disabled",
  });
}

/**
 * One TCP connection to one Redis server. It never reconnects: whoever owns it opens another, so that each
 * subscription is made, paced and confirmed in one place.
 */
export class RedisConnection {
  readonly address: RedisAddress;
  readonly #client: ReturnType<typeof newClient>;
  readonly #clock: Clock;
  readonly #events: ConnectionEvents;
  readonly #listen = (message: Buffer, channel: Buffer): void => {
    this.#heardAt = this.#clock.monotonic();
    this.#events.onMessage(channel.toString(), message);
  };
  #state: "opening" | "open" | "gone" = "opening";
  #heardAt = 0;
  #unansweredBytes = 0;
  /** Channels that the server has confirmed; null while that is changing. */
  #subscribed: number | null = 0;
  #cancelProbe: () => void = () => {};

  private constructor(address: RedisAddress, login: RedisLogin, clock: Clock, events: ConnectionEvents) {
    this.address = address;
    this.#clock = clock;
    this.#events = events;
    this.#client = newClient(address, login);
    this.#client.on("error", (error) => this.#lose(error));
    this.#client.on("terminated", (cause) => this.#lose(cause));
    this.#client.on("sharded-channel-moved", (channel: string) => {
      if (this.#subscribed !== null) this.#subscribed -= 1;
      this.#events.onMoved(channel);
    });
  }

  /** Errors: rejects with what the client says, or `NoAnswerError`; nothing is left open then. */
  static async open(
    address: RedisAddress,
    login: RedisLogin,
    clock: Clock,
    events: ConnectionEvents,
  ): Promise<RedisConnection> {
    const connection = new RedisConnection(address, login, clock, events);
    try {
      await inTime(connection.#client.connect(), connectMs, clock);
    } catch (error) {
      connection.close();
      throw error;
    }
    connection.#state = "open";
    connection.#probeLater();
    return connection;
  }

  /** Any command. Errors: rejects with the server's error, or when the connection is lost. */
  async command(words: readonly string[]): Promise<unknown> {
    return await inTime(this.#client.sendCommand([...words]), answerMs, this.#clock);
  }

  /** Errors: rejects when the login has no right to publish there (Redis says which one it lacks), or nothing answers. */
  async checkPublish(channel: string): Promise<void> {
    try {
      await this.command(["SPUBLISH", channel, ""]);
    } catch (error) {
      // Why the others do not count: in a cluster the channel may be another master's.
      if (!(error instanceof ErrorReply) || error.message.startsWith("NOPERM")) throw error;
    }
  }

  /** False: dropped, because the connection is gone or takes too little. A server that refuses it ends the connection. */
  publish(channel: string, message: Buffer): boolean {
    if (this.#state !== "open" || this.#unansweredBytes + message.length > unansweredBytesMax) return false;
    this.#unansweredBytes += message.length;
    this.#client.sendCommand(["SPUBLISH", channel, message]).then(
      () => {
        this.#unansweredBytes -= message.length;
      },
      (error: unknown) => {
        this.#unansweredBytes -= message.length;
        if (error instanceof ErrorReply && error.message.startsWith("MOVED ")) this.#events.onMoved(null);
        else this.#lose(error);
      },
    );
    return true;
  }

  /**
   * Resolves when the server has confirmed all of them. `oneCommand`: it takes channels of several slots at once.
   * Errors: rejects when it did not; then the connection is lost, too.
   */
  async change(subscribed: readonly string[], unsubscribed: readonly string[], oneCommand: boolean): Promise<void> {
    const before = this.#subscribed ?? 0;
    this.#subscribed = null;
    const subscriptions = batches(subscribed, oneCommand).map((batch) =>
      this.#client.sSubscribe(batch, this.#listen, true),
    );
    const ends = batches(unsubscribed, oneCommand).map((batch) => this.#client.sUnsubscribe(batch, this.#listen, true));
    try {
      await inTime(Promise.all([...subscriptions, ...ends]), connectMs, this.#clock);
    } catch (error) {
      this.#lose(error);
      throw error;
    }
    this.#subscribed = before + subscribed.length - unsubscribed.length;
  }

  close(): void {
    this.#state = "gone";
    this.#cancelProbe();
    this.#client.destroy();
  }

  #lose(cause: unknown): void {
    if (this.#state === "gone") return;
    const wasOpen = this.#state === "open";
    this.close();
    if (wasOpen) this.#events.onLost(cause);
  }

  #probeLater(): void {
    this.#cancelProbe = this.#clock.after(probeEveryMs, () => {
      void this.#probe();
    });
  }

  // Why not a plain PING: the answer also says how many channels the server believes to be subscribed.
  async #probe(): Promise<void> {
    const expected = this.#subscribed;
    const askedAt = this.#clock.monotonic();
    try {
      const found = subscriptionsIn(await this.command(["CLIENT", "INFO"]));
      const stable = expected !== null && expected === this.#subscribed;
      if (stable && found !== undefined && found !== expected)
        this.#lose(new Error(`${found} channels are subscribed in the place of ${expected}`));
    } catch (error) {
      if (!this.#isAlive(error, askedAt)) this.#lose(error);
    }
    if (this.#state === "open") this.#probeLater();
  }

  // Why: a refusal is an answer, too; and who delivers is there, however long that holds up its answer.
  #isAlive(error: unknown, askedAt: number): boolean {
    return error instanceof ErrorReply || (error instanceof NoAnswerError && this.#heardAt > askedAt);
  }
}

/** Undefined: the server does not tell (Redis before 7.0.3). */
function subscriptionsIn(info: unknown): number | undefined {
  const count = typeof info === "string" ? /\bssub=(\d+)/.exec(info)?.[1] : undefined;
  return count === undefined ? undefined : Number(count);
}

function batches(channels: readonly string[], oneCommand: boolean): string[][] {
  if (channels.length === 0) return [];
  return oneCommand ? [[...channels]] : channels.map((channel) => [channel]);
}

// Why the turn between: after a standstill of this process the timer is due before what has arrived was read.
function inTime<Found>(found: Promise<Found>, ms: number, clock: Clock): Promise<Found> {
  const { promise, resolve, reject } = Promise.withResolvers<Found>();
  const cancel = clock.after(ms, () =>
    clock.immediate(() => reject(new NoAnswerError(`Redis has not answered for ${ms} ms`))),
  );
  found.then(resolve, reject).finally(cancel);
  return promise;
}
