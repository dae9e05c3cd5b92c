import { io, type ManagerOptions, type Socket, type SocketOptions } from "socket.io-client";
import { eventually } from "./eventually.ts";
import { Transcript } from "./transcript.ts";

export type StockTransport = "websocket" | "polling" | "upgrade";

/** Options of the stock client for a way in; `upgrade` is its default. */
export const transportOptions: Readonly<Record<StockTransport, Partial<ManagerOptions>>> = {
  websocket: { transports: ["websocket"] },
  polling: { transports: ["polling"] },
  upgrade: {},
};

export interface Position {
  readonly epoch: string;
  readonly seq: number;
}

interface Acknowledgement {
  readonly ok: boolean;
  readonly seq?: number;
  readonly epoch?: string;
  readonly error?: { readonly code: string };
}

/** How it connected: the socket's id, and whether it went on as the same socket. */
export interface Welcome {
  readonly id: string;
  readonly recovered: boolean;
}

const requestLimitMs = 20_000;
const offsetForm = /^(.+):([A-Za-z0-9._-]+):(\d+)(?:\/\d+)?$/s;

/** The stock `socket.io-client`, and a note of all that it got. */
export class StockClient implements Disposable {
  readonly socket: Socket;
  readonly welcomes: Welcome[] = [];
  /** How often it lost its connection. */
  losses = 0;
  /** Of the rooms joined, by name. */
  readonly transcripts = new Map<string, Transcript>();
  /** Texts of messages by room, pages left out. */
  readonly texts = new Map<string, string[]>();
  /** The last `room_history`. */
  lastPage: readonly { readonly seq: number; readonly text: string }[] = [];
  /** Where it stands in each room, by the offsets of what it got. */
  readonly positions: Record<string, Position> = {};
  /** Names of all events that came, in order. */
  readonly events: string[] = [];
  readonly #listeners = new Set<() => void>();

  constructor(url: string, options: Partial<ManagerOptions & SocketOptions> = {}) {
    this.socket = io(url, { forceNew: true, reconnectionDelay: 1, reconnectionDelayMax: 50, ...options });
    const { socket } = this;
    socket.on("connect", () => {
      // Undefined, whatever its type says, when the server gave no means to recover.
      const recovered: boolean | undefined = socket.recovered;
      this.welcomes.push({ id: socket.id ?? "", recovered: recovered ?? false });
      this.#notify();
    });
    socket.on("disconnect", () => {
      this.losses += 1;
      this.#notify();
    });
    socket.onAny((event: string) => {
      this.events.push(event);
      // Why later: `onAny` listeners come before those of the event.
      queueMicrotask(() => this.#notify());
    });
    socket.on("room_history", (messages: readonly { seq: number; text: string }[], offset: string) => {
      this.lastPage = messages;
      const { room, position } = parseOffset(offset);
      this.positions[room] = position;
      this.transcript(room).page(position.seq);
      this.#notify();
    });
    socket.on("new_message", (message: { roomId: string; seq: number; text: string }, offset: string) => {
      const { room, position } = parseOffset(offset);
      this.positions[room] = position;
      this.transcript(room).entry(message.seq);
      this.#textsOf(room).push(message.text);
      this.#notify();
    });
    socket.on("room_gap", ({ roomId, reason, epoch, head }: { roomId: string; reason: string } & GapPosition) => {
      this.positions[roomId] = { epoch, seq: head };
      this.transcript(roomId).starts(reason);
      this.#notify();
    });
  }

  transcript(room: string): Transcript {
    const known = this.transcripts.get(room) ?? new Transcript();
    this.transcripts.set(room, known);
    return known;
  }

  textsOf(room: string): readonly string[] {
    return this.#textsOf(room);
  }

  /** Resolves when `ask` holds; asked again at each event. Errors: rejects after 20 s. */
  async until(what: string, ask: () => boolean): Promise<void> {
    if (ask()) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const limit = setTimeout(() => reject(new Error(`waited ${requestLimitMs} ms for ${what}`)), requestLimitMs);
    const look = (): void => {
      if (ask()) resolve();
    };
    this.#listeners.add(look);
    try {
      await promise;
    } finally {
      clearTimeout(limit);
      this.#listeners.delete(look);
    }
  }

  /** Resolves when it has been welcomed so many times. */
  welcomed(times: number): Promise<void> {
    return this.until(`${times} connections`, () => this.welcomes.length >= times);
  }

  /** Resolves when the connection has left polling behind. */
  async upgraded(): Promise<void> {
    const { engine } = this.socket.io;
    if (engine.transport.name !== "websocket") await new Promise((resolve) => engine.once("upgrade", resolve));
  }

  /**
   * Resolves when the connection is on the last of its transports. Why for who cuts it: a stock client whose upgrade is
   * cut in its midst may go on with the transport that is gone, and notice it by its heartbeat alone, 45 s later.
   */
  async settled(): Promise<void> {
    const { io: manager } = this.socket;
    if (manager.opts.transports?.length === 1) return;
    await eventually("the upgrade", () => manager.engine.transport.name === "websocket" || undefined);
  }

  /** Errors: rejects when the server does not answer in 20 s. */
  request(event: string, payload: unknown): Promise<Acknowledgement> {
    return this.socket.timeout(requestLimitMs).emitWithAck(event, payload);
  }

  /** Joins with the latest page, or after a position. */
  async join(room: string, after?: Position): Promise<Acknowledgement> {
    if (after === undefined) this.transcript(room).starts();
    else this.transcript(room).continues(after.seq);
    return this.request("join_room", after === undefined ? room : { roomId: room, after });
  }

  async send(room: string, text: string, clientId?: string): Promise<number> {
    const { ok, seq, error } = await this.request("send_message", {
      roomId: room,
      text,
      ...(clientId === undefined ? {} : { clientId }),
    });
    if (!ok || seq === undefined) throw new Error(`send_message: ${error?.code}`);
    return seq;
  }

  [Symbol.dispose](): void {
    this.socket.disconnect();
  }

  #textsOf(room: string): string[] {
    const known = this.texts.get(room) ?? [];
    this.texts.set(room, known);
    return known;
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}

type GapPosition = { epoch: string; head: number };

function parseOffset(offset: string): { room: string; position: Position } {
  const [, room = "", epoch = "", seq = ""] = offsetForm.exec(offset) ?? [];
  return { room, position: { epoch, seq: Number(seq) } };
}
