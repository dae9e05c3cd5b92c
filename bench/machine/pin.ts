import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";

/** Processors by number, as `taskset -c` takes them. */
export type Cores = string;

export const generatorCore: Cores = "1";
export const serverCore: Cores = "0";

/** The command line that runs `command` on `cores`; unpinned where there is one core or no `taskset`. */
export function pinned(cores: Cores, command: readonly string[]): readonly string[] {
  return availableParallelism() > 1 || cpus().length > 1 ? ["taskset", "-c", cores, ...command] : command;
}

/**
 * Makes sure that this process and those it starts may open `wanted` files each.
 * Errors: throws, naming the limit, when the system does not allow it.
 */
export function allowOpenFiles(wanted: number): void {
  if (hardLimit() >= wanted) return; // Node raises its own soft limit to the hard one.
  try {
    execFileSync("prlimit", [`--pid=${process.pid}`, `--nofile=${wanted}:${wanted}`], { stdio: "ignore" });
  } catch {
    throw new Error(
      `this workload opens ${wanted} files in one process and the hard limit is ${hardLimit()}: raise it with ulimit -Hn`,
    );
  }
}

function hardLimit(): number {
  const limit = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync("/proc/self/limits", "latin1"))?.[1];
  return limit === "unlimited" ? Number.POSITIVE_INFINITY : Number(limit);
}
