import { acceptWorkloads } from "./accept.ts";
import { beside } from "./beside.ts";
import { manyEach, smallRooms } from "./fan-out.ts";
import { cluster, clusterBystander } from "./cluster.ts";
import { drops } from "./drops.ts";
import { generatorMaximum } from "./generator-maximum.ts";
import { growth } from "./growth.ts";
import { hotClosed, hotRates } from "./hot.ts";
import { hot } from "./hot-carried.ts";
import { memoryWorkloads } from "./memory.ts";
import { sends } from "./sends.ts";
import { storms } from "./storm.ts";
import type { Workload } from "./workload.ts";

const workloads: readonly Workload[] = [
  hot,
  hotClosed,
  ...hotRates,
  ...smallRooms,
  manyEach,
  beside,
  ...memoryWorkloads,
  ...acceptWorkloads,
  ...sends,
  cluster,
  clusterBystander,
  ...storms,
  drops,
  ...growth,
];

/**
 * The workloads of a list of names, separated by commas; what is no workload's name is a group's: `memory` is
 * `memory-websocket` and `memory-default`. No list: all.
 */
export function workloadsCalled(list: string | undefined): readonly Workload[] {
  return list === undefined ? workloads : list.split(",").flatMap(named);
}

function named(name: string): readonly Workload[] {
  const known = [generatorMaximum, ...workloads];
  const same = known.filter((workload) => workload.name === name);
  const found = same.length > 0 ? same : known.filter((workload) => workload.name.startsWith(`${name}-`));
  if (found.length === 0)
    throw new Error(`no workload ${name}; there are ${workloads.map((workload) => workload.name).join(", ")}`);
  return found;
}
