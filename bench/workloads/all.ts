import { beside } from "./beside.ts";
import { generatorMaximum } from "./generator-maximum.ts";
import { hotClosed, hotRates } from "./hot.ts";
import { memoryWorkloads } from "./memory.ts";
import { sends } from "./sends.ts";
import type { Workload } from "./workload.ts";

const workloads: readonly Workload[] = [sends, ...memoryWorkloads, beside, hotClosed, ...hotRates];

/** The workloads called `name`, or those of a group: `hot` is `hot-closed`, `hot-40` and so on. No name: all. */
export function workloadsCalled(name: string | undefined): readonly Workload[] {
  if (name === undefined) return workloads;
  const found = [generatorMaximum, ...workloads].filter(
    (known) => known.name === name || known.name.startsWith(`${name}-`),
  );
  if (found.length === 0)
    throw new Error(`no workload ${name}; there are ${workloads.map((known) => known.name).join(", ")}`);
  return found;
}
