import { randomUUID } from "node:crypto";
import type { Server as HttpServer } from "node:http";
import type { Server as SocketIoServer } from "socket.io";
import type { Bus } from "./bus/bus.ts";
import { absentBus, localBus } from "./bus/local.ts";
import { redisBus } from "./bus/redis.ts";
import { redisAdapter, type RedisAdapter } from "./bus/redis-adapter.ts";
import { redisSettings } from "./bus/redis-settings.ts";
import type { RunningNode } from "./commands/command.ts";
import { readVersion } from "./commands/version.ts";
import { openStore } from "./compose-store.ts";
import type { Config } from "./config.ts";
import { type AccessFunction, ownPolicy, storedMemberships } from "./core/access.ts";
import { systemClock } from "./core/clock.ts";
import { defaultFeedsLimits } from "./core/feeds.ts";
import { defaultTenant, type LogId, logId, roomOf } from "./core/log.ts";
import { startMaintenance } from "./core/maintenance.ts";
import { type NodeLimits, ParleyNode } from "./core/node.ts";
import type { NodeStatistics, Operations } from "./core/operations.ts";
import { RequestRates } from "./core/rate-limit.ts";
import { createOperations } from "./core/server-api.ts";
import { adminNamespace } from "./gateway/admin.ts";
import { type AdminSessions, createAdminSessions } from "./gateway/admin-session.ts";
import { createAppNamespaces } from "./gateway/app-namespaces.ts";
import { type AuthenticateFunction, createAuthenticator, createTokenVerifier } from "./gateway/authenticate.ts";
import { type ClientSocket, type OwnEvent, rootNamespace } from "./gateway/events.ts";
import { createGateway, type Gateway } from "./gateway/gateway.ts";
import type { Neighbours } from "./gateway/neighbours.ts";
import { developmentRoom } from "./http/development.ts";
import type { Readiness } from "./http/health.ts";
import { createMetrics, type Metrics, type MetricSamples } from "./http/metrics.ts";
import { startHttp, startInternal, startPublic } from "./http/server.ts";
import { eventLog, type Log } from "./log.ts";
import type { Store } from "./store/store.ts";

export interface NodeOptions {
  readonly log: Log;
  /** Signs the administrator's one-time links. */
  readonly adminSecret: string;
  /** The app's own, in the place of tokens. */
  readonly authenticate?: AuthenticateFunction | undefined;
  /** The app's own, in the place of stored memberships. */
  readonly access?: AccessFunction | undefined;
}

/** What a node that shares its machine with others gets from them, in the place of its own. */
export interface NodePlace {
  readonly id: string;
  /** Its name in metrics. */
  readonly worker: string;
  /** Opened for it by somebody else, who looks after it, too. */
  readonly store?: Store | undefined;
  /** Between the nodes of this machine alone: there is no other one to move clients to. */
  readonly bus?: Bus | undefined;
  readonly neighbours?: Neighbours;
  /** What the internal port says of all of them. Without: of this node. */
  readonly summary?: Summary;
}

export interface Summary {
  statistics(own: NodeStatistics): NodeStatistics;
  metrics(own: MetricSamples): Promise<string>;
  readiness(own: Readiness): Readiness;
  /** An administrator takes all of them out of service, or puts them back. */
  onService(draining: boolean): void;
}

/** A node without its HTTP servers: what `parley start` and an embedding app have in common. */
export interface OpenNode extends AsyncDisposable {
  readonly config: Config;
  readonly node: ParleyNode;
  readonly operations: Operations;
  readonly gateway: Gateway;
  readonly metrics: Metrics;
  /** The app's own events on `/`, by name. */
  readonly ownEvents: Map<string, OwnEvent>;
  readonly connectionListeners: Set<(client: ClientSocket) => void>;
  readonly io: SocketIoServer;
  /** Takes no more clients, and moves those there are to other nodes, if there are any; closes them otherwise. */
  drain(): Promise<void>;
  /** The internal port: admin page, API, metrics, health. */
  openInternal(): Promise<{ readonly url: string } & AsyncDisposable>;
  /** The public port, which others of this machine listen on, too. `onServer` is called before it does. */
  openShared(onServer: (server: HttpServer) => void): Promise<AsyncDisposable>;
  /** Both ports of a node that stands alone. */
  openPorts(): Promise<{ readonly publicUrl: string; readonly internalUrl: string } & AsyncDisposable>;
}

export async function openNode(config: Config, options: NodeOptions, place?: NodePlace): Promise<OpenNode> {
  await using opening = new AsyncDisposableStack();
  const { log } = options;
  const { metrics, store, bus, node } = opening.use(await openCore(config, options, place));
  const own = createOperations(node);
  metrics.follow(() => own.statistics());
  const operations = summarized(own, place?.summary);
  const adminSessions = createAdminSessions(options.adminSecret, systemClock);
  const appAdapter = openAppAdapter(node.id, config, log, metrics);
  if (appAdapter !== null) opening.use(appAdapter);
  const edge = openEdge({ config, options, node, operations, metrics, adminSessions, appAdapter, place });
  opening.defer(() => edge.gateway.close("server_closing"));
  let stopping = false;
  const parts = {
    config,
    log,
    metrics: place?.summary === undefined ? metrics : summarizedMetrics(metrics, place.summary),
    operations,
    adminSessions,
    clock: systemClock,
    version: readVersion(),
    attachPublic: (server: HttpServer) => void attached(server, edge.gateway),
    attachInternal: (server: HttpServer) => void edge.gateway.attach(server, { namespaces: ["/admin"] }),
    readiness: async () => {
      if (stopping) return { ready: false, reason: "this node is stopping" } as const;
      if (edge.gateway.paused) return { ready: false, reason: "this node is draining" } as const;
      const readiness = await readinessOf(store, node);
      return place?.summary?.readiness(readiness) ?? readiness;
    },
  };
  const opened = opening.move();
  return {
    config,
    node,
    operations,
    metrics,
    ...edge,
    get io() {
      return edge.app.io;
    },
    drain: async () => {
      stopping = true;
      edge.gateway.refuse();
      if (!bus.alone && place?.bus === undefined) await edge.gateway.drain(config.drain);
      edge.gateway.close("server_closing");
    },
    openInternal: () => startInternal(parts),
    openShared: (onServer) =>
      startPublic({ ...parts, attachPublic: (server) => onServer(attached(server, edge.gateway)), shared: true }),
    openPorts: async () => {
      const servers = await startHttp(parts);
      return {
        publicUrl: servers.public.url,
        internalUrl: servers.internal.url,
        [Symbol.asyncDispose]: () => servers[Symbol.asyncDispose](),
      };
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

/** A node that is started, with all that it works with and no edge. */
async function openCore(config: Config, options: NodeOptions, place: NodePlace | undefined) {
  await using opening = new AsyncDisposableStack();
  const metrics = opening.adopt(createMetrics(readVersion(), place?.worker), (opened) => opened.close());
  const store = opening.use(place?.store ?? (await openStore(config, metrics)));
  const id = place?.id ?? randomUUID();
  const bus = opening.use(place?.bus ?? openBus(id, config, options.log, metrics));
  const node = createNode(id, config, options, { store, bus });
  if (place?.store === undefined) opening.defer(startMaintenance(store, systemClock, config.clientIdKeepDays));
  opening.defer(() => node.stop());
  await node.start();
  const opened = opening.move();
  return { metrics, store, bus, node, [Symbol.asyncDispose]: () => opened.disposeAsync() };
}

function attached(server: HttpServer, gateway: Gateway): HttpServer {
  gateway.attach(server);
  return server;
}

function summarized(own: Operations, summary: Summary | undefined): Operations {
  return summary === undefined ? own : { ...own, statistics: () => summary.statistics(own.statistics()) };
}

function summarizedMetrics(own: Metrics, summary: Summary): Metrics {
  return { ...own, text: async () => summary.metrics(await own.samples()) };
}

function openBus(node: string, { bus, store }: Config, log: Log, metrics: Metrics): Bus {
  const { url, secret } = bus;
  // Why: other nodes may share a store in Postgres, whoever has told this one of them.
  if (url.length === 0 || secret === undefined) return store.url === undefined ? localBus() : absentBus();
  return redisBus(redisSettings(node, { ...bus, url, secret }), systemClock, {
    onDropped: (reason) => metrics.busDropped(reason),
    ...redisLog("bus", log, (state) => metrics.busState(state)),
  });
}

/** Null: the app's own namespaces have no other nodes. */
function openAppAdapter(node: string, { bus }: Config, log: Log, metrics: Metrics): RedisAdapter | null {
  const { url, secret } = bus;
  if (url.length === 0 || secret === undefined) return null;
  return redisAdapter(redisSettings(node, { ...bus, url, secret }), systemClock, {
    onDropped: (reason) => metrics.busDropped(reason),
    onFailure: (error) => log.error({ error }, "app_adapter_failed"),
    ...redisLog("app_adapter", log),
  });
}

/** What is told of connections to Redis, under names that begin with `part`. */
function redisLog(part: "bus" | "app_adapter", log: Log, onState?: (state: "up" | "down") => void) {
  let told = false;
  return {
    onState(state: "up" | "down") {
      onState?.(state);
      if (state === "up") log.info(`${part}_up`);
      else log.warn(`${part}_down`);
      told = false;
    },
    // Why only the first: while Redis is away, each attempt fails for the same reason.
    onTrouble(error: unknown) {
      if (!told) log.warn({ error }, `${part}_trouble`);
      told = true;
    },
  };
}

function createNode(
  id: string,
  config: Config,
  { access, log }: NodeOptions,
  { store, bus }: { readonly store: Store; readonly bus: Bus },
): ParleyNode {
  const openRooms = new Set<LogId>(config.mode === "development" ? [logId(defaultTenant, developmentRoom)] : []);
  return new ParleyNode({
    id,
    store,
    bus,
    clock: systemClock,
    policy: access === undefined ? storedMemberships(store, openRooms) : ownPolicy(access, roomOf),
    openRooms,
    limits: nodeLimits(config),
    onAccessFailure: (error) => log.warn({ error }, "access_failed"),
  });
}

interface EdgeParts {
  readonly config: Config;
  readonly options: NodeOptions;
  readonly node: ParleyNode;
  readonly operations: Operations;
  readonly metrics: Metrics;
  readonly adminSessions: AdminSessions;
  readonly appAdapter: RedisAdapter | null;
  readonly place: NodePlace | undefined;
}

/** What clients meet: the gateway and its namespaces. */
function openEdge({ config, options, node, operations, metrics, adminSessions, appAdapter, place }: EdgeParts) {
  const { log } = options;
  const clock = systemClock;
  const authenticate = openAuthenticator(config, options, adminSessions);
  const ownEvents = new Map<string, OwnEvent>();
  const connectionListeners = new Set<(client: ClientSocket) => void>();
  const rates = new RequestRates(clock, config.limits);
  const root = rootNamespace({
    node,
    authenticate,
    rates,
    ownEvents,
    counts: {
      request: (event, outcome) => metrics.requested(event, outcome),
      recovery: (result) => {
        if (result !== "new") metrics.recovered(result);
      },
    },
    log: eventLog(log),
    onConnected: (client) => {
      for (const listener of connectionListeners) listener(client);
    },
  });
  const admin = adminNamespace({
    node,
    operations,
    service: serviceOf(() => gateway, config, place),
    authenticate,
    rates,
    log: eventLog(log),
  });
  const app = createAppNamespaces({
    reserved: ["/admin"],
    namespacesMax: gatewaySettings(config).namespacesMax ?? 16,
    ...(appAdapter === null ? {} : { adapter: (namespace) => appAdapter.create(namespace) }),
    onOpen: () => gateway.keepHandshakes(),
  });
  const gateway: Gateway = createGateway({
    clock,
    log: eventLog(log),
    settings: gatewaySettings(config),
    namespaces: new Map([
      ["/", root],
      ["/admin", admin],
    ]),
    foreign: app,
    neighbours: place?.neighbours,
    onClosed: (reason) => metrics.disconnected(reason),
  });
  // What the app's own function looks at, a cookie perhaps, is there for namespaces that are joined later, too.
  if (options.authenticate !== undefined) gateway.keepHandshakes();
  return { gateway, ownEvents, connectionListeners, app };
}

function openAuthenticator({ auth }: Config, { authenticate, log }: NodeOptions, adminSessions: AdminSessions) {
  const verifier = createTokenVerifier(auth, systemClock, {
    onKeysFailure: (error: unknown) => log.warn({ error }, "keys_unavailable"),
  });
  return createAuthenticator({
    auth,
    clock: systemClock,
    verifier,
    adminSessions,
    ...(authenticate === undefined ? {} : { authenticate }),
    onFailure: (error) => log.error({ error }, "authenticate_failed"),
  });
}

/** What an administrator may do to this node; the gateway is asked for when it does. */
function serviceOf(gateway: () => Gateway, { drain }: Config, place: NodePlace | undefined) {
  return {
    drain: () => {
      gateway().pause(drain);
      place?.summary?.onService(true);
    },
    undrain: () => {
      gateway().resume();
      place?.summary?.onService(false);
    },
  };
}

function gatewaySettings(config: Config) {
  return {
    ...config.heartbeat,
    connectionsMax: config.limits.connectionsMax,
    payloadBytesMax: config.limits.payloadBytesMax,
    windowBytes: config.limits.windowBytes,
    pendingRequestsMax: config.limits.pendingRequestsMax,
    origins: config.origins.includes("*") ? ("*" as const) : config.origins,
    localOrigins: config.mode === "development",
    namespacesMax: 16,
  };
}

function nodeLimits({ limits, flush, recovery, access, presence, auth }: Config): NodeLimits {
  return {
    ...defaultFeedsLimits,
    tailBytesMax: limits.tailBytesMax,
    flushBudgetMs: flush.flushBudgetMs,
    roomsPerConnectionMax: limits.roomsPerConnectionMax,
    historyPageBytesMax: limits.historyPageBytesMax,
    catchUpMax: limits.catchUpMax,
    connectionsPerUserMax: limits.connectionsPerUserMax,
    presenceListMax: limits.presenceListMax,
    leaveGraceMs: presence.leaveGraceMs,
    expiringNoticeMs: auth.expiringNoticeMs,
    inboxSaveMs: 1_000,
    ...recovery,
    ...access,
  };
}

async function readinessOf(store: Store, { sequencer }: Pick<ParleyNode, "sequencer">): Promise<Readiness> {
  if (sequencer.away) return { ready: false, reason: "the store does not say what became of this node's last batch" };
  try {
    await store.states([]);
    return { ready: true };
  } catch {
    return { ready: false, reason: "the store is away" };
  }
}

/** A node of its own, on both ports. */
export async function startNode(config: Config, options: NodeOptions): Promise<RunningNode> {
  await using opening = new AsyncDisposableStack();
  const open = opening.use(await openNode(config, options));
  const ports = await open.openPorts();
  // Why in this order: the gateway closes its connections before the servers wait for theirs.
  opening.defer(async () => {
    await open.drain();
    await ports[Symbol.asyncDispose]();
  });
  const opened = opening.move();
  return {
    publicUrl: ports.publicUrl,
    internalUrl: ports.internalUrl,
    operations: open.operations,
    stop: () => opened.disposeAsync(),
  };
}
