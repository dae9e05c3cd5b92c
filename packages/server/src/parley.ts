import type { Server as HttpServer } from "node:http";
import type { Server as HttpsServer } from "node:https";
import { eventNameSchema, type JsonValue, parse, RefusalError, reservedEvents } from "@parley/protocol";
import type { Server as SocketIoServer } from "socket.io";
import type { z } from "zod";
import { openNode, type OpenNode } from "./compose.ts";
import { type ConfigOverrides, type Mode, resolveConfig } from "./config.ts";
import { keepSecrets } from "./config-secrets.ts";
import type { AccessFunction } from "./core/access.ts";
import { systemClock } from "./core/clock.ts";
import type { Committed, Operations } from "./core/operations.ts";
import { type AuthenticateFunction, mintToken } from "./gateway/authenticate.ts";
import type { ClientSocket } from "./gateway/events.ts";
import { createLog, type Log } from "./log.ts";

/** What a Parley inside an app runs by: settings by their names (`docs/configuration.md`), and the app's own functions. */
export interface ParleyOptions extends Omit<ConfigOverrides, "access" | "log" | "server"> {
  /** `production` by default, which refuses to start without a secret (or `authenticate`, or `auth.jwksUrl`). */
  readonly mode?: Mode | undefined;
  /** `auth.secret` in short: what the tokens of users are signed with. At least 32 bytes. */
  readonly secret?: string | undefined;
  /** The app's own authentication, in the place of tokens. */
  readonly authenticate?: AuthenticateFunction | undefined;
  /** Who may do what in a room, in the place of stored memberships; or, as an object, with the settings of `access`. */
  readonly access?: AccessFunction | (ConfigOverrides["access"] & { readonly check?: AccessFunction }) | undefined;
  /** A pino logger of the app's, or the settings of `log`; JSON lines to stdout by default. */
  readonly log?: Log | ConfigOverrides["log"] | undefined;
}

/** Of a write: who else's tenant it is for, and a key under which a repeat commits nothing (LOG-3). */
export interface WriteOptions {
  readonly tenant?: string;
  readonly key?: string;
}

export interface TokenOptions {
  readonly roles?: readonly string[];
  readonly tenant?: string;
  /** One hour by default. */
  readonly expiresInSeconds?: number;
}

type PositionalOperations = "notifyUser" | "publish" | "announce" | "accessChanged";

/** A Parley inside an app's own process. Its methods need no `this`. */
export interface Parley extends Omit<Operations, PositionalOperations>, AsyncDisposable {
  /** Calls `listener` for each client that is let in to `/`, until the returned function is called. */
  on(event: "connection", listener: (client: ClientSocket) => unknown): () => void;
  /**
   * Answers the app's own `event` on `/`, until the returned function is called. `payload` has passed `schema`; what the
   * handler gives is acknowledged as `{ok: true, result}`. A `RefusalError` that it throws is acknowledged with its
   * code, anything else as `internal`, and logged. Events count against the client's rate limits as all others do.
   * Errors: throws `RefusalError` for a name that Parley or Socket.IO uses (`reserved_event`), or that has a handler
   * (`already_exists`).
   */
  on<Schema extends z.ZodType>(
    event: string,
    schema: Schema,
    handler: (payload: z.output<Schema>, client: ClientSocket) => unknown,
  ): () => void;
  /**
   * Serves `/socket.io/` on the app's own server; all other paths stay the app's. May be called for several servers.
   * Errors: throws after `close`.
   */
  attach(server: HttpServer | HttpsServer): void;
  /**
   * A real Socket.IO server for the app's own namespaces, on the connections that Parley serves; made when first asked
   * for. `/` and `/admin` are not its. With a bus in Redis (`bus.url`) its rooms, `fetchSockets`, `serverSideEmit` and
   * the like reach all nodes; what they send while Redis is away reaches this node alone.
   */
  readonly io: SocketIoServer;
  /** Durable: a user who is offline gets `event` on return, once. */
  readonly notifyUser: (userId: string, event: string, data: JsonValue, options?: WriteOptions) => Promise<Committed>;
  /** Appends the app's own event to a room; its subscribers get `event` with `data`, then `{id, seq, at}`. */
  readonly publish: (roomId: string, event: string, data: JsonValue, options?: WriteOptions) => Promise<Committed>;
  /** To every client of the tenant, as `announcement`. */
  readonly announce: (message: JsonValue, options?: WriteOptions) => Promise<Committed>;
  readonly access: {
    /** The app's policy would answer otherwise now: asked again at once for this user, in this room or in all. */
    changed(userId: string, roomId?: string, options?: { readonly tenant?: string }): Promise<void>;
  };
  /** A token that this Parley accepts. Errors: rejects when there is no secret to sign with. */
  createToken(userId: string, options?: TokenOptions): Promise<string>;
  /** Opens the internal port: admin page, HTTP API, metrics, health. `close` closes it, too. */
  openInternal(): Promise<{ readonly url: string } & AsyncDisposable>;
  /**
   * Finishes what was acknowledged or is under way, closes every connection and the store. The app's servers stay the
   * app's to close, before or after. Harmless when repeated.
   */
  close(): Promise<void>;
}

/**
 * Opens the store and starts a node inside this process; `attach` gives it clients. Reads no environment.
 * Errors: rejects with `ConfigError`, `StoreLocked` or `StoreUnusable`, which name the setting, and leaves nothing open.
 */
export async function createParley(options: ParleyOptions = {}): Promise<Parley> {
  const { config, adminSecret } = keepSecrets(
    resolveConfig({
      mode: options.mode,
      overrides: overridesOf(options),
      ownAuthentication: options.authenticate !== undefined,
    }),
  );
  const log = isLog(options.log) ? options.log : createLog(config.log);
  const { authenticate } = options;
  const open = await openNode(config, { log, adminSecret, authenticate, access: accessFunctionOf(options) });
  return embed(open, log);
}

function overridesOf(options: ParleyOptions): ConfigOverrides {
  const { mode: _mode, authenticate: _authenticate, secret, access, log, ...settings } = options;
  const auth = { ...settings.auth, ...(secret === undefined ? {} : { secret }) };
  if (typeof access === "function" || access === undefined) {
    return { ...settings, auth, ...(isLog(log) ? {} : { log }) };
  }
  const { check: _check, ...accessSettings } = access;
  return { ...settings, auth, access: accessSettings, ...(isLog(log) ? {} : { log }) };
}

function accessFunctionOf({ access }: ParleyOptions): AccessFunction | undefined {
  return typeof access === "function" ? access : access?.check;
}

function isLog(log: ParleyOptions["log"]): log is Log {
  return log !== undefined && "info" in log;
}

function embed(open: OpenNode, log: Log): Parley {
  const { operations, gateway, config } = open;
  const opened = new AsyncDisposableStack();
  opened.use(open);
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => (closing ??= closeInOrder(open, opened));
  const refuseClosed = (): void => {
    if (closing !== undefined) throw new RefusalError("shutting_down", "this Parley was closed");
  };
  return {
    ...operations,
    on: createOn(open, log),
    attach: (server) => {
      refuseClosed();
      gateway.attach(server);
    },
    get io() {
      return open.io;
    },
    notifyUser: (userId, event, data, options) => operations.notifyUser({ ...options, userId, event, data }),
    publish: (roomId, event, data, options) => operations.publish({ ...options, roomId, event, data }),
    announce: (message, options) => operations.announce({ ...options, message }),
    access: {
      changed: (userId, roomId, options) =>
        operations.accessChanged({ ...options, userId, ...(roomId === undefined ? {} : { roomId }) }),
    },
    createToken: (userId, { expiresInSeconds = 3_600, ...options } = {}) =>
      mintToken(config.auth, systemClock, { ...options, userId, lifetimeSeconds: expiresInSeconds }),
    openInternal: async () => {
      refuseClosed();
      return opened.use(await open.openInternal());
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

// Why in this order: connections end before the servers wait for theirs, and the store closes last.
async function closeInOrder(open: OpenNode, opened: AsyncDisposableStack): Promise<void> {
  await open.drain();
  await opened.disposeAsync();
}

function createOn({ ownEvents, connectionListeners }: OpenNode, log: Log): Parley["on"] {
  function on(event: "connection", listener: (client: ClientSocket) => unknown): () => void;
  function on<Schema extends z.ZodType>(
    event: string,
    schema: Schema,
    handler: (payload: z.output<Schema>, client: ClientSocket) => unknown,
  ): () => void;
  function on(
    ...args:
      | [event: "connection", listener: (client: ClientSocket) => unknown]
      | [event: string, schema: z.ZodType, handler: (payload: unknown, client: ClientSocket) => unknown]
  ): () => void {
    if (args.length === 2) {
      const [, listener] = args;
      // Why caught: a listener of the app's that fails must neither end the process nor keep the next from being called.
      const listen = (client: ClientSocket): void => {
        const call = async (): Promise<unknown> => listener(client);
        call().catch((error: unknown) => log.error({ error }, "connection_listener_failed"));
      };
      connectionListeners.add(listen);
      return () => void connectionListeners.delete(listen);
    }
    const [event, schema, handler] = args;
    refuseName(ownEvents, event);
    const own = { schema, handle: handler };
    ownEvents.set(event, own);
    return () => {
      if (ownEvents.get(event) === own) ownEvents.delete(event);
    };
  }
  return on;
}

function refuseName(taken: ReadonlyMap<string, unknown>, event: string): void {
  const name = JSON.stringify(parse(eventNameSchema, event, "event"));
  if (reservedEvents.has(event)) {
    throw new RefusalError("reserved_event", `${name} is an event of Parley or Socket.IO; choose another name`);
  }
  if (taken.has(event)) throw new RefusalError("already_exists", `${name} has a handler already`);
}
