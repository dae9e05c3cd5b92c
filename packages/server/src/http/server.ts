import type { Server } from "node:http";
import fastifySwagger from "@fastify/swagger";
import { fastify, type FastifyInstance } from "fastify";
import type { Config } from "../config.ts";
import type { Clock } from "../core/clock.ts";
import type { Operations } from "../core/operations.ts";
import type { AdminSessions } from "../gateway/admin-session.ts";
import { isEnginePath } from "../gateway/handshake.ts";
import type { Log } from "../log.ts";
import { apiRoutes } from "./api.ts";
import { createCallerCheck } from "./api-key.ts";
import { registerRoutes } from "./api-route.ts";
import { registerAdminSession } from "./admin.ts";
import { registerDevelopmentSession } from "./development.ts";
import { type Readiness, registerHealth } from "./health.ts";
import type { Metrics } from "./metrics.ts";
import { listenProblem, type PortSection, urlOfPort } from "./port.ts";
import { mapErrors, sendRefusal } from "./refusals.ts";
import { findWebFolder, protectPages, serveWeb } from "./web.ts";

export interface PublicOptions {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Puts the gateway on the server, before it listens. Takes over `/socket.io/`, for requests and upgrades alike. */
  attachPublic(server: Server): void;
  /** Other processes of this machine listen on the same port, and the kernel spreads connections. */
  readonly shared?: true;
  /** The built web app; found by itself when left out. */
  readonly webFolder?: string;
}

export interface InternalOptions {
  readonly config: Config;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly operations: Operations;
  readonly adminSessions: AdminSessions;
  readonly version: string;
  /** As `attachPublic`, for the namespace `/admin` alone. */
  attachInternal(server: Server): void;
  readiness(): Readiness | Promise<Readiness>;
  readonly webFolder?: string;
}

export interface HttpServer extends AsyncDisposable {
  /** `http://127.0.0.1:3000`, with the port that was really taken. */
  readonly url: string;
}

/**
 * Opens both ports. Disposing closes them: no new connection is taken, requests under way are answered, what is
 * left after `server.shutdownTimeoutMs` is cut. The gateway's own connections are the gateway's to close, before that.
 * Errors: rejects with `ConfigError`, naming the setting, when a port cannot be had.
 */
export async function startHttp(
  options: PublicOptions & InternalOptions,
): Promise<{ public: HttpServer; internal: HttpServer } & AsyncDisposable> {
  await using opening = new AsyncDisposableStack();
  const internal = opening.use(await startInternal(options));
  const open = opening.use(await startPublic(options));
  const opened = opening.move();
  return { public: open, internal, [Symbol.asyncDispose]: () => opened.disposeAsync() };
}

/** The port for clients: the chat page and `/socket.io/`. Errors: as `startHttp`. */
export async function startPublic(options: PublicOptions): Promise<HttpServer> {
  const { config, clock, log, metrics } = options;
  const app = createApp(config, log, metrics);
  if (config.mode === "development" && config.auth.secret !== undefined)
    registerDevelopmentSession(app, config.auth, clock);
  await serveWeb(app, options.webFolder ?? findWebFolder(), "/", "index.html");
  return listen(app, config, { section: "server", reusePort: options.shared === true }, (server) =>
    options.attachPublic(server),
  );
}

/** The port for operators and the app's backend: the admin page, API, metrics, health. */
export async function startInternal(options: InternalOptions): Promise<HttpServer> {
  const { config, log, metrics, operations, adminSessions } = options;
  const app = createApp(config, log, metrics);
  await app.register(fastifySwagger, { openapi: describeApi(options.version) });
  const checkCaller = createCallerCheck(config.api.keys, adminSessions);
  // In a plugin, because OpenAPI describes what is registered after it is ready.
  await app.register(async (routes) => {
    registerRoutes(routes, apiRoutes(operations), checkCaller);
    registerHealth(routes, () => options.readiness());
    registerAdminSession(routes, adminSessions);
    routes.get("/metrics", { schema: { hide: true } }, async (_request, reply) =>
      reply.type(metrics.contentType).send(await metrics.text()),
    );
    routes.get("/api/openapi.json", { schema: { hide: true } }, () => app.swagger());
    // Relative, like the page's own links: a proxy may serve all this below a path.
    routes.get("/", { schema: { hide: true } }, (_request, reply) => reply.redirect("admin"));
    routes.get("/admin/", { schema: { hide: true } }, (_request, reply) => reply.redirect("../admin"));
  });
  await serveWeb(app, options.webFolder ?? findWebFolder(), "/admin", "admin.html");
  return listen(app, config, { section: "internal", reusePort: false }, (server) => options.attachInternal(server));
}

function createApp(config: Config, log: Log, metrics: Metrics): FastifyInstance {
  const app = fastify({
    bodyLimit: config.limits.payloadBytesMax,
    // A slow sender holds a request no longer than this; answers may take their time (polling does).
    requestTimeout: 30_000,
    keepAliveTimeout: 72_000,
    // Why: some clients offer HTTP/2 with each request (`Upgrade: h2c`), as Java's does by itself. They are answered all the same.
    http: { shouldUpgradeCallback: ({ url }) => isEnginePath(url) },
    routerOptions: { maxParamLength: 1_024 },
    frameworkErrors: (_error, _request, reply) => {
      void sendRefusal(reply, { code: "bad_request", message: "the path cannot be read" });
    },
  });
  // Values are checked by the contract's own schemas (`api-route.ts`); the JSON Schemas are for OpenAPI.
  app.setValidatorCompiler(() => () => true);
  app.setSerializerCompiler(() => (answer) => JSON.stringify(answer));
  const parseJson = app.getDefaultJsonParser("error", "error");
  app.removeContentTypeParser(["application/json", "text/plain"]);
  app.addContentTypeParser("application/json", { parseAs: "string" }, (request, body, done) => {
    if (body.length === 0) done(null, undefined);
    else void parseJson(request, body.toString(), done);
  });
  app.decorateRequest("caller", "");
  mapErrors(app, log);
  protectPages(app);
  app.addHook("onResponse", async (request, reply) => {
    metrics.httpAnswered(request.routeOptions.url ?? "other", reply.statusCode);
  });
  return app;
}

/**
 * Connections that may wait until they are accepted, as far as the system lets them (`net.core.somaxconn`). Why: with
 * Node's own 511 most of a storm's are dropped, and their clients ask again a second later, then two, then four.
 */
const unacceptedMax = 4_096;

async function listen(
  app: FastifyInstance,
  config: Config,
  { section, reusePort }: { readonly section: PortSection; readonly reusePort: boolean },
  attach: (server: Server) => void,
): Promise<HttpServer> {
  const { port, host } = config[section];
  await app.ready();
  attach(app.server);
  try {
    // Why left out elsewhere: systems without it refuse the option itself.
    await app.listen({ port, host, backlog: unacceptedMax, ...(reusePort ? { reusePort } : {}) });
  } catch (error) {
    await app.close();
    throw listenProblem(error, section, config) ?? error;
  }
  return { url: urlOf(app.server, host), [Symbol.asyncDispose]: () => close(app, config.server.shutdownTimeoutMs) };
}

function urlOf(server: Server, host: string): string {
  const address = server.address();
  return urlOfPort({ host, port: typeof address === "object" && address !== null ? address.port : 0 });
}

async function close(app: FastifyInstance, timeoutMs: number): Promise<void> {
  const timer = setTimeout(() => app.server.closeAllConnections(), timeoutMs);
  try {
    await app.close();
  } finally {
    clearTimeout(timer);
  }
}

function describeApi(version: string) {
  const key = { type: "http", scheme: "bearer" } as const;
  return {
    openapi: "3.1.0",
    info: { title: "Parley", version, description: "The server-side API of a Parley node." },
    components: { securitySchemes: { key } },
    security: [{ key: [] }],
  };
}
