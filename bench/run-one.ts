// One run of one workload against one server; this process is the generator. `run.ts` starts it for each run.
// usage: node bench/run-one.ts --workload NAME --server NAME [--short] [--server-cores LIST]; prints one line of JSON
import { randomBytes } from "node:crypto";
import { mkdirSync, rmSync, statfsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { allowOpenFiles } from "./machine/pin.ts";
import type { RunReport } from "./run-report.ts";
import { serverKind } from "./servers/all.ts";
import { workloadsCalled } from "./workloads/all.ts";

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
  const secret = randomBytes(32).toString("hex");
  await using server = await kind.start({ cores, secret, directory, raiseRateLimits: workload.raiseRateLimits });
  const figures = await workload.run({ kind, server, secret, scale });
  const { command, versions, settings } = server;
  const report: RunReport = {
    workload: workload.name,
    server: kind.name,
    command,
    cores,
    versions,
    settings: [...settings],
    figures: [...figures],
  };
  console.log(JSON.stringify(report));
} finally {
  rmSync(directory, { recursive: true, force: true });
}
