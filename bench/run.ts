// The bench: runs workloads on Parley and its peers, alternating, and prints medians, spread and ratios.
// usage: node bench/run.ts [--workload NAME] [--servers A,B] [--runs N] [--json FILE] [--svg FILE] [--short] [--show-refused] [--server-cores LIST] [--parley DIRECTORY] [--profile DIRECTORY]
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { chart } from "./chart.ts";
import { generatorCore, pinned } from "./machine/pin.ts";
import { isAccident, isWrong } from "../packages/server/src/load/rules.ts";
import { panelsOf } from "./panels.ts";
import { type Row, type RunReport, runReportSchema, summarize, table } from "./run-report.ts";
import { serverKind } from "./servers/all.ts";
import { workloadsCalled } from "./workloads/all.ts";
import { generatorMaximum } from "./workloads/generator-maximum.ts";
import type { Workload } from "./workloads/workload.ts";

const runOne = fileURLToPath(new URL("run-one.ts", import.meta.url));
const { values: options } = parseArgs({
  options: {
    workload: { type: "string" },
    servers: { type: "string" },
    runs: { type: "string" },
    json: { type: "string" },
    svg: { type: "string" },
    short: { type: "boolean", default: false },
    "show-refused": { type: "boolean", default: false },
    "server-cores": { type: "string" },
    parley: { type: "string" },
    profile: { type: "string" },
  },
});
const runs = Number(options.runs ?? (options.short ? 1 : 3));
if (!Number.isInteger(runs) || runs < 1) throw new Error(`--runs ${options.runs}: give a whole number from 1`);

async function main(): Promise<void> {
  printMachine();
  const chosen = workloadsCalled(options.workload);
  const workloads = chosen.includes(generatorMaximum) ? chosen : [generatorMaximum, ...chosen];
  const rows: Row[] = [];
  // Also what a run of hours has brought when it is cut short.
  const write = () => {
    if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(rows, null, 1)}\n`);
    if (options.svg !== undefined) writeFileSync(options.svg, chart(panelsOf(workloads, rows), machine()));
  };
  for (const workload of workloads) {
    rows.push(...(await measure(workload)));
    write();
  }
}

function machine(): string {
  const processors = cpus();
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  return `${processors.length} × ${processors[0]?.model.trim()}, ${memory}, Linux ${release()}, Node ${process.version}`;
}

function printMachine(): void {
  console.log(machine());
  console.log(`$ node bench/run.ts ${process.argv.slice(2).join(" ")}`.trimEnd());
  if (options.short) console.log("--short: shows that the bench works; its figures mean nothing");
}

async function measure(workload: Workload): Promise<readonly Row[]> {
  console.log(`\n${workload.name}: ${workload.title}`);
  const servers = workload === generatorMaximum ? workload.servers : (options.servers?.split(",") ?? workload.servers);
  const rounds = workload === generatorMaximum ? 1 : runs;
  const reports: RunReport[] = [];
  for (let round = 0; round < rounds; round += 1) {
    // Alternating, so that neither a machine that warms up nor a disk that fills favours one.
    for (const server of round % 2 === 0 ? servers : servers.toReversed()) {
      if (reports.some((report) => report.server === server && report.missing !== undefined)) continue;
      reports.push(await repeated(workload, server));
    }
  }
  if (reports.some(({ failed }) => failed === true)) process.exitCode = 1;
  const ordered = servers.flatMap((server) => reports.filter((report) => report.server === server));
  const rows = summarize(ordered);
  if (ordered.some(({ figures }) => figures.some(({ refusals }) => isWrong(refusals)))) process.exitCode = 1;
  console.log(table(rows, workload.reference, options["show-refused"]));
  printCircumstances(ordered, rows);
  return rows;
}

/** A run that was refused only because something else used the machine is repeated, twice at most. */
async function repeated(workload: Workload, server: string): Promise<RunReport> {
  const repeatsMax = options.short ? 0 : 2;
  let report = await run(workload, server);
  for (
    let repeat = 0;
    repeat < repeatsMax && report.figures.some(({ refusals }) => isAccident(refusals));
    repeat += 1
  ) {
    report = await run(workload, server);
  }
  return report;
}

/** A run that gave no report (the server did not start, or the bench itself failed) is told as such; others go on. */
async function run(workload: Workload, server: string): Promise<RunReport> {
  const choice = ["--workload", workload.name, "--server", serverKind(server).name];
  const flags = [
    ...(options.short ? ["--short"] : []),
    ...(options["server-cores"] === undefined ? [] : ["--server-cores", options["server-cores"]]),
  ];
  const [program = "", ...rest] = pinned(generatorCore, [process.execPath, runOne, ...choice, ...flags]);
  const child = spawn(program, rest, {
    stdio: ["ignore", "pipe", "inherit"],
    env: {
      ...process.env,
      BENCH_ROOT: String(process.pid),
      ...(options.profile === undefined ? {} : { BENCH_PROFILE: path.resolve(options.profile) }),
      ...(options.parley === undefined ? {} : { BENCH_PARLEY: `${path.resolve(options.parley)}/` }),
    },
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  await once(child, "close");
  if (child.exitCode !== 0) return failure(workload, server, `ended with ${child.exitCode ?? child.signalCode}`);
  return runReportSchema.parse(JSON.parse(output));
}

function failure({ name, serverCores }: Workload, server: string, how: string): RunReport {
  const nothing = { command: "", cores: serverCores, versions: {}, settings: [], figures: [] };
  return { workload: name, server, ...nothing, missing: `its run ${how}`, failed: true };
}

function printCircumstances(reports: readonly RunReport[], rows: readonly Row[]): void {
  const seen = new Set<string>();
  for (const { server, command, cores, versions, settings, missing } of reports) {
    if (seen.has(server)) continue;
    seen.add(server);
    if (missing !== undefined) {
      console.log(`  ${server} is missing: ${missing}`);
      continue;
    }
    const listed = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
    console.log(`  ${server}: ${serverKind(server).title}`);
    console.log(`    ${[...listed, `server on core ${cores}, generator on core ${generatorCore}`].join(", ")}`);
    console.log(`    $ ${command}`);
    console.log(`    changed from its defaults: ${settings.length === 0 ? "nothing" : settings.join(", ")}`);
  }
  const refused = new Set(rows.flatMap(({ server, refusals }) => refusals.map((refusal) => `${server}: ${refusal}`)));
  for (const reason of refused) console.log(`  refused: ${reason}`);
}

await main();
