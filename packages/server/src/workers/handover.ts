import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Neighbours } from "../gateway/neighbours.ts";
import { engineErrors } from "../gateway/handshake.ts";
import { readBody } from "../gateway/payload.ts";
import { refuseRequest } from "../gateway/polling.ts";

/** A TCP connection that goes to another worker, and what of it was read: one whole request. */
export interface Handover {
  /** Number of the worker, from 0. */
  readonly to: number;
  readonly bytes: Uint8Array;
}

export interface HandoversOptions {
  /** Number of this worker, from 0, and how many there are, at most 64. */
  readonly worker: number;
  readonly workers: number;
  /** Of one request's body. */
  readonly payloadBytesMax: number;
  /** Takes the socket away from this process; calls back when it is on its way. */
  send(handover: Handover, socket: Socket, sent: () => void): void;
}

const marks = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/** Sockets go one at a time: more than so many would wait longer than their clients. */
const underWayMax = 1_000;

/**
 * Gives requests that came in at the wrong worker to the right one, with their TCP connections: the kernel spreads
 * connections, and knows nothing of whose polling connection a request is for. A WebSocket so lives where its connection does, and
 * no process stands between.
 *
 * What a client sends before it was answered, against the rules of both protocols, may be lost with such a connection.
 */
export class Handovers implements Neighbours {
  readonly mark: string;
  readonly #options: HandoversOptions;
  /** Of which a request is being read to its end, to be given away. */
  readonly #leaving = new WeakSet<Socket>();
  #underWay = 0;

  constructor(options: HandoversOptions) {
    this.mark = marks.charAt(options.worker);
    this.#options = options;
  }

  giveRequest(sid: string, request: IncomingMessage, response: ServerResponse): boolean {
    const { socket } = request;
    const to = this.#ownerOf(sid);
    if (this.#leaving.has(socket)) {
      // Why: this one was sent before the one before it was answered, and its bytes are read already.
      socket.destroy();
      return true;
    }
    // Without its socket the answer waits for an earlier one.
    if (to === null || response.socket !== socket) return false;
    this.#leaving.add(socket);
    void readBody(request, this.#options.payloadBytesMax).then((body) => {
      if (body === "too_large") refuseRequest(request, response, 413, engineErrors.badRequest);
      else if (body === "aborted" || socket.destroyed) return;
      // Why not before: a body that never ends would hold a place that others wait for.
      else if (this.#underWay >= underWayMax) refuseRequest(request, response, 503, engineErrors.badRequest);
      else this.#give({ to, bytes: Buffer.concat([headOf(request, body.length), body]) }, socket);
    });
    return true;
  }

  giveUpgrade(sid: string, request: IncomingMessage, wire: Duplex, head: Buffer): boolean {
    const to = this.#ownerOf(sid);
    if (to === null || !(wire instanceof Socket) || wire.destroyed || this.#underWay >= underWayMax) return false;
    wire.on("error", () => {});
    this.#give({ to, bytes: Buffer.concat([headOf(request, null), head]) }, wire);
    return true;
  }

  #give(handover: Handover, socket: Socket): void {
    this.#underWay += 1;
    stopReading(socket);
    // Why: else Node's server here would wait for the end of connections that are another process's.
    Reflect.set(socket, "server", null);
    this.#options.send(handover, socket, () => {
      this.#underWay -= 1;
      socket.destroy();
    });
  }

  /** Null: it is this worker's own, or names none. */
  #ownerOf(sid: string): number | null {
    const owner = marks.indexOf(sid.charAt(0));
    return sid === "" || owner < 0 || owner >= this.#options.workers || owner === this.#options.worker ? null : owner;
  }
}

/**
 * Leaves what a client sends to the process that is given its connection. A process that passes a connection on calls it
 * in the turn in which that came, before anything is read.
 *
 * Why by the name of an internal: a socket goes on reading until the other process has said that it has it, which may be
 * after the client was answered and has sent the next thing; and `pause` does not stop it.
 */
export function stopReading(socket: Socket): void {
  const handle: unknown = Reflect.get(socket, "_handle");
  if (typeof handle !== "object" || handle === null) return;
  const readStop: unknown = Reflect.get(handle, "readStop");
  if (typeof readStop === "function") Reflect.apply(readStop, handle, []);
}

/** Goes on with a connection that another worker has given: its server here reads the request as if it had come in here. */
export function takeOver(server: Server, { bytes }: Handover, socket: Socket): void {
  socket.unshift(bytes);
  server.emit("connection", socket);
}

/** Body lengths are said anew, for it was read whole; and nobody waits for `100 Continue` any more. */
const restated: ReadonlySet<string> = new Set(["content-length", "transfer-encoding", "expect"]);

/** The head of a request as it came. `bodyBytes`: null for an upgrade. */
function headOf({ method, url, httpVersion, rawHeaders }: IncomingMessage, bodyBytes: number | null): Buffer {
  const lines = [`${method} ${url} HTTP/${httpVersion}`];
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const [name = "", value = ""] = rawHeaders.slice(index, index + 2);
    if (bodyBytes === null || !restated.has(name.toLowerCase())) lines.push(`${name}: ${value}`);
  }
  if (bodyBytes !== null && (bodyBytes > 0 || method === "POST")) lines.push(`Content-Length: ${bodyBytes}`);
  // Why latin1: the parser reads each byte of a header as one character.
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
}
