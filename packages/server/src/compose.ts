import { randomUUID } from "node:crypto";
import type { Server as HttpServer } from "node:http";
import path from "node:path";
import type { Server as SocketIoServer } from "socket.io";
import type { Bus } from "./bus/bus.ts";
import { absentBus, localBus } from "./bus/local.ts";
import { redisBus } from "./bus/redis.ts";
import { redisAdapter, type RedisAdapter } from "./bus/redis-adapter.ts";
import { redisSettings } from "./bus/redis-settings.ts";
import type { RunningNode } from "./commands/command.ts";
import { readVersion } from "./commands/version.ts";
import type { Config } from "./config.ts";
import { type AccessFunction, ownPolicy, storedMemberships } from "./core/access.ts";
import { systemClock } from "./core/clock.ts";
import { defaultFeedsLimits } from "./core/feeds.ts";
import { defaultTenant, type LogId, logId, roomOf } from "./core/log.ts";
import { startMaintenance } from "./core/maintenance.ts";
import { type NodeLimits, ParleyNode } from "./core/node.ts";
import type { Operations } from "./core/operations.ts";
import { UserRates } from "./core/rate-limit.ts";
import { createOperations } from "./core/server-api.ts";
import { adminNamespace } from "./gateway/admin.ts";
import { type AdminSessions, createAdminSessions } from "./gateway/admin-session.ts";
import { createAppNamespaces } from "./gateway/app-namespaces.ts";
import { type AuthenticateFunction, createAuthenticator, createTokenVerifier } from "./gateway/authenticate.ts";
import { type ClientSocket, type OwnEvent, rootNamespace } from "./gateway/events.ts";
import { createGateway, type Gateway } from "./gateway/gateway.ts";
import { developmentRoom } from "./http/development.ts";
import type { Readiness } from "./http/health.ts";
import { createMetrics, type Metrics } from "./http/metrics.ts";
import { startHttp, startInternal } from "./http/server.ts";
import { eventLog, type Log } from "./log.ts";
import {
  describePostgres,
  migratePostgres,
  openPostgresStore,
  refusePostgresBackup,
  restoredPostgres,
  showPostgres,
} from "./store/postgres.ts";
import { backupSqlite, openSqliteStore, restoreSqlite } from "./store/sqlite.ts";
import { BackupRefused, type Store } from "./store/store.ts";

export interface NodeOptions {
  readonly log: Log;
  /** Signs the administrator's one-time links. */
  readonly adminSecret: string;
  /** The app's own, in the place of tokens. */
  readonly authenticate?: AuthenticateFunction | undefined;
  /** The app's own, in the place of stored memberships. */
  readonly access?: AccessFunction | undefined;
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
  /** Both ports of a node that stands alone. */
  openPorts(): Promise<{ readonly publicUrl: string; readonly internalUrl: string } & AsyncDisposable>;
}

export async function openNode(config: Config, options: NodeOptions): Promise<OpenNode> {
  await using opening = new AsyncDisposableStack();
  const { log } = options;
  const clock = systemClock;
  const metrics = opening.adopt(createMetrics(readVersion()), (opened) => opened.close());
  const store = opening.use(await openStore(config, metrics));
  const id = randomUUID();
  const bus = opening.use(openBus(id, config, log, metrics));
  const node = createNode(id, config, options, { store, bus });
  opening.defer(startMaintenance(store, clock, config.clientIdKeepDays));
  opening.defer(() => node.stop());
  await node.start();
  const operations = createOperations(node);
  metrics.follow(() => operations.statistics());
  const adminSessions = createAdminSessions(options.adminSecret, clock);
  const appAdapter = openAppAdapter(id, config, log, metrics);
  if (appAdapter !== null) opening.use(appAdapter);
  const edge = openEdge({ config, options, node, operations, metrics, adminSessions, appAdapter });
  opening.defer(() => edge.gateway.close("server_closing"));
  let stopping = false;
  const parts = {
    config,
    log,
    metrics,
    operations,
    adminSessions,
    clock,
    version: readVersion(),
    attachPublic: (server: HttpServer) => void edge.gateway.attach(server),
    attachInternal: (server: HttpServer) => void edge.gateway.attach(server, { namespaces: ["/admin"] }),
    readiness: () => {
      if (stopping) return { ready: false, reason: "this node is stopping" } as const;
      return edge.gateway.paused ? ({ ready: false, reason: "this node is draining" } as const) : readinessOf(store);
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
      if (!bus.alone) await edge.gateway.drain(config.drain);
      edge.gateway.close("server_closing");
    },
    openInternal: () => startInternal(parts),
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

function openStore({ store }: Config, metrics: Metrics): Promise<Store> {
  const parts = {
    clock: systemClock,
    onCommit: (seconds: number, entries: number) => metrics.storeCommitted(seconds, entries),
  };
  return store.url === undefined
    ? openSqliteStore({ folder: path.resolve(store.path), ...parts })
    : openPostgresStore({ url: store.url, ...parts });
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
}

/** What clients meet: the gateway and its namespaces. */
function openEdge({ config, options, node, operations, metrics, adminSessions, appAdapter }: EdgeParts) {
  const { log } = options;
  const clock = systemClock;
  const verifier = createTokenVerifier(config.auth, clock, {
    onKeysFailure: (error: unknown) => log.warn({ error }, "keys_unavailable"),
  });
  const authenticate = createAuthenticator({
    auth: config.auth,
    clock,
    verifier,
    adminSessions,
    ...(options.authenticate === undefined ? {} : { authenticate: options.authenticate }),
    onFailure: (error) => log.error({ error }, "authenticate_failed"),
  });
  const ownEvents = new Map<string, OwnEvent>();
  const connectionListeners = new Set<(client: ClientSocket) => void>();
  const rates = {
    perConnectionPerSecond: config.limits.eventsPerSecond,
    perConnectionBurst: config.limits.eventsBurst,
    perUserPerSecond: config.limits.userEventsPerSecond,
    perUserBurst: config.limits.userEventsBurst,
  };
  const limited = { rates, userRates: new UserRates(clock, rates) };
  const root = rootNamespace({
    node,
    authenticate,
    ...limited,
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
  const service = {
    drain: () => gateway.pause(config.drain),
    undrain: () => gateway.resume(),
  };
  const admin = adminNamespace({ node, operations, service, authenticate, ...limited, log: eventLog(log) });
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
    onClosed: (reason) => metrics.disconnected(reason),
  });
  return { gateway, ownEvents, connectionListeners, app };
}

function gatewaySettings(config: Config) {
  return {
    ...config.heartbeat,
    connectionsMax: config.limits.connectionsMax,
    payloadBytesMax: config.limits.payloadBytesMax,
    windowBytes: config.limits.windowBytes,
    queuedPacketsMax: config.limits.pendingRequestsMax,
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

async function readinessOf(store: Store): Promise<Readiness> {
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

export async function backupStore(config: Config, target: string): Promise<void> {
  if (config.store.url !== undefined) refusePostgresBackup();
  await backupSqlite(path.resolve(config.store.path), target);
}

export async function restoreStore({ store }: Config, source: string | undefined): Promise<void> {
  if (store.url !== undefined) {
    if (source !== undefined) {
      throw new BackupRefused(
        "this store is in Postgres: restore the database by its own means, then run `parley restore` without a file",
      );
    }
    await restoredPostgres(store.url);
  } else {
    if (source === undefined) throw new BackupRefused("which copy? parley restore FILE");
    restoreSqlite(source, path.resolve(store.path));
  }
}

/** Opening a store brings its schema up to date. */
export async function migrateStore(config: Config): Promise<void> {
  if (config.store.url !== undefined) return migratePostgres(config.store.url);
  const store = await openSqliteStore({ folder: path.resolve(config.store.path), clock: systemClock });
  await store[Symbol.asyncDispose]();
}

export function showStore({ store }: Config): string {
  return store.url === undefined ? store.path : showPostgres(store.url);
}

export async function probeStore({ store }: Config): Promise<{ version: string; fsync: boolean } | undefined> {
  return store.url === undefined ? undefined : describePostgres(store.url);
}
