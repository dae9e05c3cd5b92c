import type { Server as HttpServer } from "node:http";
import type { Server as HttpsServer } from "node:https";
import { type Clock, systemClock } from "../core/clock.ts";
import type { CloseReason } from "./connection.ts";
import { drain, type DrainPace } from "./drain.ts";
import { Engine } from "./engine.ts";
import type { ForeignNamespaces } from "./foreign.ts";
import type { Log, NamespaceHandler } from "./namespace.ts";
import type { Neighbours } from "./neighbours.ts";
import { defaultGatewaySettings, type GatewaySettings } from "./settings.ts";
import { ClientSockets, isOperators, type Scope, type SocketsShared } from "./sockets.ts";

export interface GatewayOptions {
  readonly clock?: Clock;
  readonly log: Log;
  readonly settings?: Partial<GatewaySettings>;
  /** By name, as `/` and `/admin`. */
  readonly namespaces: ReadonlyMap<string, NamespaceHandler>;
  /** Who answers for all other names. Without: there are none. */
  readonly foreign?: ForeignNamespaces;
  /** The other processes that serve this port, if there are any. */
  readonly neighbours?: Neighbours | undefined;
  /** For each connection that ended, whatever had become of it. */
  onClosed?(reason: CloseReason): void;
}

/** Engine.IO and Socket.IO on HTTP servers, with a handler per namespace behind it. */
export interface Gateway {
  /** Clients that come in through this server may join `namespaces` alone; all of them without. */
  attach(server: HttpServer | HttpsServer, scope?: { readonly namespaces?: readonly string[] }): () => void;
  readonly connectionCount: number;
  /**
   * From now on every connection's headers are kept as long as it lives, not only until its first namespace was
   * joined: for handlers of further namespaces that look at them. It costs about a kilobyte per browser.
   */
  keepHandshakes(): void;
  /** New connections are refused with 503; those there are stay. */
  refuse(): void;
  /**
   * Takes no more clients, and moves those there are elsewhere at this pace, until `resume`. Operators stay, and may
   * come: they are who came in through a server without the namespace `/`.
   */
  pause(pace: DrainPace): void;
  resume(): void;
  readonly paused: boolean;
  /** As `refuse`, and moves the clients elsewhere at this pace. Resolves when they are gone. */
  drain(pace: DrainPace): Promise<void>;
  close(reason: CloseReason): void;
}

export function createGateway(options: GatewayOptions): Gateway {
  const settings: GatewaySettings = { ...defaultGatewaySettings, ...options.settings };
  const { log, namespaces, clock = systemClock } = options;
  const shared: SocketsShared = {
    settings,
    log,
    keepHandshakes: false,
    namespaces,
    foreign: options.foreign ?? null,
  };
  const engine = new Engine<Scope>({
    settings,
    log,
    clock,
    open: (connection, scope) => new ClientSockets(connection, shared, scope),
    neighbours: options.neighbours,
    onClosed: (reason) => options.onClosed?.(reason),
  });
  let pausing: AbortController | null = null;
  const resume = (): void => {
    pausing?.abort();
    pausing = null;
    engine.hold(null);
  };
  return {
    attach: (server, scope) =>
      engine.attach(server, { namespaces: scope?.namespaces === undefined ? "all" : new Set(scope.namespaces) }),
    get connectionCount() {
      return engine.connections.size;
    },
    keepHandshakes: () => {
      shared.keepHandshakes = true;
    },
    refuse: () => engine.refuse(),
    pause(pace) {
      if (pausing !== null) return;
      pausing = new AbortController();
      engine.hold((scope) => !isOperators(scope));
      const clients = [...engine.connections.values()].filter(({ events }) => events?.isOperators !== true);
      void drain(clients, clock, pace, pausing.signal);
    },
    resume,
    get paused() {
      return pausing !== null;
    },
    drain: (pace) => {
      engine.refuse();
      resume();
      return drain(engine.connections.values(), clock, pace);
    },
    close: (reason) => engine.close(reason),
  };
}
