import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseHistogram } from "./metrics.ts";
import { ServerProcess } from "./process.ts";
import type { RunningServer, ServerKind, ServerOptions } from "./server.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const host = "127.0.0.1";

// Why: one connection plays thousands of users who send as fast as they can, which is what rate limits refuse.
const raisedLimits: Readonly<Record<string, string>> = {
  PARLEY_LIMITS_EVENTS_PER_SECOND: "1000000",
  PARLEY_LIMITS_EVENTS_BURST: "1000000",
  PARLEY_LIMITS_USER_EVENTS_PER_SECOND: "1000000",
  PARLEY_LIMITS_USER_EVENTS_BURST: "1000000",
};
const roomsAtOnce = 16;
const readyTimeoutMs = 20_000;

export const parley: ServerKind = {
  name: "parley",
  title: "Parley, one node on SQLite with fsync, JWT, access checks, history",
  sequenced: true,
  durable: true,
  start,
};

async function start({ cores, secret, directory, raiseRateLimits }: ServerOptions): Promise<RunningServer> {
  const dataDirectory = `${directory}/parley`;
  mkdirSync(dataDirectory, { recursive: true });
  const changed = raiseRateLimits ? raisedLimits : {};
  const apiKey = randomBytes(24).toString("base64url");
  const [port, internalPort] = await Promise.all([freePort(), freePort()]);
  const server = new ServerProcess({
    cores,
    arguments: ["--conditions=parley-source", `${root}packages/server/src/main.ts`, "start"],
    environment: {
      PARLEY_AUTH_SECRET: secret,
      PARLEY_SERVER_HOST: host,
      PARLEY_SERVER_PORT: String(port),
      PARLEY_INTERNAL_PORT: String(internalPort),
      PARLEY_STORE_PATH: dataDirectory,
      PARLEY_API_KEYS: apiKey,
      ...changed,
    },
    directory,
  });
  const api = `http://${host}:${internalPort}`;
  await answering(server, `${api}/health/ready`);
  return {
    host,
    port,
    pid: server.pid,
    command: server.command,
    versions: { parley: versionOf("packages/server"), ws: versionOf("node_modules/ws") },
    settings: Object.entries(changed).map(([name, value]) => `${name}=${value}`),
    get ended() {
      return server.ended;
    },
    memory: () => server.memory(),
    makeRooms: (names) => makeRooms(api, apiKey, names),
    commitTimes: async () => {
      const response = await fetch(`${api}/metrics`);
      return parseHistogram(await response.text(), "parley_store_commit_seconds");
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

async function answering(server: ServerProcess, url: string): Promise<void> {
  const deadline = performance.now() + readyTimeoutMs;
  while (performance.now() < deadline && server.ended === undefined) {
    const response = await fetch(url).catch(() => undefined);
    if (response?.ok === true) return;
    await wait(50);
  }
  const error = server.complaint(server.ended ?? `not ready within ${readyTimeoutMs} ms`);
  await server[Symbol.asyncDispose]();
  throw error;
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

/** A port that was free a moment ago; the server says at its start if it no longer is. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.on("error", reject);
    probe.listen(0, host, () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

function versionOf(path: string): string {
  return /"version": *"([^"]+)"/.exec(readFileSync(`${root}${path}/package.json`, "utf8"))?.[1] ?? "unknown";
}
