// One run of one workload against one server; this process is the generator. `run.ts` starts it for each run.
// usage: node bench/run-one.ts --workload NAME --server NAME [--short] [--server-cores LIST]; prints one line of JSON
import { randomBytes } from "node:crypto";
import { mkdirSync, rmSync, statfsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { allowOpenFiles } from "./machine/pin.ts";
import type { RunReport } from "./run-report.ts";
import { serverKind } from "./servers/all.ts";
import type { ServerKind } from "./servers/server.ts";
import { tokensOf } from "./token.ts";
import { workloadsCalled } from "./workloads/all.ts";
import type { Workload } from "./workloads/workload.ts";

const tmpfsType = 0x01021994;

const { values } = parseArgs({
  options: {
    workload: { type: "string" },
    server: { type: "string" },
    short: { type: "boolean", default: false },
    "server-cores": { type: "string" },
  },
});
const workload = workloadsCalled(values.workload ?? "").find(({ name }) => name === values.workload);
if (workload === undefined) throw new Error(`${values.workload} is no single workload`);
const kind = serverKind(values.server ?? "");
const scale = values.short ? "short" : "full";
const cores = values["server-cores"] ?? workload.serverCores;
const directory = fileURLToPath(new URL(`.runs/${process.pid}`, import.meta.url));

allowOpenFiles(workload.openFiles(scale));
mkdirSync(directory, { recursive: true });
try {
  if (kind.durable && statfsSync(directory).type === tmpfsType)
    throw new Error(`${directory} is in memory: its fsync would cost nothing`);
  const missing = kind.missing() ?? unfit(workload, kind);
  console.log(JSON.stringify(missing === undefined ? await measured(workload, kind) : absent(workload, kind, missing)));
} finally {
  rmSync(directory, { recursive: true, force: true });
}

function unfit(chosen: Workload, peer: ServerKind): string | undefined {
  const { nodes, workers = 1 } = chosen;
  const { nodesMax } = peer;
  const reason = chosen.unfit?.(peer);
  if (reason !== undefined) return reason;
  if (workers > 1 && peer.workers !== true) return `it is one process, and the workload has ${workers} behind one port`;
  return nodes > nodesMax ? `it knows no other node, and the workload has ${nodes}` : undefined;
}

async function measured(chosen: Workload, peer: ServerKind): Promise<RunReport> {
  const { name, nodes, workers = 1, raiseRateLimits } = chosen;
  const secret = randomBytes(32).toString("hex");
  await using server = await peer.start({
    cores,
    secret,
    directory,
    raiseRateLimits,
    nodes,
    workers,
    usedServices: scale === "full",
  });
  const figures = await chosen.run({ kind: peer, server, secret, tokenOf: tokensOf(secret), scale });
  const { command, versions, settings } = server;
  return {
    workload: name,
    server: peer.name,
    command,
    cores,
    versions,
    settings: [...settings],
    figures: [...figures],
  };
}

function absent({ name }: Workload, { name: server }: ServerKind, missing: string): RunReport {
  return { workload: name, server, command: "", cores, versions: {}, settings: [], figures: [], missing };
}
