import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Millis } from "../core/log.ts";
import type { GatewaySettings } from "./settings.ts";

/** How a connection came in: what an app's own `authenticate` may look at. */
export interface Handshake {
  /** Of the TCP peer, which may be a proxy. Empty when it is not known any more. */
  readonly address: string;
  /** Path and query as the client sent them. */
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly secure: boolean;
  readonly at: Millis;
}

/** The codes that the Engine.IO reference server gives, with its messages, but for the one that a setting mends; clients show them. */
export const engineErrors = {
  unknownTransport: { code: 0, message: "Transport unknown" },
  unknownSid: { code: 1, message: "Session ID unknown" },
  badHandshakeMethod: { code: 2, message: "Bad handshake method" },
  badRequest: { code: 3, message: "Bad request" },
  forbidden: { code: 4, message: "Forbidden" },
  originNotListed: {
    code: 4,
    message: "Forbidden: pages of this origin may not connect; list it in origins (PARLEY_ORIGINS)",
  },
  unsupportedVersion: { code: 5, message: "Unsupported protocol version" },
} as const;
export type EngineError = (typeof engineErrors)[keyof typeof engineErrors];

const notHereHeader = "x-parley-not-here";

/**
 * The status of a refusal that another node may not share: `status`, or 404 for a balancer that asks for it with
 * `X-Parley-Not-Here: 404`. Why: none tries the next node upon 400, and nginx takes 503 for a failure of the node, and
 * asks it nothing for a while, not even for the connections that live there.
 */
export function notHereStatus(headers: IncomingHttpHeaders, status: 400 | 503): 400 | 404 | 503 {
  return headers[notHereHeader] === "404" ? 404 : status;
}

const enginePath = "/socket.io/";

export function isEnginePath(url: string | undefined): boolean {
  return url !== undefined && url.startsWith(enginePath);
}

export interface EngineQuery {
  readonly transport: "polling" | "websocket";
  /** Empty for a new connection. */
  readonly sid: string;
}

/** Reads the query of a request, or says what is wrong with it. Repeated names: the first one counts. */
export function parseQuery(url: string): EngineQuery | EngineError {
  const at = url.indexOf("?");
  const query = new URLSearchParams(at < 0 ? "" : url.slice(at + 1));
  const transport = query.get("transport");
  if (transport !== "polling" && transport !== "websocket") return engineErrors.unknownTransport;
  if (query.get("EIO") !== "4") return engineErrors.unsupportedVersion;
  return { transport, sid: query.get("sid") ?? "" };
}

export function handshakeOf({ socket, url = "", headers }: IncomingMessage, at: Millis): Handshake {
  return new RequestHandshake(socket, url, headers, at);
}

class RequestHandshake implements Handshake {
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly secure: boolean;
  readonly at: Millis;
  readonly #socket: Socket;

  constructor(socket: Socket, url: string, headers: IncomingHttpHeaders, at: Millis) {
    this.url = url;
    this.headers = headers;
    this.secure = isEncrypted(socket);
    this.at = at;
    this.#socket = socket;
  }

  // Why only when it is asked for: the system is asked then, and the answer kept with the socket for as long as it lives.
  get address(): string {
    return this.#socket.remoteAddress ?? "";
  }
}

function isEncrypted(socket: Socket): boolean {
  return "encrypted" in socket && socket.encrypted === true;
}

/** The text of the `open` packet. */
export function openPacket(sid: string, upgrades: readonly string[], settings: GatewaySettings): string {
  return `0${JSON.stringify({
    sid,
    upgrades,
    pingInterval: settings.pingIntervalMs,
    pingTimeout: settings.pingTimeoutMs,
    maxPayload: settings.payloadBytesMax,
  })}`;
}

// Why: what is reflected becomes a header of ours, and a bad one would throw.
const reflectable = /^[\x21-\x7e]{1,2048}$/;
const reflectableNames = /^[\w\-, ]{1,2048}$/;

const localOrigin = /^https?:\/\/(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/;

/** Whether a page of the request's origin may connect. Decided for HTTP and for WebSocket requests alike. */
export function isOriginAllowed(
  headers: IncomingHttpHeaders,
  { origins, localOrigins }: Pick<GatewaySettings, "origins" | "localOrigins">,
): boolean {
  const { origin, host } = headers;
  if (origin === undefined) return true;
  if (!reflectable.test(origin)) return false;
  if (origins === "*" || origins.includes(origin)) return true;
  if (localOrigins && localOrigin.test(origin)) return true;
  return host !== undefined && (origin === `https://${host}` || origin === `http://${host}`);
}

/** CORS with credentials: the origin is reflected, for `*` would forbid cookies. */
export function corsHeaders(headers: IncomingHttpHeaders): Record<string, string> {
  if (headers.origin === undefined || !reflectable.test(headers.origin)) return {};
  return {
    "Access-Control-Allow-Origin": headers.origin,
    "Access-Control-Allow-Credentials": "true",
    Vary: "Origin",
  };
}

/** Answers a preflight, for ten minutes. */
export function preflightHeaders(headers: IncomingHttpHeaders): Record<string, string> {
  const asked = headers["access-control-request-headers"];
  return {
    ...corsHeaders(headers),
    "Access-Control-Allow-Methods": "GET,POST",
    ...(asked === undefined || !reflectableNames.test(asked) ? {} : { "Access-Control-Allow-Headers": asked }),
    "Access-Control-Max-Age": "600",
    "Content-Length": "0",
  };
}
