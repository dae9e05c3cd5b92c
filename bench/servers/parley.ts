import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { findFreePort } from "../../test/support/free-port.ts";
import { parseHistogram } from "./metrics.ts";
import { answering, nodeOf, Nodes } from "./nodes.ts";
import { ServerProcess } from "./process.ts";
import type { RunningServer, ServerKind, ServerOptions } from "./server.ts";
import { type Service, type Services, startServices } from "./services.ts";

/** The checkout whose Parley is run: this one, or another to compare with. */
const root = process.env["BENCH_PARLEY"] ?? fileURLToPath(new URL("../../", import.meta.url));
const host = "127.0.0.1";

// Why: one connection plays thousands of users who send as fast as they can, which is what rate limits refuse.
const raisedLimits: Readonly<Record<string, string>> = {
  PARLEY_LIMITS_EVENTS_PER_SECOND: "1000000",
  PARLEY_LIMITS_EVENTS_BURST: "1000000",
  PARLEY_LIMITS_USER_EVENTS_PER_SECOND: "1000000",
  PARLEY_LIMITS_USER_EVENTS_BURST: "1000000",
};
// Each is a commit, and commits go in groups.
const roomsAtOnce = 128;
const readyTimeoutMs = 20_000;

export const parley: ServerKind = {
  name: "parley",
  title: "Parley, one node on SQLite with fsync, JWT, access checks, history",
  sequenced: true,
  ordered: true,
  durable: true,
  comesBack: "positions",
  nodesMax: 1,
  workers: true,
  polling: true,
  missing: () => undefined,
  start: (options) => start(options, []),
};

export const parleyStock: ServerKind = {
  ...parley,
  name: "parley-stock",
  title: `${parley.title}; its clients recover as stock Socket.IO clients do`,
  comesBack: "session",
};

export const parleyCluster: ServerKind = {
  name: "parley-cluster",
  title: "Parley on Postgres (fsync) and Redis, JWT, access checks, history",
  sequenced: true,
  ordered: true,
  durable: true,
  comesBack: "positions",
  nodesMax: 8,
  workers: true,
  polling: true,
  missing: () => undefined,
  start: (options) => start(options, ["postgres", "redis"]),
};

async function start(options: ServerOptions, wanted: readonly Service[]): Promise<RunningServer> {
  const apiKey = randomBytes(24).toString("base64url");
  await using starting = new AsyncDisposableStack();
  const services = starting.use(await startServices(wanted, options.usedServices));
  const internalPorts: number[] = [];
  const nodes = starting.use(
    await Nodes.start(options.nodes, async () => {
      const internalPort = await findFreePort();
      internalPorts.push(internalPort);
      return startNode(options, { apiKey, internalPort, services });
    }),
  );
  const started = starting.move();
  // Ports are noted in the order of starting; nodes are lost from the front, and the last one started is always there.
  const api = () => `http://${host}:${internalPorts.at(-1)}`;
  return {
    host,
    get port() {
      return nodes.first.port;
    },
    get pid() {
      return nodes.first.pid;
    },
    get nodes() {
      return nodes.all;
    },
    get ended() {
      return nodes.all.find(({ ended }) => ended !== undefined)?.ended;
    },
    command: nodes.first.process.command,
    versions: { parley: versionOf("packages/server"), ws: versionOf("node_modules/ws") },
    settings: Object.entries(changedSettings(options)).map(([name, value]) => `${name}=${value}`),
    memory: () => nodes.first.process.memory(),
    makeRooms: (names) => makeRooms(api(), apiKey, names),
    commitTimes: async () => {
      const response = await fetch(`${api()}/metrics`);
      return parseHistogram(await response.text(), "parley_store_commit_seconds");
    },
    loseFirst: () => nodes.loseFirst(),
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  };
}

interface NodePlan {
  readonly apiKey: string;
  readonly internalPort: number;
  readonly services: Services;
}

async function startNode(options: ServerOptions, { apiKey, internalPort, services }: NodePlan) {
  const { cores, secret, directory } = options;
  const { postgresUrl, redisUrl } = services;
  const dataDirectory = `${directory}/parley`;
  mkdirSync(dataDirectory, { recursive: true });
  const port = await findFreePort();
  const server = new ServerProcess({
    cores,
    arguments: ["--conditions=parley-source", `${root}packages/server/src/main.ts`, "start"],
    environment: {
      PARLEY_AUTH_SECRET: secret,
      PARLEY_SERVER_HOST: host,
      PARLEY_SERVER_PORT: String(port),
      PARLEY_INTERNAL_PORT: String(internalPort),
      PARLEY_API_KEYS: apiKey,
      ...(postgresUrl === undefined ? { PARLEY_STORE_PATH: dataDirectory } : { PARLEY_STORE_URL: postgresUrl }),
      ...(redisUrl === undefined ? {} : { PARLEY_BUS_URL: redisUrl, PARLEY_BUS_SECRET: secret }),
      ...changedSettings(options),
    },
    directory,
  });
  await answering(server, `http://${host}:${internalPort}/health/ready`, readyTimeoutMs);
  return nodeOf(server, port);
}

function changedSettings({ raiseRateLimits, workers }: ServerOptions): Readonly<Record<string, string>> {
  return {
    ...(raiseRateLimits ? raisedLimits : {}),
    ...(workers === 1 ? {} : { PARLEY_SERVER_WORKERS: String(workers) }),
  };
}

async function makeRooms(api: string, apiKey: string, names: readonly string[]): Promise<void> {
  for (let from = 0; from < names.length; from += roomsAtOnce) {
    await Promise.all(names.slice(from, from + roomsAtOnce).map((name) => makeRoom(api, apiKey, name)));
  }
}

async function makeRoom(api: string, apiKey: string, name: string): Promise<void> {
  const response = await fetch(`${api}/api/v1/rooms/${name}`, {
    method: "PUT",
    headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
    body: JSON.stringify({ access: "public" }),
  });
  if (!response.ok) throw new Error(`room ${name}: ${response.status} ${await response.text()}`);
}

function versionOf(path: string): string {
  return /"version": *"([^"]+)"/.exec(readFileSync(`${root}${path}/package.json`, "utf8"))?.[1] ?? "unknown";
}
