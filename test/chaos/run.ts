// Long tests of a real node, with figures. Exit code 1 unless all is as promised.
//
// - `npm run chaos -- --kills 100 --seed 1`: kills a node under load, again and again, and checks that nothing
//   acknowledged was lost, repeated or reordered.
// - `npm run chaos -- --minutes 20 --seed 1`: all kinds of faults strike three nodes, Postgres and Redis behind nginx,
//   under load; the same is checked. `--faults A,B` chooses among them.
//   `--sabotage NAME`: the same with a fault of that name in the product, which must be found; exit code 1 then.
// - `npm run chaos -- --recoveries --kills 20 --clients 50`: nodes are killed, and the stock clients of each must recover
//   on the others.
// - `npm run chaos -- --slow-readers --seconds 120`: a busy room with one reader that is slow and two that stop.
import { parseArgs } from "node:util";
import type { Verdict } from "./check.ts";
import { runClusterChaos } from "./cluster.ts";
import { type KillsReport, runKills } from "./kills.ts";
import { runSabotaged, sabotageOf } from "./sabotage.ts";
import { type RecoveriesReport, runRecoveries } from "./recoveries.ts";
import { describeMemory, raisedRates, runSlowReaders, type SlowReadersReport } from "./slow-readers.ts";

const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "20" },
    seed: { type: "string", default: "1" },
    clients: { type: "string", default: "16" },
    "sends-per-second": { type: "string", default: "10" },
    /** Clients come back at once instead of as their defaults say. */
    "at-once": { type: "boolean", default: false },
    minutes: { type: "string" },
    nodes: { type: "string", default: "3" },
    faults: { type: "string" },
    sabotage: { type: "string" },
    recoveries: { type: "boolean", default: false },
    "slow-readers": { type: "boolean", default: false },
    seconds: { type: "string", default: "120" },
  },
});

const asPromised = await chosen();
process.exitCode = asPromised ? 0 : 1;

function chosen(): Promise<boolean> {
  if (values.sabotage !== undefined) return sabotage(values.sabotage);
  if (values["slow-readers"]) return slowReaders(Number(values.seconds));
  if (values.recoveries) return recoveries();
  return values.minutes === undefined ? kills() : cluster(Number(values.minutes));
}

/** The same program on a copy of the repository that is broken on purpose. */
async function sabotage(name: string): Promise<boolean> {
  const { faults, atOnce } = sabotageOf(name);
  const words = ["--minutes", values.minutes ?? "1", "--seed", values.seed, "--faults", faults.join(",")];
  return runSabotaged(name, atOnce === true ? [...words, "--at-once"] : words);
}

async function kills(): Promise<boolean> {
  const options = {
    kills: Number(values.kills),
    seed: Number(values.seed),
    clients: Number(values.clients),
    sendsPerSecond: Number(values["sends-per-second"]),
    // Long enough that a client may have been connected for the 5 s after which the SDK takes the server for well again.
    calmMsMax: 8_000,
    reconnecting: values["at-once"] ? ("at_once" as const) : ("as_by_default" as const),
    earlyPart: 0.15,
    print: (line: string) => console.log(line),
  };
  console.log(
    `${options.kills} kills, seed ${options.seed}; ${options.clients} clients with ${options.sendsPerSecond} messages/s each in 3 rooms; ` +
      `the server with its defaults, and the clients${values["at-once"] ? ", but for reconnecting at once" : ""}`,
  );
  return printKills(await runKills(options));
}

async function cluster(minutes: number): Promise<boolean> {
  const options = {
    seconds: minutes * 60,
    seed: Number(values.seed),
    nodes: Number(values.nodes),
    clients: Number(values.clients),
    sendsPerSecond: Number(values["sends-per-second"]),
    calmMsMax: 6_000,
    pace: 1,
    reconnecting: values["at-once"] ? ("at_once" as const) : ("as_by_default" as const),
    ...(values.faults === undefined ? {} : { only: values.faults.split(",") }),
    print: (line: string) => console.log(line),
  };
  console.log(
    `${minutes} minutes of faults, seed ${options.seed}; ${options.clients} clients with ${options.sendsPerSecond} messages/s each in 3 rooms, ` +
      `${options.nodes} nodes behind nginx, one Postgres, one Redis`,
  );
  const { verdict, recoverySeconds, refused, unrecovered, repeats } = await runClusterChaos(options);
  console.log("");
  console.log("seconds from the end of a fault until a client has everything   median     p99     max  of");
  for (const [name, seconds] of recoverySeconds) console.log(`${name.padEnd(63)}${row(seconds)}`);
  console.log("");
  console.log(
    `recoveries as another socket: ${unrecovered}; entries that came again after a recovery, as may be: ${repeats}`,
  );
  return printVerdict(verdict, refused);
}

async function recoveries(): Promise<boolean> {
  const options = {
    kills: Number(values.kills),
    seed: Number(values.seed),
    clients: Number(values.clients),
    sendsPerSecond: Number(values["sends-per-second"]),
    calmMsMax: 5_000,
    print: (line: string) => console.log(line),
  };
  console.log(
    `${options.kills} kills, seed ${options.seed}; ${options.clients} stock clients in 3 rooms on the node that is killed, ` +
      `of 3 nodes, ${options.sendsPerSecond} messages/s through each`,
  );
  return printRecoveries(await runRecoveries(options));
}

function printRecoveries(report: RecoveriesReport): boolean {
  const { killed, early, unrecovered, faults, repeats, pagesAgain, welcomeSeconds, completeSeconds } = report;
  console.log("");
  console.log("seconds                                              median     p99     max  of");
  console.log(`kill -9 until a client is welcomed elsewhere       ${row(welcomeSeconds)}  clients and kills`);
  console.log(`kill -9 until a client has everything              ${row(completeSeconds)}  clients and kills`);
  console.log("");
  console.log(
    `${killed} recoveries, ${early} of them within 50 ms of a join; as another socket: ${unrecovered}; ` +
      `entries again, as may be: ${repeats}; pages again after an early kill: ${pagesAgain}; faults: ${faults.length}`,
  );
  for (const fault of faults.slice(0, 50)) console.log(`  ${fault}`);
  return killed > 0 && unrecovered === 0 && faults.length === 0;
}

async function slowReaders(seconds: number): Promise<boolean> {
  const options = {
    seconds,
    messagesPerSecond: 1_000,
    slowBytesPerSecond: 50_000,
    deadAfterSeconds: seconds / 12,
    backAfterSeconds: seconds * 0.75,
    environment: {},
    warmUpMessages: 6_000,
    warmUpMissed: 90_000,
    print: (line: string) => console.log(line),
  };
  console.log(
    `${seconds} s with ${options.messagesPerSecond} messages/s of 100 bytes in one room; one reader takes ${options.slowBytesPerSecond} bytes/s, ` +
      `two stop after ${options.deadAfterSeconds} s and come back after ${options.backAfterSeconds} s, three read all; each asks for history once a second`,
  );
  console.log(`the server with its defaults, but for ${JSON.stringify(raisedRates)}`);
  return printSlowReaders(await runSlowReaders(options));
}

function printSlowReaders(report: SlowReadersReport): boolean {
  const { sent, windowBytes, base, max, disconnects, cutAfterSeconds, readers } = report;
  console.log("");
  console.log(`memory, after collections: ${describeMemory(base)} before; at most ${describeMemory(max)}`);
  console.log(
    `cut: ${disconnects.join(", ")}, ${cutAfterSeconds.map((cut) => cut.toFixed(1)).join(" s and ")} s after they stopped`,
  );
  console.log(
    `${sent} messages; what the server wrote beyond what had arrived, at most (the window is ${windowBytes}):`,
  );
  let passed = max.residentBytes - base.residentBytes <= 10_000_000;
  for (const { name, connections, recovered, unansweredBytesMax, pages, complete, gaps, faults } of readers) {
    const { repeated, outOfOrder, missing, unexplained } = faults;
    const clean = complete && repeated + outOfOrder + missing + unexplained + gaps.length === 0;
    passed &&= clean && unansweredBytesMax <= windowBytes;
    const what = clean ? "everything, once, in order" : JSON.stringify({ complete, faults, gaps });
    console.log(
      `${name.padStart(10)} ${String(unansweredBytesMax).padStart(8)} bytes; ${connections} connection(s), ${recovered} recovered, ${pages} pages of history; ${what}`,
    );
  }
  return passed && disconnects.join() === "ping_timeout,ping_timeout";
}

function printKills(report: KillsReport): boolean {
  const { verdict, readySeconds, clientSeconds, completeSeconds, connectedSeconds, refused } = report;
  console.log("");
  console.log("seconds                                              median     p99     max  of");
  console.log(`kill -9 until the server is ready again            ${row(readySeconds)}  kills`);
  console.log(`ready until a client is connected (its own waits)  ${row(connectedSeconds)}  clients and kills`);
  console.log(`kill -9 until a client has everything              ${row(clientSeconds)}  clients and kills`);
  console.log(
    `kill -9 until every client has everything          ${row(completeSeconds)}  kills not followed by the next at once`,
  );
  return printVerdict(verdict, refused);
}

function printVerdict(verdict: Verdict, refused: readonly string[]): boolean {
  const { acknowledged, delivered, lost, repeated, outOfOrder, unexplained, toldGaps, broken, findings } = verdict;
  console.log("");
  console.log("acknowledged  delivered  lost  repeated  out of order  unexplained gaps  told gaps  refusals");
  const columns = [
    [acknowledged, 12],
    [delivered, 11],
    [lost, 6],
    [repeated, 10],
    [outOfOrder, 14],
    [unexplained, 18],
    [toldGaps, 11],
    [refused.length, 10],
  ] as const;
  console.log(columns.map(([value, width]) => String(value).padStart(width)).join(""));
  if (broken.length > 0) console.log(`broken: ${broken.join(", ")}`);
  for (const finding of findings) console.log(`  ${finding}`);
  if (refused.length > 0) console.log(`  refusals: ${[...new Set(refused)].join(", ")}`);
  return lost + repeated + outOfOrder + unexplained === 0 && acknowledged > 0;
}

function row(seconds: readonly number[]): string {
  const sorted = seconds.toSorted((one, other) => one - other);
  const at = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? Number.NaN;
  const figures = [at(0.5), at(0.99), at(1)].map((value) => value.toFixed(2).padStart(8)).join("");
  return `${figures}  ${seconds.length}`;
}
