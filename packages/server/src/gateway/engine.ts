import type { IncomingMessage, Server as HttpServer, ServerResponse } from "node:http";
import type { Server as HttpsServer } from "node:https";
import type { Duplex } from "node:stream";
import type { Clock } from "../core/clock.ts";
import { textFrame } from "../core/frame.ts";
import type { CloseReason, ConnectionEvents } from "./connection.ts";
import { EngineConnection, type EngineShared } from "./engine-connection.ts";
import {
  engineErrors,
  type EngineError,
  handshakeOf,
  isOriginAllowed,
  newSid,
  openPacket,
  parseQuery,
} from "./handshake.ts";
import { TimerWheel } from "./heartbeat.ts";
import type { Log } from "./namespace.ts";
import type { GatewaySettings } from "./settings.ts";
import { createWebSocketDoor, type EngineWebSocket, refuseUpgrade, type WebSocketDoor } from "./websocket.ts";

export const enginePath = "/socket.io/";

export interface EngineOptions<Scope> {
  readonly settings: GatewaySettings;
  readonly clock: Clock;
  readonly log: Log;
  /** Gives a new connection its owner, before its first byte is read. */
  open(connection: EngineConnection, scope: Scope): ConnectionEvents;
  onClosed?(reason: CloseReason): void;
}

/**
 * The Engine.IO 4 server: makes connections of requests to `/socket.io/`, on any number of HTTP servers. `Scope` is
 * what a server says about the connections that come in through it.
 */
export class Engine<Scope> {
  readonly #options: EngineOptions<Scope>;
  readonly #door: WebSocketDoor;
  readonly #shared: EngineShared;
  readonly #connections = new Map<string, EngineConnection>();
  readonly #detachments = new Set<() => void>();
  #open = true;

  constructor(options: EngineOptions<Scope>) {
    const { settings, clock } = options;
    this.#options = options;
    this.#door = createWebSocketDoor(settings);
    const shortest = Math.min(settings.pingIntervalMs, settings.pingTimeoutMs, settings.connectTimeoutMs);
    const wheel = new TimerWheel(clock, Math.max(5, Math.min(1_000, Math.floor(shortest / 20))));
    this.#shared = {
      settings,
      wheel,
      pingTicks: wheel.ticksWithin(settings.pingIntervalMs),
      pingTimeoutTicks: wheel.ticksBeyond(settings.pingTimeoutMs),
      connectTicks: wheel.ticksBeyond(settings.connectTimeoutMs),
      forget: (connection, reason) => {
        this.#connections.delete(connection.id);
        options.onClosed?.(reason);
      },
    };
  }

  get connections(): ReadonlyMap<string, EngineConnection> {
    return this.#connections;
  }

  /**
   * Takes the requests to `/socket.io/` from a server's present listeners, who keep all other paths. The returned
   * function gives them back; connections stay.
   */
  attach(server: HttpServer | HttpsServer, scope: Scope): () => void {
    const others = server.listeners("request");
    let attached = true;
    const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
      if (attached && isEnginePath(request.url)) this.#onRequest(request, response, scope);
      else for (const other of others) Reflect.apply(other, server, [request, response]);
    };
    const onUpgrade = (request: IncomingMessage, wire: Duplex, head: Buffer): void => {
      if (isEnginePath(request.url)) this.#onUpgrade(request, wire, head, scope);
      else if (server.listenerCount("upgrade") === 1) refuseUpgrade(wire, "404 Not Found", "");
    };
    server.removeAllListeners("request");
    server.on("request", onRequest);
    server.on("upgrade", onUpgrade);
    const detach = (): void => {
      if (!this.#detachments.delete(detach)) return;
      attached = false;
      server.off("upgrade", onUpgrade);
    };
    this.#detachments.add(detach);
    return detach;
  }

  /** Takes no more connections; those there are stay. */
  refuse(): void {
    this.#open = false;
  }

  /** Gives the servers back and closes every connection. */
  close(reason: CloseReason): void {
    this.#open = false;
    for (const detach of this.#detachments) detach();
    for (const connection of this.#connections.values()) connection.close(reason);
  }

  #onRequest(request: IncomingMessage, response: ServerResponse, _scope: Scope): void {
    void request;
    response.writeHead(400).end();
  }

  #onUpgrade(request: IncomingMessage, wire: Duplex, head: Buffer, scope: Scope): void {
    const { settings } = this.#shared;
    const query = parseQuery(request.url ?? "");
    if (!isOriginAllowed(request.headers, settings.origins)) refuse(wire, "403 Forbidden", engineErrors.forbidden);
    else if ("code" in query) refuse(wire, "400 Bad Request", query);
    else if (query.transport !== "websocket") refuse(wire, "400 Bad Request", engineErrors.badRequest);
    else if (!this.#open) refuse(wire, "503 Service Unavailable", engineErrors.badRequest);
    else if (query.sid === "")
      this.#door.open(request, wire, head, (socket) => this.#welcome(request, wire, socket, scope));
    else refuse(wire, "400 Bad Request", engineErrors.unknownSid);
  }

  #welcome(request: IncomingMessage, wire: Duplex, socket: EngineWebSocket, scope: Scope): void {
    const { settings, clock } = this.#options;
    const connection = new EngineConnection(newSid(), this.#shared, socket, handshakeOf(request, clock.now()));
    connection.events = this.#options.open(connection, scope);
    this.#connections.set(connection.id, connection);
    socket.adopt(connection, wire);
    socket.write([textFrame(openPacket(connection.id, [], settings))]);
  }
}

function isEnginePath(url: string | undefined): boolean {
  return url !== undefined && url.startsWith(enginePath);
}

function refuse(wire: Duplex, status: string, error: EngineError): void {
  refuseUpgrade(wire, status, JSON.stringify(error));
}
