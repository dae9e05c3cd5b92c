import {
  accessSync,
  constants,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
} from "node:fs";
import { createServer, type ListenOptions } from "node:net";
import { availableParallelism } from "node:os";
import path from "node:path";
import type { Config } from "../config.ts";
import { secretWeakness } from "../config-rules.ts";
import { urlOfPort } from "../http/port.ts";
import type { Composition, Run } from "./command.ts";
import { load } from "./settings.ts";

export interface Finding {
  readonly what: string;
  /** `warn` is worth knowing; `bad` keeps a production node from working. */
  readonly state: "good" | "warn" | "bad";
  readonly detail: string;
}

const nodeMajorMin = 24;
// The year in which this was written: a clock that shows an earlier one was never set.
const earliestYear = 2025;
const clockAheadMs = 10_000;

export const diagnose: Run = async (context) => {
  const { config } = load(context, "production", false);
  const folder = path.resolve(context.folder, config.store.path);
  const findings = [
    checkNode(process.versions.node),
    ...(writesFolder(config) ? [checkFolder(folder)] : []),
    ...(await checkServer(() => context.compose(), config)),
    ...(await checkPorts(config)),
    checkSecret(config),
    checkOpenFiles(readFileLimit(), config.limits.connectionsMax),
    ...(await checkWorkers(config.server.workers)),
    checkClock(folder, Date.now()),
  ];
  const marks = { good: "ok  ", warn: "warn", bad: "BAD " };
  for (const { what, state, detail } of findings) context.print(`${marks[state]}  ${what.padEnd(13)} ${detail}`);
  return findings.some(({ state }) => state === "bad") ? 1 : 0;
};

/** For the embedded store, or for the secret of administrators where there is no other. */
function writesFolder({ store, auth }: Config): boolean {
  return store.url === undefined || auth.secret === undefined;
}

export function checkNode(version: string): Finding {
  const good = Number.parseInt(version, 10) >= nodeMajorMin;
  return {
    what: "Node",
    state: good ? "good" : "bad",
    detail: good ? version : `${version}; ${nodeMajorMin} or later is needed`,
  };
}

export function checkFolder(folder: string): Finding {
  const what = "folder";
  let existing = folder;
  while (!existsSync(existing) && path.dirname(existing) !== existing) existing = path.dirname(existing);
  try {
    accessSync(existing, constants.R_OK | constants.W_OK | constants.X_OK);
    // Why more than asking: the administrator passes every question of rights, and a disk may be read-only.
    rmdirSync(mkdtempSync(path.join(existing, ".parley-doctor-")));
    return { what, state: "good", detail: `${folder} can be written to` };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { what, state: "bad", detail: `${folder} cannot be written to (${reason}): PARLEY_STORE_PATH` };
  }
}

/** The server of a shared store. */
async function checkServer(
  compose: () => Promise<Pick<Composition, "probeStore" | "showStore">>,
  config: Config,
): Promise<readonly Finding[]> {
  if (config.store.url === undefined) return [];
  const what = "store";
  const { probeStore, showStore } = await compose();
  try {
    const server = await probeStore(config);
    if (server === undefined) return [];
    const detail = `Postgres ${server.version} at ${showStore(config)}`;
    return [
      server.fsync
        ? { what, state: "good", detail }
        : { what, state: "warn", detail: `${detail}, with fsync off: a failure of its machine loses commits` },
    ];
  } catch (error) {
    return [{ what, state: "bad", detail: error instanceof Error ? error.message : String(error) }];
  }
}

async function checkPorts({ server, internal }: Config): Promise<readonly Finding[]> {
  const running = await isNodeRunning(internal);
  const check = async (what: string, { host, port }: Config["internal"], variable: string): Promise<Finding> => {
    if (await isListened({ host, port })) return { what, state: "good", detail: `${host}:${port} is free` };
    if (running) return { what, state: "good", detail: `${host}:${port} is taken by a Parley node that runs` };
    return { what, state: "bad", detail: `${host}:${port} cannot be listened on: ${variable}` };
  };
  return [
    await check("public port", server, "PARLEY_SERVER_PORT"),
    await check("internal port", internal, "PARLEY_INTERNAL_PORT"),
  ];
}

function isListened(options: ListenOptions): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    probe.listen(options, () => probe.close(() => resolve(true)));
  });
}

async function isNodeRunning(internal: Config["internal"]): Promise<boolean> {
  try {
    const response = await fetch(`${urlOfPort(internal)}/metrics`, { signal: AbortSignal.timeout(2_000) });
    return (await response.text()).includes("parley_build_info");
  } catch {
    return false;
  }
}

function checkSecret({ auth }: Config): Finding {
  const what = "secret";
  if (auth.secret === undefined) {
    return auth.jwksUrl === undefined
      ? { what, state: "warn", detail: "none is set: production needs PARLEY_AUTH_SECRET or PARLEY_AUTH_JWKS_URL" }
      : { what, state: "good", detail: "none is needed: tokens are verified by the JWKS" };
  }
  const weakness = secretWeakness(auth.secret);
  return weakness === undefined
    ? { what, state: "good", detail: `${Buffer.byteLength(auth.secret)} bytes` }
    : { what, state: "bad", detail: `it ${weakness}: PARLEY_AUTH_SECRET` };
}

export function checkOpenFiles(limit: number | undefined, connectionsMax: number): Finding {
  const what = "open files";
  if (limit === undefined) return { what, state: "warn", detail: "the limit is not known here" };
  const needed = connectionsMax + 1_024;
  return limit >= needed
    ? { what, state: "good", detail: `${limit} are allowed` }
    : {
        what,
        state: "warn",
        detail: `${limit} are allowed, ${needed} are needed for PARLEY_LIMITS_CONNECTIONS_MAX=${connectionsMax}: ulimit -n`,
      };
}

/** Whether this system spreads the connections of one port over processes; without workers nobody asks. */
export async function checkWorkers(workers: number, processors = availableParallelism()): Promise<readonly Finding[]> {
  if (workers === 1) return [];
  const what = "workers";
  if (!(await isListened({ host: "127.0.0.1", port: 0, reusePort: true }))) {
    return [{ what, state: "bad", detail: "this system does not share a port among them: PARLEY_SERVER_WORKERS=1" }];
  }
  const detail = `${workers}, on ${processors} processors`;
  return workers > processors
    ? [{ what, state: "warn", detail: `${detail}: more of them do not carry more` }]
    : [{ what, state: "good", detail }];
}

/** The soft limit of this process; undefined where the system has no such file. */
export function readFileLimit(): number | undefined {
  try {
    const [, limit = ""] = /^Max open files\s+(\S+)/m.exec(readFileSync("/proc/self/limits", "utf8")) ?? [];
    return limit === "unlimited" ? Number.POSITIVE_INFINITY : Number.parseInt(limit, 10) || undefined;
  } catch {
    return undefined;
  }
}

/** A clock that was set back shows in files that were written later than now. */
export function checkClock(folder: string, now: number): Finding {
  const what = "clock";
  const shown = new Date(now).toISOString();
  if (new Date(now).getUTCFullYear() < earliestYear)
    return { what, state: "bad", detail: `it shows ${shown}: tokens would not be valid yet` };
  const aheadMs = lastWriteIn(folder) - now;
  return aheadMs > clockAheadMs
    ? {
        what,
        state: "warn",
        detail: `it shows ${shown}, but ${folder} was written to ${Math.round(aheadMs / 1_000)} s later: was it set back?`,
      }
    : { what, state: "good", detail: shown };
}

function modifiedAt(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/** 0 where there is nothing that can be read, of which `checkFolder` tells. */
function lastWriteIn(folder: string): number {
  try {
    return Math.max(0, ...readdirSync(folder).map((name) => modifiedAt(path.join(folder, name))));
  } catch {
    return 0;
  }
}
