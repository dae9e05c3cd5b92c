import type {
  EntryMeta,
  JsonValue,
  Message,
  Position,
  Refusal,
  RoomClosedReason,
  ServerEvents,
} from "@parley/protocol";
import type { Socket } from "socket.io-client";
import { Connection, type ConnectionState, type TransportName } from "./connection.ts";
import { Emitter } from "./emitter.ts";
import { ParleyError, refusalError } from "./errors.ts";
import { Outbox, type OutboxBounds } from "./outbox.ts";
import type { OutboxStorage } from "./outbox-storage.ts";
import { announcementsLog, following, inboxPrefix, parseOffset, type Place } from "./position.ts";
import { Requests } from "./requests.ts";
import { type AppEvent, Room } from "./room.ts";
import { type Backoff, backoffMs, systemTimers, type Timers } from "./timers.ts";
import { TokenSource } from "./token.ts";

export interface ConnectOptions {
  /** Origin of the server, as `https://chat.example`. In a browser: the page's own by default. */
  readonly url?: string;
  /** Where Socket.IO is served; `/socket.io/` by default. */
  readonly path?: string;
  readonly token?: string;
  /** Asked when a token is needed: at first, before one expires, and after one was refused. Outranks `token`. */
  readonly getToken?: () => Promise<string>;
  /** What goes to the app's own `authenticate` beside the token. */
  readonly auth?: { readonly [field: string]: JsonValue };
  /** In order of preference; WebSocket first by default, which needs no sticky balancer. */
  readonly transports?: readonly TransportName[];
  /** Keeps unsent messages over a reload. */
  readonly storage?: OutboxStorage;
  /** 1,000 messages and 1 MiB by default. */
  readonly outbox?: Partial<OutboxBounds>;
  /** Waits between tries, of connections and of requests; 500 ms to 15 s by default. */
  readonly backoff?: Backoff;
  /** 20 s by default. */
  readonly connectTimeoutMs?: number;
  /** How long an acknowledgement may take; 10 s by default. */
  readonly requestTimeoutMs?: number;
  readonly timers?: Timers;
}

export interface Announcement extends EntryMeta {
  readonly message: JsonValue;
}

export interface ClientEvents {
  state: [state: ConnectionState];
  announcement: [announcement: Announcement];
  /** What an app's backend told this user with `notifyUser`. */
  notification: [event: AppEvent];
  /** Something failed that no call stands for; the client goes on. */
  error: [error: ParleyError];
}

const outboxBounds: OutboxBounds = { itemsMax: 1_000, bytesMax: 1_048_576 };
const backoffDefault: Backoff = { minMs: 500, maxMs: 15_000 };
// What the contract allows in one CONNECT.
const resumeRoomsMax = 1_000;
// Why: asked to continue from no position at all, the server says where the announcements stand now. Without that, a
// connection lost before the first announcement would not know what it missed.
const unknownPosition: Position = { epoch: "-", seq: 0 };

/** One user's connection to Parley, which comes back by itself, and the rooms on it. Made by `connect`. */
export class Client {
  readonly #events = new Emitter<ClientEvents>();
  readonly #rooms = new Map<string, Room>();
  /** The server's own logs for this user, and how far they were read. */
  readonly #reached = new Map<string, Position>([[announcementsLog, unknownPosition]]);
  readonly #timers: Timers;
  readonly #backoff: Backoff;
  readonly #auth: object;
  readonly #tokens: TokenSource;
  readonly #connection: Connection;
  readonly #requests: Requests;
  readonly #outbox: Outbox;
  #resumed: ReadonlySet<string> = new Set();
  #gapReconnectAt: string | undefined;
  #cancelTokenRetry: () => void = () => undefined;

  constructor(options: ConnectOptions) {
    this.#timers = options.timers ?? systemTimers;
    this.#backoff = options.backoff ?? backoffDefault;
    this.#auth = options.auth ?? {};
    this.#tokens = new TokenSource(options);
    const timers = this.#timers;
    const backoff = this.#backoff;
    this.#connection = new Connection(
      {
        url: options.url,
        path: options.path ?? "/socket.io/",
        namespace: "/",
        transports: options.transports ?? ["websocket", "polling"],
        backoff,
        connectTimeoutMs: options.connectTimeoutMs ?? 20_000,
        timers,
        tokens: this.#tokens,
      },
      {
        auth: () => this.#connectAuth(),
        listen: (socket) => this.#listen(socket),
        onState: (state) => this.#onState(state),
        onConnected: () => this.#onConnected(),
        onDisconnected: () => this.#onDisconnected(),
        onMoved: (before) => this.#onMoved(before),
      },
    );
    this.#requests = new Requests(() => this.#connection.socket, timers, options.requestTimeoutMs ?? 10_000);
    this.#outbox = new Outbox(this.#outboxOwner(), {
      timers,
      backoff,
      bounds: { ...outboxBounds, ...options.outbox },
      storage: options.storage,
    });
  }

  /** Begins to connect. `connect` has called it. */
  open(): void {
    void this.#outbox.load();
    this.#connection.open();
  }

  get state(): ConnectionState {
    return this.#connection.state;
  }

  /** Calls `listener` at each event until the returned function is called. */
  on<Name extends keyof ClientEvents>(name: Name, listener: (...values: ClientEvents[Name]) => void): () => void {
    return this.#events.on(name, listener);
  }

  /** The room by its id: always the same object. Nothing happens before `join` or `send`. */
  room(id: string): Room {
    let room = this.#rooms.get(id);
    if (room === undefined) {
      room = new Room(id, {
        requests: this.#requests,
        outbox: this.#outbox,
        timers: this.#timers,
        backoff: this.#backoff,
        connected: () => this.#connection.connected,
        verdict: () => (this.state.state === "closed" ? this.state.verdict : undefined),
      });
      this.#rooms.set(id, room);
    }
    return room;
  }

  /**
   * Asks the app's own server: an event that it added with `parley.on(event, schema, handler)`. Resolves with what the
   * handler returned; that it is a `Result` is the word of the caller, and not checked.
   * Errors: rejects with `ParleyError`: with the handler's coded refusal, `disconnected` at once when there is no
   * connection. It is sent once: `timed_out` and a connection lost meanwhile do not tell whether the handler ran.
   */
  call<Result = JsonValue | undefined>(event: string, payload: JsonValue): Promise<Result> {
    return this.#requests.own<Result>(event, payload);
  }

  /** Ends the wait for the next try to connect, as when a user asks for it or the network is back. */
  retryNow(): void {
    this.#connection.retryNow();
  }

  /** Ends everything for good. Unsent messages fail with `closed`, and stay in the storage, if there is one. */
  close(): void {
    this.#connection.close(new ParleyError("closed", "The client was closed"));
  }

  #outboxOwner(): ConstructorParameters<typeof Outbox>[0] {
    return {
      ready: (roomId) => {
        const subscription = this.#rooms.get(roomId)?.subscription;
        // Why: a room that is about to be joined may not be sent to before; one that is not followed may be.
        return this.#connection.connected && (subscription?.joined !== false || !subscription.wanted);
      },
      transmit: ({ createdAt: _createdAt, ...message }, onSent, onError) => {
        this.#requests.call("send_message", message, onSent, onError);
      },
      onChange: (message) => this.room(message.roomId).emit("outgoing", message),
      onError: (error) => this.#events.emit("error", error),
    };
  }

  #connectAuth(): object {
    const rooms = [...this.#rooms.values()].flatMap(({ id, subscription: { position } }) =>
      position === undefined ? [] : [{ log: id, position }],
    );
    const logs = [...this.#reached].map(([log, position]) => ({ log, position }));
    const resumed = [...logs, ...rooms].slice(0, resumeRoomsMax);
    this.#resumed = new Set(resumed.map(({ log }) => log));
    return { ...this.#auth, resume: Object.fromEntries(resumed.map(({ log, position }) => [log, position])) };
  }

  #onState(state: ConnectionState): void {
    if (state.state === "closed") {
      this.#cancelTokenRetry();
      this.#outbox.close(state.verdict);
      for (const room of this.#rooms.values()) room.subscription.refused(state.verdict);
    }
    this.#events.emit("state", state);
  }

  #onConnected(): void {
    for (const { id, subscription } of this.#rooms.values()) {
      subscription.connected(this.#resumed.has(id));
    }
    this.#outbox.pumpAll();
  }

  #onDisconnected(): void {
    this.#cancelTokenRetry();
    for (const room of this.#rooms.values()) room.subscription.disconnected();
    this.#requests.failAll(new ParleyError("disconnected", "The connection was lost"));
  }

  /** The rooms follow on the new connection; entries that come on both are taken once. */
  #onMoved(before: Socket): Promise<void> {
    this.#onConnected();
    return this.#requests.settled(before);
  }

  #listen(socket: Socket): void {
    this.#onEntry(socket, "new_message", (room, message) => room.emit("message", message));
    this.#onEntry(socket, "message_edited", (room, edit) => room.emit("messageEdited", edit));
    this.#onEntry(socket, "message_deleted", (room, deletion) => room.emit("messageDeleted", deletion));
    this.#onEntry(socket, "membership_changed", (room, change) => room.emit("membership", change));
    this.#onEntry(socket, "entry_erased", (room, tombstone) => room.emit("erased", tombstone));
    socket.on("user_joined", ({ roomId, userId }: ServerEvents["user_joined"][0]) => {
      this.#wantedRoom(roomId)?.emit("joined", userId);
    });
    socket.on("user_left", ({ roomId, userId }: ServerEvents["user_left"][0]) => {
      this.#wantedRoom(roomId)?.emit("left", userId);
    });
    socket.on("user_typing", ({ roomId, userId }: ServerEvents["user_typing"][0]) => {
      this.#wantedRoom(roomId)?.emit("typing", userId);
    });
    socket.on("room_history", (messages: readonly Message[], offset: unknown) => {
      const at = parseOffset(offset);
      this.#wantedRoom(at?.log ?? messages[0]?.roomId)?.subscription.history(messages, at?.position);
    });
    socket.on("room_gap", (gap: ServerEvents["room_gap"][0]) => this.#onGap(gap));
    socket.on("room_closed", ({ roomId, reason }: ServerEvents["room_closed"][0]) => {
      this.#wantedRoom(roomId)?.subscription.refused(closedError(reason));
    });
    socket.on("announcement", (message: JsonValue, meta: EntryMeta, offset: unknown) => {
      if (this.#advance(parseOffset(offset))) this.#events.emit("announcement", { message, ...meta });
    });
    socket.on("server_draining", () => this.#connection.move());
    socket.on("token_expiring", () => void this.#refreshToken(0));
    socket.on("error", (refusal: Refusal) => this.#events.emit("error", refusalError(refusal)));
    socket.onAny((name: string, ...values: OtherValues) => this.#onOther(name, values));
  }

  /** An entry of the contract: its payload, then its offset. */
  #onEntry<Name extends EntryName>(
    socket: Socket,
    name: Name,
    deliver: (room: Room, payload: ServerEvents[Name][0]) => void,
  ): void {
    const event: string = name;
    socket.on(event, (payload: ServerEvents[Name][0], offset: unknown) => {
      const place = parseOffset(offset);
      const room = this.#wantedRoom(place?.log);
      // Why: of the server's own logs entries are erased, too.
      if (place?.log.startsWith("@") === true) this.#advance(place);
      else if (place !== undefined && room?.subscription.accept(place.position) === true) deliver(room, payload);
    });
  }

  /** An entry that the app named, or one of a newer contract, of which only the position is read. */
  #onOther(name: string, values: OtherValues): void {
    if (Object.hasOwn(contractEvents, name)) return;
    // Why the last one alone: any other text is the app's, and may look like an offset.
    const place = parseOffset(values.at(-1));
    const [data, meta, offset] = values;
    if (place === undefined) return;
    const room = this.#wantedRoom(place.log);
    const next = place.log.startsWith("@") ? this.#advance(place) : room?.subscription.accept(place.position) === true;
    if (!next || typeof offset !== "string") return;
    const event = { name, data, ...meta };
    if (room !== undefined) room.emit("event", event);
    else if (place.log.startsWith(inboxPrefix)) this.#events.emit("notification", event);
  }

  #onGap(gap: ServerEvents["room_gap"][0]): void {
    const room = this.#wantedRoom(gap.roomId);
    if (room !== undefined) {
      room.subscription.gap(gap);
      room.emit("gap", gap);
    } else if (gap.roomId.startsWith("@")) {
      this.#reached.set(gap.roomId, { epoch: gap.epoch, seq: gap.head });
    }
  }

  /** True when an entry of one of the server's own logs is to be delivered. */
  #advance(place: Place | undefined): boolean {
    if (place === undefined) return false;
    const { log, position } = place;
    const reached = this.#reached.get(log);
    const follows = reached === undefined ? "next" : following(reached, position);
    if (follows === "repeated") return false;
    const at = `${log}:${reached?.epoch}:${reached?.seq}`;
    if (follows === "gap" && this.#gapReconnectAt !== at) {
      // Why a reconnect: these logs are not joined, but a connection resumes them. Why once for each place: a gap that
      // is still there then does not close.
      this.#gapReconnectAt = at;
      this.#connection.reconnect(new ParleyError("disconnected", `Entries of ${log} are missing`));
      return false;
    }
    this.#reached.set(log, position);
    return true;
  }

  #wantedRoom(roomId: string | undefined): Room | undefined {
    const room = roomId === undefined ? undefined : this.#rooms.get(roomId);
    return room?.subscription.wanted === true ? room : undefined;
  }

  /** Sends a new token before the present one ends; tries again until that succeeds or the connection ends. */
  async #refreshToken(attempt: number): Promise<void> {
    if (!this.#tokens.renewable || !this.#connection.connected) return;
    this.#cancelTokenRetry();
    try {
      const token = await this.#tokens.renew();
      if (token !== undefined) await this.#requests.send("refresh_token", { token });
    } catch (cause) {
      const error = cause instanceof ParleyError ? cause : new ParleyError("token_unavailable", String(cause));
      if (!this.#connection.connected) return;
      this.#events.emit("error", error);
      const waitMs = backoffMs(this.#backoff, attempt, this.#timers.random());
      this.#cancelTokenRetry = this.#timers.after(waitMs, () => void this.#refreshToken(attempt + 1));
    }
  }
}

/** Of an event that the app named; a newer contract may leave the later ones out. */
type OtherValues = readonly [data: JsonValue, meta: EntryMeta, offset: unknown];
type EntryName = "new_message" | "message_edited" | "message_deleted" | "membership_changed" | "entry_erased";

const contractEvents: { readonly [Name in keyof ServerEvents]: true } = {
  new_message: true,
  message_edited: true,
  message_deleted: true,
  membership_changed: true,
  entry_erased: true,
  user_joined: true,
  user_left: true,
  user_typing: true,
  room_history: true,
  room_gap: true,
  room_closed: true,
  announcement: true,
  token_expiring: true,
  server_draining: true,
  error: true,
};

/** Connects as one user and stays connected: see `ConnectOptions`. Works in browsers and in Node. */
export function connect(options: ConnectOptions = {}): Client {
  const client = new Client(options);
  client.open();
  return client;
}

function closedError(reason: RoomClosedReason): ParleyError {
  switch (reason) {
    case "deleted":
      return new ParleyError("not_found", "The room was deleted");
    case "too_many_rooms":
      return new ParleyError(reason, "Too many rooms on one connection: leave one first");
    case "forbidden":
      return new ParleyError(reason, "The right to this room has ended");
    default:
      // A newer server may know more reasons.
      return new ParleyError(reason, `The room was closed: ${String(reason)}`);
  }
}
