import { randomBytes } from "node:crypto";
import { TooManyUnacknowledged } from "../load/client.ts";
import { measureLoad, type Measurement, NobodyJoined, tryNode } from "../load/measurement.ts";
import { explainFailures } from "./bench-hints.ts";
import { type BenchPlan, readPlan } from "./bench-plan.ts";
import { resultOf, tableOf, tellLeft } from "./bench-report.ts";
import { BenchRooms } from "./bench-rooms.ts";
import { tokensFor } from "./bench-tokens.ts";
import { CommandFailed, type Run } from "./command.ts";
import { readFileLimit } from "./doctor.ts";
import { toolSettings } from "./settings.ts";

/** Files that a run holds open besides its members' connections. */
const ownFiles = 200;

/** Puts a load on running nodes, and counts what comes back. */
export const measureCluster: Run = async (context) => {
  const { config } = toolSettings(context);
  const plan = readPlan(context, config);
  checkFileLimit(plan.members);
  const run = randomBytes(4).toString("hex");
  const tokens = await tokensFor(plan, { auth: config.auth, folder: context.folder, run });
  const tokenOf = (user: number): string => tokens[user % tokens.length] ?? "";
  const rooms = new BenchRooms(plan, run);
  let measurement: Measurement;
  try {
    measurement = await measure(plan, rooms, tokenOf, context.stopped);
  } catch (error) {
    throw explain(error, plan, await rooms.remove(), context.stopped);
  }
  const result = resultOf(plan, measurement, await rooms.remove());
  for (const line of plan.json ? [JSON.stringify(result)] : tableOf(result)) context.print(line);
  return result.sound ? 0 : 1;
};

async function measure(
  plan: BenchPlan,
  rooms: BenchRooms,
  tokenOf: (user: number) => string,
  stopped: AbortSignal,
): Promise<Measurement> {
  for (const node of plan.nodes) {
    await tryNode(node, { tokenOf, stopped }).catch((error: unknown) => {
      if (!(error instanceof NobodyJoined)) throw error;
      throw new CommandFailed(`${node.url} lets nobody in: ${explainFailures(error.failures)}`);
    });
  }
  await rooms.make(stopped);
  return measureLoad({ ...plan, rooms: rooms.names, tokenOf, stopped });
}

/** What is told of a run that came to no result. */
function explain(error: unknown, plan: BenchPlan, roomsLeft: readonly string[], stopped: AbortSignal): unknown {
  const message = messageOf(error, plan, stopped);
  if (message === undefined) return error;
  return new CommandFailed(roomsLeft.length === 0 ? message : `${message}; ${tellLeft(roomsLeft)}`);
}

function messageOf(error: unknown, { load }: BenchPlan, stopped: AbortSignal): string | undefined {
  if (stopped.aborted) return "stopped before the end: there are no figures";
  if (error instanceof CommandFailed) return error.message;
  if (error instanceof NobodyJoined) return `nobody could join: ${explainFailures(error.failures)}`;
  if (!(error instanceof TooManyUnacknowledged)) return undefined;
  return `${error.message}: the nodes do not keep up at all${load.kind === "fixed_rate" ? `; lower --rate ${load.rate}` : ""}`;
}

function checkFileLimit(members: number): void {
  const limit = readFileLimit();
  const needed = members + ownFiles;
  if (limit !== undefined && limit < needed)
    throw new CommandFailed(
      `${limit} open files are allowed, ${needed} are needed for --members ${members}: ulimit -n`,
    );
}
