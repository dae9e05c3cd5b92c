import {
  type ClientEventName,
  clientEvents,
  connectAuthSchema,
  eventNameSchema,
  jsonSchema,
  type JsonValue,
  parse,
  RefusalError,
  reservedEvents,
} from "@parley/protocol";
import type { z } from "zod";
import type { RequestRates, TokenBucket } from "../core/rate-limit.ts";
import { logId } from "../core/log.ts";
import type { ConnectResult, ParleyNode } from "../core/node.ts";
import type { Session } from "../core/session.ts";
import { Admission, authenticated, refusalOf, refuseLate, refuseRevoked, verdictOf } from "./admission.ts";
import type { Authenticator } from "./authenticate.ts";
import type { CloseReason, User } from "./connection.ts";
import type {
  ConnectRequest,
  ConnectVerdict,
  Log,
  NamespaceClient,
  NamespaceHandler,
  NamespaceSocket,
  Reply,
} from "./namespace.ts";

/** The app's own event on `/`: `payload` has passed its schema. What the handler gives is acknowledged as `{ok: true, result}`. */
export interface OwnEvent {
  readonly schema: z.ZodType;
  handle(payload: unknown, client: ClientSocket): unknown;
}

/** One client on `/`, as the app's own code sees it. */
export interface ClientSocket {
  /** Who it is now: its token may be refreshed. */
  readonly user: User;
  readonly socketId: string;
  /**
   * Sends an event to this socket alone; it is neither stored nor repeated, and lost when the client is away.
   * Errors: throws `RefusalError` `reserved_event` or `bad_request`.
   */
  emit(event: string, data: JsonValue): void;
}

/** What the edge counts. */
export interface EventCounts {
  request(event: string, outcome: string): void;
  recovery(result: ConnectResult): void;
}

export interface RootOptions {
  readonly node: ParleyNode;
  readonly authenticate: Authenticator;
  readonly rates: RequestRates;
  /** By name. Grows as the app registers its events. */
  readonly ownEvents: ReadonlyMap<string, OwnEvent>;
  readonly counts: EventCounts;
  readonly log: Log;
  /** A client was let in: the app's own `connection` listeners. */
  onConnected(client: ClientSocket): void;
}

/** Namespace `/`: rooms, messages, and the app's own events. */
export function rootNamespace(options: RootOptions): NamespaceHandler {
  const admission = new Admission();
  return { connect: (request) => connect(options, admission, request) };
}

async function connect(options: RootOptions, admission: Admission, request: ConnectRequest): Promise<ConnectVerdict> {
  const { node, log } = options;
  try {
    const auth = parse(connectAuthSchema, request.auth, "auth");
    const { revocations } = node.lostRights;
    const user = await authenticated(options.authenticate, node, request);
    const connected = await admission.pass(request, () => node.connect(user, request.connection, auth));
    if (node.lostRights.revocations !== revocations) await refuseLate(node, connected, request.connection);
    const { session, result } = connected;
    options.counts.recovery(result);
    log("connected", { socket: session.id, user: user.id, tenant: user.tenant, result });
    return {
      kind: "accepted",
      sid: session.id,
      pid: session.pid,
      socket: new RootSocket(options, session, request.client),
    };
  } catch (error) {
    return verdictOf(error, request, log);
  }
}

type Acknowledgement = { readonly ok: true } & Readonly<Record<string, unknown>>;

/** What an event does: at once, or after the right to it was found out, for which later events wait. */
interface Started {
  readonly admitted: Promise<void> | undefined;
  readonly done: Promise<Acknowledgement> | Acknowledgement;
}

/** One client on `/`. */
class RootSocket implements NamespaceSocket {
  readonly options: RootOptions;
  readonly session: Session;
  readonly #client: NamespaceClient;
  readonly #bucket: TokenBucket;

  constructor(options: RootOptions, session: Session, client: NamespaceClient) {
    this.options = options;
    this.session = session;
    this.#client = client;
    this.#bucket = options.rates.bucket();
  }

  opened(): void {
    this.session.open();
    this.options.onConnected(this.#asClient());
  }

  write(frames: readonly Buffer[]): void {
    this.session.emitAll(frames);
  }

  onPinged(): void {
    if (this.#serves()) this.session.onPinged();
  }

  onAnswered(): void {
    if (this.#serves()) this.session.onAnswered();
  }

  onDisconnected(reason: CloseReason | "client_left"): void {
    const { node, log } = this.options;
    log("disconnected", { socket: this.session.id, user: this.session.user.id, reason });
    node.disconnected(this.session, this.#client.connection, reason === "client_left");
  }

  onEvent([name, ...args]: unknown[], reply: Reply | null): void | Promise<void> {
    const event = String(name);
    const answer = new Answer(this, event, reply);
    try {
      this.options.rates.take(this.#bucket, this.session.user);
      const { admitted, done } = this.#start(event, args);
      // Why caught after the answer, too: what the app's handler gave may have no form on the wire.
      if (done instanceof Promise)
        done.then((value) => answer.give(value)).catch((error: unknown) => answer.refuse(error));
      else answer.give(done);
      return admitted;
    } catch (error) {
      answer.refuse(error);
    }
  }

  emit(event: string, ...args: unknown[]): void {
    this.#client.emit(event, ...args);
  }

  disconnect(reason: CloseReason): void {
    this.#client.disconnect(reason);
  }

  /** False once the session went on with another connection. */
  #serves(): boolean {
    return this.session.connection === this.#client.connection;
  }

  #start(event: string, args: readonly unknown[]): Started {
    if (args.length > 1) throw new RefusalError("bad_request", `${event} takes one argument, and an acknowledgement`);
    const [payload] = args;
    if (isClientEvent(event)) return handlers[event](this, payload);
    const own = this.options.ownEvents.get(event);
    if (own === undefined)
      throw new RefusalError(
        "unknown_event",
        `there is no event ${JSON.stringify(event.slice(0, 64))}; an app adds its own with parley.on(event, schema, handler)`,
      );
    return { admitted: undefined, done: this.#runOwn(own, parse(own.schema, payload, event)) };
  }

  async #runOwn(own: OwnEvent, payload: unknown): Promise<Acknowledgement> {
    const result = await own.handle(payload, this.#asClient());
    return result === undefined ? { ok: true } : { ok: true, result };
  }

  #asClient(): ClientSocket {
    const { session } = this;
    return {
      get user() {
        return session.user;
      },
      socketId: session.id,
      emit: (event, data) => this.#emitOwn(event, data),
    };
  }

  #emitOwn(event: string, data: JsonValue): void {
    const name = parse(eventNameSchema, event, "event");
    if (reservedEvents.has(name))
      throw new RefusalError("reserved_event", `${JSON.stringify(name)} is an event of Parley or Socket.IO`);
    const checked = parse(jsonSchema, data, "data");
    // Why: a stock client takes a text at the end of an event for the place from which it recovers.
    this.emit(name, checked, ...(typeof checked === "string" ? [null] : []));
  }
}

/** The one answer to an event: its acknowledgement, or for an event without one, `error` when it was refused. */
class Answer {
  readonly #socket: RootSocket;
  readonly #event: string;
  readonly #reply: Reply | null;

  constructor(socket: RootSocket, event: string, reply: Reply | null) {
    this.#socket = socket;
    this.#event = event;
    this.#reply = reply;
  }

  give(value: Acknowledgement): void {
    this.#reply?.(value);
    this.#socket.options.counts.request(countedName(this.#event), "ok");
  }

  refuse(thrown: unknown): void {
    const { options } = this.#socket;
    const error = refusalOf(thrown, options.log);
    options.counts.request(countedName(this.#event), error.code);
    if (this.#reply === null) this.#socket.emit("error", { ...error, event: this.#event.slice(0, 64) });
    else this.#reply({ ok: false, error });
  }
}

/** Why: a metric must not have a label for every name that a client thinks of. */
function countedName(event: string): string {
  return isClientEvent(event) ? event : "other";
}

function isClientEvent(event: string): event is ClientEventName {
  return Object.hasOwn(clientEvents, event);
}

type Handler = (socket: RootSocket, payload: unknown) => Started;

function on<Schema extends z.ZodType>(
  schema: Schema,
  name: string,
  handle: (socket: RootSocket, payload: z.output<Schema>) => Started,
): Handler {
  return (socket, payload) => handle(socket, parse(schema, payload, name));
}

/** Waits before it is done, and so do later events of the connection: for joins, pages and the like. */
function inTurn(done: Promise<Acknowledgement>): Started {
  return { admitted: done.then(ignore, ignore), done };
}

function ignore(): void {}

function roomIdOf(payload: string | { readonly roomId: string }): string {
  return typeof payload === "string" ? payload : payload.roomId;
}

const handlers: Readonly<Record<ClientEventName, Handler>> = {
  join_room: on(clientEvents.join_room, "join_room", ({ options, session }, payload) => {
    const request = typeof payload === "string" ? { roomId: payload } : payload;
    const join = async (): Promise<Acknowledgement> => ({
      ok: true,
      ...(await options.node.rooms.join(session, request)),
    });
    return inTurn(join());
  }),

  leave_room: on(clientEvents.leave_room, "leave_room", ({ options, session }, payload) => {
    const roomId = roomIdOf(payload);
    const left: Acknowledgement = { ok: true, roomId };
    const kept = options.node.rooms.leave(session, roomId);
    return kept === undefined ? { admitted: undefined, done: left } : inTurn(kept.then(() => left));
  }),

  send_message: on(clientEvents.send_message, "send_message", ({ options, session }, message) => {
    const { rooms } = options.node;
    const send = async (): Promise<Acknowledgement> => {
      const { id, seq } = await rooms.send(session.user, message);
      return { ok: true, id, seq };
    };
    const admitted = rooms.admit(session.user, message.roomId, "send");
    if (admitted === undefined) return { admitted, done: send() };
    const done = admitted.then(send);
    return { admitted: admitted.catch(ignore), done };
  }),

  room_history: on(clientEvents.room_history, "room_history", ({ options, session }, range) => {
    const { rooms } = options.node;
    const read = async (): Promise<Acknowledgement> => {
      const page = await rooms.history(session, range);
      return { ok: true, messages: page.messages, head: page.head, epoch: page.epoch, more: page.more };
    };
    return inTurn(read());
  }),

  typing: on(clientEvents.typing, "typing", ({ options, session }, { roomId }) => {
    const { rooms, signals } = options.node;
    const tell = (): Acknowledgement => {
      signals.typing(session, roomId);
      return { ok: true };
    };
    const admitted = rooms.admit(session.user, roomId, "send");
    if (admitted === undefined) return { admitted, done: tell() };
    return inTurn(admitted.then(tell));
  }),

  presence: on(clientEvents.presence, "presence", ({ options, session }, { roomId }) => {
    const { rooms, presence } = options.node;
    const look = async (): Promise<Acknowledgement> => {
      await rooms.admit(session.user, roomId, "read");
      return { ok: true, roomId, ...(await presence.in(logId(session.user.tenant, roomId))) };
    };
    return inTurn(look());
  }),

  refresh_token: on(clientEvents.refresh_token, "refresh_token", ({ options, session }, { token }) =>
    inTurn(refreshToken(options, session, token)),
  ),
};

async function refreshToken(
  { authenticate, node }: RootOptions,
  session: Session,
  token: string,
): Promise<Acknowledgement> {
  const handshake = { address: "", url: "", headers: {}, secure: false, at: node.clock.now() };
  const result = await authenticate({ handshake, namespace: "/", auth: { token } });
  if (!result.ok) throw new RefusalError(result.code, result.message);
  await refuseRevoked(node, result.user);
  const { user } = result;
  if (user.id !== session.user.id || user.tenant !== session.user.tenant) {
    throw new RefusalError("forbidden", "the fresh token is another user's; connect anew for another user");
  }
  node.renew(session, user);
  return { ok: true, expiresAt: user.expiresAt === null ? null : new Date(user.expiresAt).toISOString() };
}
