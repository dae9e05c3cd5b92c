import { randomUUID } from "node:crypto";
import { io, type Socket } from "socket.io-client";
import { type Position, type StockTransport, transportOptions } from "../support/stock-client.ts";
import { type ChaosClient, Journal, type Reconnecting } from "./chaos-client.ts";

/**
 * How a page that uses the stock client presents what it has: as it connects, or as it joins; or not at all, because it
 * leaves that to connection state recovery.
 */
export type Presenting = "auth.resume" | "join_room" | "recovery";

interface Waiting {
  readonly room: string;
  readonly text: string;
  readonly clientId: string;
  /** Whether it is under way on the present connection. */
  sent: boolean;
}

interface Shown {
  readonly seq: number;
  readonly text: string;
}

interface Refusal {
  readonly code: string;
  readonly retryAfterMs?: number;
}

interface Acknowledgement {
  readonly ok: boolean;
  readonly seq: number;
  readonly error?: Refusal;
}

const offsetForm = /:([A-Za-z0-9._-]+):(\d+)(?:\/\d+)?$/;

/**
 * The stock `socket.io-client`, and the little that an app without the SDK writes itself: it notes the
 * position of each room, and sends again, in order and under the same `clientId`, what was not acknowledged.
 */
export class StockChaosClient implements ChaosClient {
  readonly name: string;
  readonly journal: Journal;
  readonly #socket: Socket;
  readonly #rooms: readonly string[];
  readonly #presenting: Presenting;
  readonly #positions: Record<string, Position> = {};
  readonly #following = new Set<string>();
  #waiting: Waiting[] = [];
  /** A message was refused for now: nothing is sent for as long as was asked, and then one after another, as the SDK does. */
  #pace: "at_once" | "paused" | "one_by_one" = "at_once";
  #pause: NodeJS.Timeout | undefined;
  #welcomes = 0;

  constructor(options: {
    userId: string;
    url: string;
    token: string;
    transport: StockTransport;
    presenting: Presenting;
    rooms: readonly string[];
    reconnecting: Reconnecting;
  }) {
    const { userId, url, token, transport, presenting, rooms, reconnecting } = options;
    this.name = `${userId} over ${transport} (stock, ${presenting})`;
    this.journal = new Journal(rooms);
    this.#rooms = rooms;
    this.#presenting = presenting;
    this.#socket = io(url, {
      forceNew: true,
      autoConnect: false,
      ...transportOptions[transport],
      ...(reconnecting === "at_once" ? { reconnectionDelay: 20, reconnectionDelayMax: 200 } : {}),
      auth: (give) => give(presenting === "auth.resume" ? { token, resume: this.#positions } : { token }),
    });
    this.#listen();
  }

  get connected(): boolean {
    return this.#socket.connected;
  }

  get following(): boolean {
    return this.#socket.connected && this.#following.size === this.#rooms.length;
  }

  get unacknowledged(): number {
    return this.#waiting.length;
  }

  start(): void {
    this.#socket.connect();
  }

  send(room: string, text: string): void {
    this.#waiting.push({ room, text, clientId: randomUUID(), sent: false });
    this.#transmitAll();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#pause);
    this.#socket.disconnect();
  }

  #listen(): void {
    const socket = this.#socket;
    socket.on("connect", () => this.#onConnect());
    socket.on("disconnect", () => {
      this.#following.clear();
      for (const message of this.#waiting) message.sent = false;
    });
    socket.on("connect_error", (error) => {
      if (!socket.active) this.journal.refused.push(error.message);
    });
    socket.on("room_history", (messages: readonly Shown[], offset: string) => {
      const room = this.#note(offset);
      const { reached } = this.journal.transcript(room);
      const joinsOn = reached !== undefined && (messages[0]?.seq ?? 0) <= reached + 1;
      // Why: one that was recovered without its node may get its first page again, which must leave nothing out.
      if (this.#mayRepeat && joinsOn) for (const message of messages) this.#got(room, message);
      else this.journal.page(room, messages);
    });
    socket.on("new_message", (message: Shown, offset: string) => this.#got(this.#note(offset), message));
    socket.on("room_gap", ({ roomId, reason }: { roomId: string; reason: string }) => {
      this.journal.transcript(roomId).starts(reason);
    });
  }

  // Why none of who presents positions: those say exactly what is lacking.
  get #mayRepeat(): boolean {
    return this.#presenting !== "auth.resume" && this.#socket.recovered;
  }

  #got(room: string, { seq, text }: Shown): void {
    const reached = this.journal.transcript(room).reached ?? 0;
    if (this.#mayRepeat && seq <= reached) this.journal.repeats += 1;
    else this.journal.entry(room, seq, text);
  }

  /** Notes the position that an offset tells; gives its room. */
  #note(offset: string): string {
    const [whole = "", epoch = "", seq = ""] = offsetForm.exec(offset) ?? [];
    const room = offset.slice(0, offset.length - whole.length);
    this.#positions[room] = { epoch, seq: Number(seq) };
    return room;
  }

  #onConnect(): void {
    this.#welcomes += 1;
    if (this.#presenting === "recovery") this.#onRecovery();
    else this.#present();
  }

  #onRecovery(): void {
    for (const room of this.#rooms) {
      if (this.#socket.recovered) this.#follow(room);
      else this.#join(room, undefined);
    }
    if (!this.#socket.recovered && this.#welcomes > 1) this.journal.unrecovered += 1;
  }

  #present(): void {
    for (const room of this.#rooms) {
      const after = this.#positions[room];
      // Why not joined after a recovery: its rooms are restored, and what was missed comes by itself.
      if (this.#socket.recovered || (after !== undefined && this.#presenting === "auth.resume")) {
        this.#follow(room);
        continue;
      }
      this.#join(room, after);
    }
  }

  #join(room: string, after: Position | undefined): void {
    if (after === undefined) this.journal.transcript(room).starts();
    const payload = after === undefined ? room : { roomId: room, after };
    this.#socket.emit("join_room", payload, (answer: Acknowledgement) => {
      if (answer.ok) this.#follow(room);
      else this.journal.refused.push(answer.error?.code ?? "");
    });
  }

  #follow(room: string): void {
    this.#following.add(room);
    this.#transmitAll();
  }

  #transmitAll(): void {
    if (!this.following || this.#pace === "paused") return;
    const unsent = this.#waiting.filter(({ sent }) => !sent);
    if (unsent.length === 0) this.#pace = "at_once";
    if (this.#pace === "at_once") for (const message of unsent) this.#transmit(message);
    else if (unsent[0] !== undefined && unsent.length === this.#waiting.length) this.#transmit(unsent[0]);
  }

  #transmit(message: Waiting): void {
    message.sent = true;
    const { room, text, clientId } = message;
    this.#socket.emit("send_message", { roomId: room, text, clientId }, (answer: Acknowledgement) => {
      if (answer.ok) {
        this.#waiting = this.#waiting.filter((other) => other !== message);
        this.journal.acknowledged.push({ room, seq: answer.seq, clientId, text });
      } else {
        message.sent = false;
        this.journal.retried.add(clientId);
        this.#refused(answer.error);
      }
      this.#transmitAll();
    });
  }

  #refused({ code, retryAfterMs = 1_000 }: Refusal = { code: "" }): void {
    if (code !== "rate_limited") this.journal.refused.push(code);
    if (this.#pace === "paused") return;
    this.#pace = "paused";
    this.#pause = setTimeout(() => {
      this.#pace = "one_by_one";
      this.#transmitAll();
    }, retryAfterMs);
  }
}
