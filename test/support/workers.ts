import { readFileSync } from "node:fs";
import { z } from "zod";
import { eventually } from "./eventually.ts";
import { type SpawnedServer, spawnServer } from "./server.ts";

/** `parley start` with workers, whose requests for others' connections are many: 3 of them. */
export function startWorkers(environment: Readonly<Record<string, string>> = {}): Promise<SpawnedServer> {
  return spawnServer({ environment: { PARLEY_SERVER_WORKERS: "3", ...environment } });
}

const readySchema = z.object({ event: z.literal("worker_ready"), worker: z.int(), pid: z.int() });

/** Process ids of the workers by their number, from 1: of the last ones. */
export function workersOf({ child }: SpawnedServer): ReadonlyMap<number, number> {
  const pids = new Map<number, number>();
  for (const line of child.stdout.split("\n")) {
    if (!line.includes('"worker_ready"')) continue;
    const { worker, pid } = readySchema.parse(JSON.parse(line));
    pids.set(worker, pid);
  }
  return pids;
}

/** The number of the worker that made a connection with this id, from 1. */
export function workerOfConnection(id: string | undefined): number {
  return (id ?? "").charCodeAt(0) - "A".charCodeAt(0) + 1;
}

/** Whether a process runs. One that has ended does not, whether or not anybody has asked for its exit code. */
export function isRunning(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

/** Resolves when none of them runs. */
export async function haveEnded(pids: Iterable<number>): Promise<void> {
  const all = [...pids];
  await eventually("the end of all processes", () => !all.some(isRunning) || undefined);
}
