import { payloadsOf } from "../../packages/server/src/core/frame.ts";
import type { Session } from "../../packages/server/src/core/session.ts";
import type { CloseReason, Connection } from "../../packages/server/src/gateway/connection.ts";
import type { SimulatedClock } from "./simulated-clock.ts";

export interface LinkOptions {
  readonly clock: SimulatedClock;
  readonly windowBytes: number;
  /** How fast the client reads; 0: not at all. */
  readonly bytesPerMs: number;
  /** How long the answer to a ping takes. */
  readonly answerMs?: number;
  /** Without it only early pings are sent, and nobody is cut for not answering. */
  readonly heartbeat?: { readonly intervalMs: number; readonly timeoutMs: number };
}

export interface LinkEvents {
  readonly onPayload: (payload: string) => void;
  readonly onClosed: (reason: CloseReason) => void;
}

/** One network connection: bytes in flight, read at the client's speed; pings travel among them. */
export class SimulatedConnection implements Connection {
  readonly id: string;
  session: Session | null = null;
  bytesPerMs: number;
  closed = false;
  /** The most that was ever unanswered, and the number of writes. */
  unansweredMax = 0;
  writes = 0;
  /** What was written, for tests that look at the buffers themselves; they set it to an array. */
  written: Buffer[][] | null = null;
  readonly #options: LinkOptions;
  readonly #events: LinkEvents;
  readonly #pipe: (Buffer | "ping")[] = [];
  #beforePing = 0;
  #sincePing = 0;
  #pinging = false;
  #confirm = false;
  #cancelRead: (() => void) | null = null;
  #cancelHeartbeat: () => void = () => {};
  #cancelAnswer: () => void = () => {};

  constructor(id: string, options: LinkOptions, events: LinkEvents) {
    this.id = id;
    this.#options = options;
    this.bytesPerMs = options.bytesPerMs;
    this.#events = events;
    this.#scheduleHeartbeat();
  }

  get unanswered(): number {
    return this.#beforePing + this.#sincePing;
  }

  free(): number {
    return Math.max(0, this.#options.windowBytes - this.unanswered);
  }

  write(frames: readonly Buffer[], confirms = false): void {
    if (this.closed) return;
    this.writes += 1;
    this.written?.push([...frames]);
    for (const frame of frames) {
      this.#pipe.push(frame);
      this.#sincePing += frame.length;
    }
    this.unansweredMax = Math.max(this.unansweredMax, this.unanswered);
    if (confirms || this.#sincePing >= this.#options.windowBytes / 2) this.confirm();
    this.#read();
  }

  confirm(): void {
    if (this.closed) return;
    if (this.#pinging) this.#confirm = true;
    else this.#ping();
  }

  close(reason: CloseReason): void {
    if (this.closed) return;
    this.cut();
    this.#events.onClosed(reason);
  }

  /** The link is cut: what is under way is lost, and the server does not know yet. */
  cut(): void {
    this.closed = true;
    this.#pipe.length = 0;
    this.#cancelRead?.();
    this.#cancelHeartbeat();
    this.#cancelAnswer();
  }

  /** Reads on at another speed, also after `bytesPerMs` was 0. */
  resumeReading(bytesPerMs: number): void {
    this.bytesPerMs = bytesPerMs;
    this.#cancelRead?.();
    this.#cancelRead = null;
    this.#read();
  }

  #ping(): void {
    this.#pinging = true;
    this.#confirm = false;
    this.#beforePing += this.#sincePing;
    this.#sincePing = 0;
    this.#pipe.push("ping");
    this.session?.onPinged();
    this.#scheduleHeartbeat();
    this.#read();
  }

  #scheduleHeartbeat(): void {
    const { heartbeat, clock } = this.#options;
    if (heartbeat === undefined) return;
    this.#cancelHeartbeat();
    this.#cancelHeartbeat = this.#pinging
      ? clock.after(heartbeat.timeoutMs, () => this.close("ping_timeout"))
      : clock.after(heartbeat.intervalMs, () => this.#ping());
  }

  #read(): void {
    const [next] = this.#pipe;
    if (this.#cancelRead !== null || this.closed || next === undefined || this.bytesPerMs === 0) return;
    const ms = next === "ping" ? 0 : Math.ceil(next.length / this.bytesPerMs);
    this.#cancelRead = this.#options.clock.after(ms, () => {
      this.#cancelRead = null;
      this.#pipe.shift();
      if (next === "ping")
        this.#cancelAnswer = this.#options.clock.after(this.#options.answerMs ?? 1, () => this.#answered());
      else for (const { payload } of payloadsOf(next)) this.#events.onPayload(payload.toString());
      this.#read();
    });
  }

  #answered(): void {
    this.#pinging = false;
    this.#beforePing = 0;
    this.#scheduleHeartbeat();
    this.session?.onAnswered();
    if (this.#pinging || this.closed) return;
    if (this.#confirm || this.#sincePing >= this.#options.windowBytes / 2) this.#ping();
  }
}
