import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import type { Clock } from "../core/clock.ts";
import { textFrame } from "../core/frame.ts";
import { corsHeaders, type EngineError, engineErrors } from "./handshake.ts";
import { closeFrame } from "./lingering.ts";
import { decodePayload, encodePayload, readBody } from "./payload.ts";
import { type Ending, packetType, type Transport, type TransportOwner } from "./transport.ts";

const noopFrame = textFrame("6");
/** Payloads are text: of this size and below they are written together with their headers. */
const joinedBytesMax = 4_096;

/** What all polling connections of an engine share. */
export interface PollingShared {
  readonly clock: Clock;
  readonly payloadBytesMax: number;
  /** A connection was closed, and its client has yet to fetch these frames, if any, and then that it was. */
  linger(sid: string, unfetched: readonly Buffer[]): void;
}

/**
 * HTTP long-polling as a transport: one GET waits for what is written, one POST at a time brings what the client sends.
 * It exists until the connection is upgraded, and nothing of it stays behind.
 *
 * What waits for a GET is bounded by the connection's window, which counts it as written. A POST that does not end is
 * bounded by the heartbeat: the pong could not come in beside it.
 */
export class PollingTransport implements Transport {
  readonly name = "polling";
  readonly #sid: string;
  readonly #shared: PollingShared;
  /** Null once it has ended or given way to a WebSocket. */
  #owner: TransportOwner | null = null;
  #unfetched: Buffer[] = [];
  #unfetchedBytes = 0;
  /** Of responses on their way. */
  #sendingBytes = 0;
  #poll: { readonly request: IncomingMessage; readonly response: ServerResponse } | null = null;
  #post: IncomingMessage | null = null;
  #flushQueued = false;
  /** The client itself said that it closes. */
  #closedByClient = false;
  /** While an upgrade is tried: told when the connection ends. GETs are answered at once then, so that the client can stop polling. */
  #onEnded: (() => void) | null = null;
  #releasing = false;

  constructor(sid: string, shared: PollingShared) {
    this.#sid = sid;
    this.#shared = shared;
  }

  adopt(owner: TransportOwner): void {
    this.#owner = owner;
  }

  bufferedBytes(): number {
    return this.#unfetchedBytes + this.#sendingBytes;
  }

  write(frames: readonly Buffer[]): void {
    if (this.#owner === null) return;
    for (const frame of frames) {
      this.#unfetched.push(frame);
      this.#unfetchedBytes += frame.length;
    }
    if (this.#poll === null || this.#flushQueued) return;
    // Why not at once: what else is written in this turn goes out with it, instead of a round trip later.
    this.#flushQueued = true;
    this.#shared.clock.immediate(() => {
      this.#flushQueued = false;
      // Why asked again: the GET may have been answered meanwhile, when a probe released it.
      if (this.#owner !== null && this.#poll !== null && this.#unfetched.length > 0) this.#flush();
    });
  }

  end(how: Ending): void {
    if (this.#owner === null) return;
    this.#owner = null;
    this.#onEnded?.();
    this.#post?.destroy();
    if (this.#closedByClient) this.#answer([noopFrame]);
    else if (this.#unfetched.length === 0) this.#answer([closeFrame]);
    else this.#endUnfetched(how);
  }

  /**
   * Why a response of its own for the close: the stock client keeps what comes before a close in one response until it
   * is connected again; the positions that it presents then lack it, so that it would get the same twice.
   */
  #endUnfetched(how: Ending): void {
    const isPolled = this.#poll !== null;
    const frames = this.#takeUnfetched();
    if (isPolled) this.#answer(frames);
    if (how === "orderly") this.#shared.linger(this.#sid, isPolled ? [] : frames);
  }

  /** Begins to try an upgrade. False: one is being tried. */
  probe(onEnded: () => void): boolean {
    if (this.#owner === null || this.#onEnded !== null) return false;
    this.#onEnded = onEnded;
    return true;
  }

  /** The new transport works: the client stops polling, and waits for its GET to be answered. */
  release(): void {
    this.#releasing = true;
    if (this.#poll !== null) this.#flush();
  }

  /** The upgrade came to nothing. */
  probeEnded(): void {
    this.#onEnded = null;
    this.#releasing = false;
  }

  /** Gives way to another transport, which sends what this returns before anything else. */
  retire(): readonly Buffer[] {
    this.#owner = null;
    this.#onEnded = null;
    this.#post?.destroy();
    this.#answer([noopFrame]);
    return this.#takeUnfetched();
  }

  onGet(request: IncomingMessage, response: ServerResponse): void {
    if (this.#poll !== null) {
      this.#fail();
      refuseRequest(request, response, 400, engineErrors.badRequest);
      return;
    }
    this.#poll = { request, response };
    response.on("close", () => {
      // Why: what an answer held that was cut off is lost for this connection, as is a client that stopped polling.
      if (!response.writableFinished) this.#fail();
    });
    if (this.#unfetched.length > 0 || this.#releasing) this.#flush();
  }

  async onPost(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.#post !== null || request.headers["content-type"] === "application/octet-stream") {
      this.#fail();
      refuseRequest(request, response, 400, engineErrors.badRequest);
      return;
    }
    this.#post = request;
    const body = await readBody(request, this.#shared.payloadBytesMax);
    this.#post = null;
    const owner = this.#owner;
    if (owner === null || body === "aborted") {
      refuseRequest(request, response, 400, engineErrors.badRequest);
      this.#fail();
    } else if (body === "too_large") {
      refuseRequest(request, response, 413, engineErrors.badRequest);
      this.#owner = null;
      this.#leavePoll();
      owner.onTransportClosed("payload_too_large");
    } else {
      this.#read(body, owner);
      if (this.#owner === null && !this.#closedByClient) {
        refuseRequest(request, response, 400, engineErrors.badRequest);
      } else {
        respond(request, response, "text/html", Buffer.from("ok"));
      }
    }
  }

  #read(body: Buffer, owner: TransportOwner): void {
    const reader: TransportOwner = {
      onText: (type, text) => {
        if (type === packetType.close) this.#closedByClient = true;
        owner.onText(type, text);
      },
      onBinary: (data) => owner.onBinary(data),
      onTransportClosed: (reason) => owner.onTransportClosed(reason),
    };
    decodePayload(body, reader, () => this.#owner === owner);
  }

  #flush(): void {
    const frames = this.#takeUnfetched();
    this.#answer(frames.length > 0 ? frames : [noopFrame]);
  }

  #takeUnfetched(): Buffer[] {
    const frames = this.#unfetched;
    this.#unfetched = [];
    this.#unfetchedBytes = 0;
    return frames;
  }

  #answer(frames: readonly Buffer[]): void {
    const poll = this.#poll;
    if (poll === null) return;
    this.#poll = null;
    const payload = encodePayload(frames);
    this.#sendingBytes += payload.length;
    poll.response.on("close", () => {
      this.#sendingBytes -= payload.length;
    });
    respond(poll.request, poll.response, "text/plain; charset=UTF-8", payload);
  }

  #leavePoll(): void {
    this.#onEnded?.();
    this.#post?.destroy();
    this.#answer([closeFrame]);
  }

  #fail(): void {
    const owner = this.#owner;
    if (owner === null) return;
    this.#owner = null;
    this.#leavePoll();
    owner.onTransportClosed("transport_error");
  }
}

/** Answers with the error that the Engine.IO reference server gives. */
export function refuseRequest(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  error: EngineError,
): void {
  if (response.destroyed || response.headersSent) return;
  const body = Buffer.from(JSON.stringify(error));
  // Why: the rest of a body that nobody wants is not worth reading.
  const ending = request.complete || request.method === "GET" ? {} : { Connection: "close" };
  // Why without: a page of a forbidden origin may not even read why.
  const headers = status === 403 ? {} : request.headers;
  response.writeHead(status, { ...headersOf(headers, "application/json", body), ...ending });
  response.end(body);
}

export function respond(request: IncomingMessage, response: ServerResponse, type: string, body: Buffer): void {
  if (response.destroyed) return;
  response.writeHead(200, headersOf(request.headers, type, body));
  // Why as text: what is short then leaves in one piece with the headers, which costs less than a gathering write.
  if (body.length <= joinedBytesMax) response.end(body.toString());
  else response.end(body);
}

function headersOf(headers: IncomingHttpHeaders, type: string, body: Buffer): Record<string, string | number> {
  return {
    "Content-Type": type,
    "Content-Length": body.length,
    "Cache-Control": "no-store",
    ...corsHeaders(headers),
  };
}
