import type {
  Acknowledgements,
  AdminEventName,
  ClientEventName,
  ClientEventPayload,
  JsonValue,
} from "@parley/protocol";
import type { Socket } from "socket.io-client";
import { isRecord, ParleyError, readRefusal } from "./errors.ts";
import type { Timers } from "./timers.ts";

/** What the acknowledgement of a client event says when it was done. */
export type Granted<Name extends ClientEventName> = Extract<Acknowledgements[Name], { ok: true }>;

/** Figures of the node by name; a newer node may give more of them. */
export interface NodeStatistics {
  readonly [name: string]: JsonValue;
}

type Payloads = { [Name in ClientEventName]: ClientEventPayload<Name> } & {
  [Name in AdminEventName]: JsonValue;
};
type Answers = { [Name in ClientEventName]: Granted<Name> } & {
  broadcast_announcement: object;
  statistics: { readonly statistics: NodeStatistics };
  kick: { readonly connections: number };
  ban: { readonly connections: number };
  unban: object;
  drain: { readonly draining: boolean };
  undrain: { readonly draining: boolean };
};

/** A request that was sent. */
interface Pending {
  readonly socket: Socket;
  /** False when it has ended before. */
  end(): boolean;
  fail(error: ParleyError): void;
}

interface Refused {
  readonly ok: false;
  readonly error: unknown;
}

/** Events with an acknowledgement, each of which ends: with its answer, its time-out, or its connection. */
export class Requests {
  readonly #socket: () => Socket;
  readonly #timers: Timers;
  readonly #timeoutMs: number;
  /** How each one fails, and the socket that owes its answer. */
  readonly #pending = new Map<(error: ParleyError) => void, Socket>();
  readonly #waiting = new Map<Socket, () => void>();

  /** `socket`: the one in use, asked for at each request. */
  constructor(socket: () => Socket, timers: Timers, timeoutMs: number) {
    this.#socket = socket;
    this.#timers = timers;
    this.#timeoutMs = timeoutMs;
  }

  /** Sends one event. Errors: rejects with `ParleyError`; `disconnected` at once when there is no connection. */
  send<Name extends keyof Payloads>(name: Name, payload: Payloads[Name]): Promise<Answers[Name]> {
    return new Promise<Answers[Name]>((resolve, reject) => this.call(name, payload, resolve, reject));
  }

  /**
   * As `send`, with the answer in its place among the events. Why: a promise tells of it only after events that came
   * with it in one read. Calls exactly one of the two, once.
   */
  call<Name extends keyof Payloads>(
    name: Name,
    payload: Payloads[Name],
    onAnswer: (answer: Answers[Name]) => void,
    onError: (error: ParleyError) => void,
  ): void {
    const pending = this.#begin(name, onError);
    pending?.socket.emit(name, payload, (reply: Answers[Name] | Refused) => {
      if (isRefused(reply)) pending.fail(refusalOf(reply, name));
      else if (pending.end()) onAnswer(reply);
    });
  }

  /** As `send`, for an event of the app's own; resolves with what its handler returned, undefined for nothing. */
  own<Result>(name: string, payload: JsonValue): Promise<Result> {
    return new Promise<Result>((resolve, reject) => {
      const pending = this.#begin(name, reject);
      pending?.socket.emit(name, payload, (reply: { readonly result: Result } | Refused) => {
        if (isRefused(reply)) pending.fail(refusalOf(reply, name));
        else if (pending.end()) resolve(reply.result);
      });
    });
  }

  /** Undefined when there is no connection. */
  #begin(name: string, onError: (error: ParleyError) => void): Pending | undefined {
    const socket = this.#socket();
    if (!socket.connected) {
      onError(new ParleyError("disconnected", "There is no connection now"));
      return undefined;
    }
    const end = (): boolean => {
      cancelTimeout();
      const pending = this.#pending.delete(fail);
      if (this.#isSettled(socket)) this.#waiting.get(socket)?.();
      return pending;
    };
    const fail = (error: ParleyError): void => {
      if (end()) onError(error);
    };
    const cancelTimeout = this.#timers.after(this.#timeoutMs, () => {
      fail(new ParleyError("timed_out", `The server did not answer ${name} in ${this.#timeoutMs} ms`));
    });
    this.#pending.set(fail, socket);
    return { socket, end, fail };
  }

  /** The connection has ended: what it still owed, or what `socket` alone did, will not come. */
  failAll(error: ParleyError, socket?: Socket): void {
    for (const [fail, owing] of this.#pending) if (socket === undefined || socket === owing) fail(error);
  }

  /** Resolves when every request on the socket has ended; each does, with the socket or by its time-out at the latest. */
  async settled(socket: Socket): Promise<void> {
    if (this.#isSettled(socket)) return;
    socket.once("disconnect", () => {
      this.failAll(new ParleyError("disconnected", "The connection was lost"), socket);
    });
    await new Promise<void>((resolve) => this.#waiting.set(socket, resolve));
    this.#waiting.delete(socket);
  }

  #isSettled(socket: Socket): boolean {
    return ![...this.#pending.values()].includes(socket);
  }
}

// Why not only `ok === false`: an acknowledgement of any other form grants nothing.
function isRefused(reply: object): reply is Refused {
  return !isRecord(reply) || reply["ok"] !== true;
}

function refusalOf({ error }: Refused, name: string): ParleyError {
  return readRefusal(error) ?? new ParleyError("refused", `The server refused ${name} without a code`);
}
