import { readdirSync, readFileSync } from "node:fs";

/** Processor time in ticks of 10 ms, from the kernel's books. Linux only. */
export interface LoadSample {
  readonly atMs: number;
  /** User and system time of all processors; interrupts are left out, they belong to no process. */
  readonly busyTicks: number;
  /** Time that the hypervisor gave to others. */
  readonly stolenTicks: number;
  readonly processes: ReadonlyMap<number, ProcessTicks>;
}

export interface ProcessTicks {
  readonly parent: number;
  readonly ticks: number;
}

const ticksPerSecond = 100;
const kernelThreadParent = 2;

export function sampleLoad(): LoadSample {
  const processes = new Map<number, ProcessTicks>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const ticks = processTicks(name);
    if (ticks !== undefined) processes.set(Number(name), ticks);
  }
  return { atMs: performance.now(), ...processorTicks(readFileSync("/proc/stat", "latin1")), processes };
}

function processTicks(pid: string): ProcessTicks | undefined {
  try {
    return parseProcessStat(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return undefined; // It ended meanwhile.
  }
}

export function processorTicks(stat: string): { busyTicks: number; stolenTicks: number } {
  const [user = 0, nice = 0, system = 0, , , , , stolen = 0] = (stat.split("\n")[0] ?? "")
    .trim()
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return { busyTicks: user + nice + system, stolenTicks: stolen };
}

/** The command may hold spaces and parentheses, so fields are counted from the last parenthesis on. */
export function parseProcessStat(stat: string): ProcessTicks {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return { parent: Number(fields[1]), ticks: Number(fields[11]) + Number(fields[12]) };
}

/** Cores' worth of work between two samples that neither `rootPid`'s processes nor the kernel's own threads did. */
export function otherLoad(before: LoadSample, after: LoadSample, rootPid: number): number {
  let ours = 0;
  for (const [pid, { ticks }] of after.processes) {
    const isOurs = descendsFrom(after, pid, rootPid) || descendsFrom(after, pid, kernelThreadParent);
    if (isOurs) ours += ticks - (before.processes.get(pid)?.ticks ?? 0);
  }
  const busy = after.busyTicks - before.busyTicks;
  const stolen = after.stolenTicks - before.stolenTicks;
  return Math.max(0, cores(before, after, busy - ours + stolen));
}

/** Cores' worth of work of `pid` and all of its children. */
export function loadOf(before: LoadSample, after: LoadSample, pid: number): number {
  let ticks = 0;
  for (const [candidate, process] of after.processes) {
    if (descendsFrom(after, candidate, pid)) ticks += process.ticks - (before.processes.get(candidate)?.ticks ?? 0);
  }
  return cores(before, after, ticks);
}

function descendsFrom({ processes }: LoadSample, pid: number, ancestor: number): boolean {
  let current: number | undefined = pid;
  while (current !== undefined && current !== 0) {
    if (current === ancestor) return true;
    current = processes.get(current)?.parent;
  }
  return false;
}

function cores(before: LoadSample, after: LoadSample, ticks: number): number {
  return ticks / ticksPerSecond / ((after.atMs - before.atMs) / 1000);
}
