import { type IncomingMessage, type Server as HttpServer, type ServerResponse, STATUS_CODES } from "node:http";
import type { Server as HttpsServer } from "node:https";
import type { Duplex } from "node:stream";
import type { Clock } from "../core/clock.ts";
import { textFrame } from "../core/frame.ts";
import { newSecret } from "../core/ids.ts";
import type { CloseReason, ConnectionEvents } from "./connection.ts";
import { EngineConnection, type EngineShared } from "./engine-connection.ts";
import {
  type EngineError,
  engineErrors,
  handshakeOf,
  isEnginePath,
  isOriginAllowed,
  notHereStatus,
  openPacket,
  parseQuery,
  preflightHeaders,
} from "./handshake.ts";
import { TimerWheel } from "./heartbeat.ts";
import { Lingering } from "./lingering.ts";
import type { Log } from "./namespace.ts";
import type { Neighbours } from "./neighbours.ts";
import { encodePayload } from "./payload.ts";
import { PerTurn } from "./per-turn.ts";
import { type PollingShared, PollingTransport, refuseRequest, respond } from "./polling.ts";
import type { GatewaySettings } from "./settings.ts";
import type { Transport } from "./transport.ts";
import { UpgradeProbe } from "./upgrade.ts";
import { createWebSocketDoor, type EngineWebSocket, type WebSocketDoor } from "./websocket.ts";
import { refuseUpgrade } from "./wire.ts";

/** Upgrades in one turn of the event loop: with what they cost, and what the clients send then, a few tens of ms. */
const welcomesPerTurn = 64;

export interface EngineOptions<Scope> {
  readonly settings: GatewaySettings;
  readonly clock: Clock;
  readonly log: Log;
  /** Without: no other process serves this port. */
  readonly neighbours?: Neighbours | undefined;
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
  /** Those who come by WebSocket. */
  readonly #welcomes: PerTurn;
  readonly #shared: EngineShared;
  readonly #polling: PollingShared;
  readonly #upgradeTicks: number;
  readonly #lingering: Lingering;
  readonly #connections = new Map<string, EngineConnection>();
  readonly #detachments = new Set<() => void>();
  #open = true;
  /** Whose connections are not taken for now; null: nobody's. */
  #held: ((scope: Scope) => boolean) | null = null;

  constructor(options: EngineOptions<Scope>) {
    const { settings, clock } = options;
    this.#options = options;
    this.#door = createWebSocketDoor(settings);
    this.#welcomes = new PerTurn(clock, welcomesPerTurn);
    const shortest = Math.min(settings.pingIntervalMs, settings.pingTimeoutMs, settings.connectTimeoutMs);
    const wheel = new TimerWheel(clock, Math.max(5, Math.min(100, Math.floor(shortest / 20))));
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
    this.#upgradeTicks = wheel.ticksBeyond(settings.upgradeTimeoutMs);
    this.#lingering = new Lingering(wheel, settings);
    this.#polling = {
      clock,
      payloadBytesMax: settings.payloadBytesMax,
      linger: (sid, unfetched) => this.#lingering.keep(sid, unfetched),
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

  /** Takes no more connections of these scopes until the next call; null takes all again. */
  hold(held: ((scope: Scope) => boolean) | null): void {
    this.#held = held;
  }

  /** Gives the servers back and closes every connection. Nothing is kept for who has not fetched it. */
  close(reason: CloseReason): void {
    this.#open = false;
    for (const detach of this.#detachments) detach();
    for (const connection of this.#connections.values()) connection.close(reason);
    this.#lingering.clear();
  }

  #takesMore(scope: Scope): boolean {
    const count = this.#connections.size + this.#welcomes.waiting;
    return this.#open && this.#held?.(scope) !== true && count < this.#shared.settings.connectionsMax;
  }

  #onRequest(request: IncomingMessage, response: ServerResponse, scope: Scope): void {
    const { settings } = this.#shared;
    if (!isOriginAllowed(request.headers, settings)) {
      refuseRequest(request, response, 403, engineErrors.originNotListed);
      return;
    }
    if (request.method === "OPTIONS") {
      response.writeHead(204, preflightHeaders(request.headers)).end();
      return;
    }
    const query = parseQuery(request.url ?? "");
    if ("code" in query) refuseRequest(request, response, 400, query);
    else if (query.transport !== "polling") refuseRequest(request, response, 400, engineErrors.badRequest);
    else if (query.sid !== "") this.#onPoll(request, response, query.sid);
    else if (request.method !== "GET") refuseRequest(request, response, 400, engineErrors.badHandshakeMethod);
    else if (!this.#takesMore(scope))
      refuseRequest(request, response, notHereStatus(request.headers, 503), engineErrors.forbidden);
    else this.#welcomePolling(request, response, scope);
  }

  #onPoll(request: IncomingMessage, response: ServerResponse, sid: string): void {
    const connection = this.#connections.get(sid);
    if (connection === undefined) {
      this.#onPollOfClosed(request, response, sid);
      return;
    }
    const { transport } = connection;
    if (!(transport instanceof PollingTransport)) refuseRequest(request, response, 400, engineErrors.badRequest);
    else if (request.method === "GET") transport.onGet(request, response);
    else if (request.method === "POST") void transport.onPost(request, response);
    else refuseRequest(request, response, 400, engineErrors.badRequest);
  }

  #onPollOfClosed(request: IncomingMessage, response: ServerResponse, sid: string): void {
    if (this.#options.neighbours?.giveRequest(sid, request, response) === true) return;
    const frames = request.method === "GET" ? this.#lingering.take(sid) : undefined;
    if (frames === undefined) {
      // Why 503 once it takes no more: a balancer then asks the next node, where a client that came since may be.
      const status = this.#open && this.#held === null ? 400 : 503;
      refuseRequest(request, response, notHereStatus(request.headers, status), engineErrors.unknownSid);
      return;
    }
    respond(request, response, "text/plain; charset=UTF-8", encodePayload(frames));
  }

  #welcomePolling(request: IncomingMessage, response: ServerResponse, scope: Scope): void {
    const sid = this.#newSid();
    const polling = new PollingTransport(sid, this.#polling);
    polling.adopt(this.#welcome(sid, request, polling, scope));
    const open = openPacket(sid, ["websocket"], this.#options.settings);
    // Why: a balancer can then remember the connection's node without reading the packet.
    response.setHeader("X-Parley-Connection", sid);
    respond(request, response, "text/plain; charset=UTF-8", Buffer.from(open));
  }

  #onUpgrade(request: IncomingMessage, wire: Duplex, head: Buffer, scope: Scope): void {
    const { settings } = this.#shared;
    const query = parseQuery(request.url ?? "");
    if (!isOriginAllowed(request.headers, settings)) refuse(wire, 403, engineErrors.originNotListed);
    else if ("code" in query) refuse(wire, 400, query);
    else if (query.transport !== "websocket") refuse(wire, 400, engineErrors.badRequest);
    else if (query.sid !== "") this.#onProbe(request, wire, head, query.sid);
    else if (!this.#takesMore(scope)) refuse(wire, notHereStatus(request.headers, 503), engineErrors.forbidden);
    else if (!this.#welcomes.run(() => this.#openDoor(request, wire, head, scope))) wire.on("error", ignore);
  }

  /** It may have waited for its turn. */
  #openDoor(request: IncomingMessage, wire: Duplex, head: Buffer, scope: Scope): void {
    wire.off("error", ignore);
    if (!this.#takesMore(scope)) refuse(wire, notHereStatus(request.headers, 503), engineErrors.forbidden);
    else this.#door.open(request, wire, head, (socket) => this.#welcomeWebSocket(request, wire, socket, scope));
  }

  #welcomeWebSocket(request: IncomingMessage, wire: Duplex, socket: EngineWebSocket, scope: Scope): readonly Buffer[] {
    const sid = this.#newSid();
    socket.adopt(this.#welcome(sid, request, socket, scope), wire);
    return [textFrame(openPacket(sid, [], this.#options.settings))];
  }

  #welcome(sid: string, request: IncomingMessage, transport: Transport, scope: Scope): EngineConnection {
    const handshake = handshakeOf(request, this.#options.clock.now());
    const connection = new EngineConnection(sid, this.#shared, transport, handshake);
    connection.events = this.#options.open(connection, scope);
    this.#connections.set(sid, connection);
    return connection;
  }

  /** Whoever knows a connection's id may speak for it. */
  #newSid(): string {
    return (this.#options.neighbours?.mark ?? "") + newSecret();
  }

  #onProbe(request: IncomingMessage, wire: Duplex, head: Buffer, sid: string): void {
    const connection = this.#connections.get(sid);
    if (connection === undefined) {
      if (this.#options.neighbours?.giveUpgrade(sid, request, wire, head) === true) return;
      refuse(wire, notHereStatus(request.headers, 400), engineErrors.unknownSid);
      return;
    }
    const { transport: polling } = connection;
    let probe: UpgradeProbe | null = null;
    // Why before the handshake: two of them at once must not both get through.
    if (!(polling instanceof PollingTransport) || !polling.probe(() => probe?.connectionEnded())) {
      refuse(wire, 400, engineErrors.badRequest);
      return;
    }
    this.#door.open(request, wire, head, (socket) => {
      probe = new UpgradeProbe(connection, polling, socket, this.#upgradeTicks);
      socket.adopt(probe, wire);
      return [];
    });
    // Nobody came through the door: it has answered with an error.
    if (probe === null) polling.probeEnded();
  }
}

function ignore(): void {}

function refuse(wire: Duplex, status: number, error: EngineError): void {
  refuseUpgrade(wire, `${status} ${STATUS_CODES[status]}`, JSON.stringify(error));
}
