import type { Traffic } from "../../packages/server/src/load/traffic.ts";
import { closedLoop, openLoop } from "../../packages/server/src/load/loops.ts";
import { type PhasePlan, type PhaseResult, plans, runPhase } from "./phase.ts";
import {
  type Figure,
  figures,
  milliseconds,
  roomNames,
  type RunContext,
  type Scale,
  type Workload,
} from "./workload.ts";

/*
 * How the cost of one delivery grows with the size of things. Always the processor time of all of the server's threads at a fixed rate,
 * over the deliveries: what a larger deployment pays more per message shows as a slope, whatever the machine.
 */

const common = {
  servers: ["parley"],
  reference: "parley",
  serverCores: "0",
  nodes: 1,
  raiseRateLimits: true,
} as const;

const deliveriesPerSecond = 5_000;
const costMetric = "CPU per delivery";

function connections(scale: Scale): number {
  return scale === "full" ? 1_000 : 100;
}

const growthMembers: Workload = {
  ...common,
  name: "growth-members",
  curve: { name: "growth-members", metric: costMetric },
  title: `CPU per delivery in rooms of 1 to 1,000 members, 1,000 connections, ${deliveriesPerSecond} deliveries/s`,
  openFiles: (scale) => connections(scale) + 500,
  run: (context) => {
    const sizes = [1, 10, 100, 1_000].filter((members) => members <= connections(context.scale));
    return inTurn(sizes, (members, index) =>
      costs(context, `${members} members`, deliveriesPerSecond / members, {
        rooms: roomNames(`growth-members-${members}`, connections(context.scale) / members),
        membersPerRoom: members,
        firstUser: index * 10_000,
      }),
    );
  },
};

const roomsPerConnection = 100;

const growthRooms: Workload = {
  ...common,
  name: "growth-rooms",
  curve: { name: "growth-rooms", metric: costMetric },
  title: "CPU per delivery with 1 to 100,000 rooms that have members, 1,000 messages/s in all",
  openFiles: (scale) => connections(scale) + 500,
  run: (context) => {
    const largest = connections(context.scale) * roomsPerConnection;
    const sizes = [1, 100, 10_000, 100_000].filter((rooms) => rooms <= largest);
    return inTurn(sizes, (rooms, index) =>
      costs(context, `${rooms} rooms`, 1_000, {
        rooms: roomNames(`growth-rooms-${rooms}`, rooms),
        membersPerRoom: 1,
        roomsPerMember: Math.ceil(rooms / connections(context.scale)),
        firstUser: index * 10_000,
      }),
    );
  },
};

const growthLogs: Workload = {
  ...common,
  name: "growth-logs",
  curve: { name: "growth-logs", metric: costMetric },
  title: "CPU per delivery in a room of 100 members whose log has 1,000 to 1,000,000 entries, 50 messages/s",
  openFiles: () => 1_000,
  run: (context) => {
    const sizes = [1_000, 10_000, 100_000, 1_000_000].filter((entries) => context.scale === "full" || entries <= 1_000);
    return inTurn(sizes, async (entries, index) => {
      const rooms = roomNames(`growth-logs-${entries}`, 1);
      await fill(context, rooms, entries);
      return costs(context, `${entries} entries`, 50, { rooms, membersPerRoom: 100, firstUser: index * 10_000 });
    });
  },
};

const growthNodes: readonly Workload[] = [1, 2, 4].map((nodes) => ({
  ...common,
  name: `growth-nodes-${nodes}`,
  curve: { name: "growth-nodes", metric: costMetric },
  title: `CPU per delivery on all of ${nodes} nodes: 100 rooms of 10 members spread over them, 500 messages/s`,
  servers: ["parley-cluster", "tutorial"],
  reference: "tutorial",
  serverCores: "0,1",
  nodes,
  openFiles: () => 2_000,
  run: (context) =>
    costs(context, `${nodes} nodes`, 500, {
      rooms: roomNames("growth-nodes", 100),
      membersPerRoom: 10,
      membersNode: "all",
      firstUser: 0,
    }),
}));

const growthWorkers: readonly Workload[] = [1, 2].map((workers) => ({
  ...common,
  name: `growth-workers-${workers}`,
  curve: { name: "growth-workers", metric: costMetric },
  title: `CPU per delivery of all processes with ${named(workers)} behind one port: 100 rooms of 10 members, 500 messages/s`,
  serverCores: "0,1",
  workers,
  openFiles: () => 2_000,
  run: (context) =>
    costs(context, named(workers), 500, {
      rooms: roomNames("growth-workers", 100),
      membersPerRoom: 10,
      firstUser: 0,
    }),
}));

function named(workers: number): string {
  return workers === 1 ? "1 worker" : `${workers} workers`;
}

export const growth: readonly Workload[] = [growthMembers, growthRooms, growthLogs, ...growthNodes, ...growthWorkers];

async function inTurn(
  sizes: readonly number[],
  measure: (size: number, index: number) => Promise<readonly Figure[]>,
): Promise<readonly Figure[]> {
  const all: Figure[] = [];
  for (const [index, size] of sizes.entries()) all.push(...(await measure(size, index)));
  return all;
}

async function costs(
  context: RunContext,
  size: string,
  rate: number,
  crowd: Pick<PhasePlan, "rooms" | "membersPerRoom" | "membersNode" | "roomsPerMember" | "firstUser">,
): Promise<readonly Figure[]> {
  const { traffic, times, meters, refusals } = await runPhase(context, {
    ...crowd,
    kind: "fixed_rate",
    atOnce: 64,
    load: (books, lanes, window) => openLoop(books, lanes, rate, plans[context.scale], window),
  });
  return figures(refusals, [
    [`${costMetric}, ${size}`, "µs", microsPerDelivery(traffic, times, meters.serverShare)],
    [`delivery p99, ${size}`, "ms", milliseconds(traffic.deliveryLatency.percentile(0.99))],
  ]);
}

function microsPerDelivery(traffic: Traffic, { measuredMs }: PhaseResult["times"], serverShare: number): number {
  return (serverShare * measuredMs * 1000) / traffic.deliveriesMeasured;
}

/** About what a node acknowledges: so the log gets hardly more than is asked for. */
const filledPerMs = 20;

/** Sends `entries` messages into a room, as fast as they are acknowledged. */
async function fill(context: RunContext, rooms: readonly string[], entries: number): Promise<void> {
  let sent = 0;
  for (let sender = 900_000; sent < entries; sender += 1) {
    const measureMs = Math.min(5_000, Math.max(20, Math.floor((entries - sent) / filledPerMs)));
    const plan = { warmUpMs: 0, measureMs, textLength: 100 };
    const { traffic } = await runPhase(context, {
      kind: "maximum",
      rooms,
      membersPerRoom: 1,
      // Why another each time: the messages of one user would bear the same `clientId`s as those before.
      firstUser: sender,
      atOnce: 1,
      load: (books, lanes, window) =>
        closedLoop(books, lanes, Math.min(256, entries - sent), "acknowledged", plan, window),
    });
    sent += traffic.sends;
    if (traffic.acknowledged === 0) throw new Error("the log cannot be filled: nothing is acknowledged");
  }
}
