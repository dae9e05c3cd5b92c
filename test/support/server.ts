import path from "node:path";
import { z } from "zod";
import type { RunningNode } from "../../packages/server/src/commands/command.ts";
import { startNode } from "../../packages/server/src/compose.ts";
import { type Config, type ConfigOverrides, type Mode, resolveConfig } from "../../packages/server/src/config.ts";
import type { AccessFunction } from "../../packages/server/src/core/access.ts";
import { systemClock } from "../../packages/server/src/core/clock.ts";
import type { Operations } from "../../packages/server/src/core/operations.ts";
import { type AuthenticateFunction, mintToken } from "../../packages/server/src/gateway/authenticate.ts";
import { createLog } from "../../packages/server/src/log.ts";
import { repositoryRoot, spawnNode, type TestProcess } from "./process.ts";
import { createTemporaryFolder } from "./temporary-folder.ts";

const secret = "kP3vX9qLw7Zr2TnB8sYd5Gh1JmC6fAe4";
/** The key of the HTTP API of every server here. */
const apiKey = "test-key-kP3vX9qLw7Zr";
/** For a start: with workers, several processes begin. */
const readyLimitMs = 60_000;

export interface ServerOptions {
  /** Production by default: there, rooms are only those that the test makes. */
  readonly mode?: Mode;
  readonly overrides?: ConfigOverrides;
  /** Where the store is. Without: a temporary folder, removed at the end of the scope. */
  readonly folder?: string;
  readonly authenticate?: AuthenticateFunction;
  readonly access?: AccessFunction;
}

/** Settings that tests share: one secret, free loopback ports, JSON logs. */
function testConfig({ mode = "production", overrides = {}, authenticate }: ServerOptions, folder: string): Config {
  return resolveConfig({
    mode,
    ownAuthentication: authenticate !== undefined,
    overrides: {
      ...overrides,
      server: { host: "127.0.0.1", port: 0, ...overrides.server },
      internal: { host: "127.0.0.1", port: 0, ...overrides.internal },
      store: { path: folder, ...overrides.store },
      auth: { secret, ...overrides.auth },
      api: { keys: [apiKey], ...overrides.api },
      log: { format: "json", ...overrides.log },
    },
  });
}

export interface TestServer extends AsyncDisposable {
  readonly config: Config;
  readonly url: string;
  readonly internalUrl: string;
  readonly operations: Operations;
  /** Lines of the log, as JSON. */
  readonly lines: readonly string[];
  /** Stops the node; the store's folder stays until the end of the scope. Harmless when repeated. */
  stop(): Promise<void>;
}

/** A real node in this process, on both ports, with all that `parley start` has. */
export async function startServer(options: ServerOptions = {}): Promise<TestServer> {
  await using opening = new AsyncDisposableStack();
  const folder = options.folder ?? opening.use(await createTemporaryFolder()).path;
  const config = testConfig(options, folder);
  const lines: string[] = [];
  const node: RunningNode = await startNode(config, {
    log: createLog(config.log, (line) => lines.push(line)),
    adminSecret: secret,
    authenticate: options.authenticate,
    access: options.access,
  });
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopping ??= node.stop());
  opening.defer(stop);
  const opened = opening.move();
  return {
    config,
    url: node.publicUrl,
    internalUrl: node.internalUrl,
    operations: node.operations,
    lines,
    stop,
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

const readySchema = z.object({ event: z.literal("node_ready"), public: z.string(), internal: z.string() });

/** `parley start` as a process of its own, which a test may kill and start again. */
export class SpawnedServer implements AsyncDisposable {
  readonly config: Config;
  readonly folder: string;
  readonly #cleanup: AsyncDisposableStack;
  readonly #environment: Readonly<Record<string, string>>;
  #child: TestProcess | undefined;
  #urls = { public: "", internal: "" };

  constructor(
    config: Config,
    folder: string,
    environment: Readonly<Record<string, string>>,
    cleanup: AsyncDisposableStack,
  ) {
    this.config = config;
    this.folder = folder;
    this.#environment = environment;
    this.#cleanup = cleanup;
  }

  get url(): string {
    return this.#urls.public;
  }

  get internalUrl(): string {
    return this.#urls.internal;
  }

  /** The process of the last start. */
  get child(): TestProcess {
    if (this.#child === undefined) throw new Error("the server was not started");
    return this.#child;
  }

  /** On free ports the first time, then on those, with the same data. Resolves when it is ready. */
  async start(): Promise<void> {
    const environment = {
      PARLEY_SERVER_PORT: portOf(this.#urls.public),
      PARLEY_INTERNAL_PORT: portOf(this.#urls.internal),
      PARLEY_SERVER_HOST: "127.0.0.1",
      PARLEY_STORE_PATH: this.folder,
      PARLEY_AUTH_SECRET: secret,
      PARLEY_API_KEYS: apiKey,
      ...this.#environment,
    };
    const main = path.join(repositoryRoot, "packages/server/src/main.ts");
    const child = await spawnNode([main, "start"], { folder: this.folder, environment });
    this.#child = child;
    const [line = ""] = await child.waitForLine(/^.*"node_ready".*$/, readyLimitMs);
    this.#urls = readySchema.parse(JSON.parse(line));
  }

  /** `kill -9`. Resolves when the process is gone. */
  async kill(): Promise<void> {
    await this.#child?.stop("SIGKILL");
  }

  /** SIGTERM. Gives the exit code. */
  async stop(): Promise<number | null> {
    return (await this.child.stop("SIGTERM")).code;
  }

  /** Calls the HTTP API; `route` begins after `/api/v1`. Errors: rejects on any status from 400 on. */
  async api(method: string, route: string, body?: object): Promise<unknown> {
    const response = await fetch(`${this.internalUrl}/api/v1${route}`, {
      method,
      headers: {
        authorization: `Bearer ${apiKey}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${route}: ${response.status} ${text}`);
    return text === "" ? undefined : JSON.parse(text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child?.[Symbol.asyncDispose]();
    await this.#cleanup.disposeAsync();
  }
}

/** Starts a `SpawnedServer`. `environment`: settings as `PARLEY_…`, over those of the test. */
export async function spawnServer(
  options: { readonly folder?: string; readonly environment?: Readonly<Record<string, string>> } = {},
): Promise<SpawnedServer> {
  await using opening = new AsyncDisposableStack();
  const folder = options.folder ?? opening.use(await createTemporaryFolder()).path;
  const server = new SpawnedServer(testConfig({}, folder), folder, options.environment ?? {}, opening.move());
  try {
    await server.start();
    return server;
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}

function portOf(url: string): string {
  return url === "" ? "0" : new URL(url).port;
}

export interface TokenOptions {
  readonly roles?: readonly string[];
  readonly tenant?: string;
  /** One hour by default. Ends `auth.clockToleranceSeconds` later. */
  readonly expiresInSeconds?: number;
}

/** A token of this user that the server accepts. */
export function tokenFor(
  { config }: { readonly config: Config },
  userId: string,
  { roles = [], tenant, expiresInSeconds = 3_600 }: TokenOptions = {},
): Promise<string> {
  return mintToken(config.auth, systemClock, {
    userId,
    roles,
    lifetimeSeconds: expiresInSeconds,
    ...(tenant === undefined ? {} : { tenant }),
  });
}
