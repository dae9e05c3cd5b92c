import { closedLoop } from "../../packages/server/src/load/loops.ts";
import { type PhasePlan, type PhaseResult, plans, runPhase } from "./phase.ts";
import {
  type Figure,
  figures,
  milliseconds,
  orderFigures,
  roomNames,
  type RunContext,
  type Scale,
  type Workload,
} from "./workload.ts";

/** Servers that deliver to rooms on one node. */
export const fanOutServers = ["parley", "tutorial", "tutorial-insert", "socketio", "ws", "bun"] as const;

const common = {
  servers: fanOutServers,
  reference: "tutorial",
  serverCores: "0",
  nodes: 1,
  raiseRateLimits: true,
} as const;

function rooms(scale: Scale): number {
  return scale === "full" ? 1_000 : 20;
}

const membersPerRoom = 10;

function roomsWorkload(name: string, inFlight: number, title: string): Workload {
  return {
    ...common,
    name,
    title: `1,000 rooms of ${membersPerRoom} members, ${title}`,
    openFiles: (scale) => rooms(scale) * membersPerRoom + 500,
    run: (context) =>
      closed(context, inFlight, { rooms: roomNames(name, rooms(context.scale)), membersPerRoom, atOnce: 64 }),
  };
}

export const smallRooms: readonly Workload[] = [
  roomsWorkload("rooms", 1, "one message per room in flight, until all members have it"),
  roomsWorkload("rooms-deep", 10, "ten messages per room in flight, each until all members have it"),
];

const manyRooms = 10;
const manyInFlight = 8;

function manyMembers(scale: Scale): number {
  return scale === "full" ? 1_000 : 50;
}

export const manyEach: Workload = {
  ...common,
  name: "many-each",
  title: `1,000 members, all of them in ${manyRooms} rooms, ${manyInFlight} messages per room in flight`,
  openFiles: (scale) => manyMembers(scale) + 500,
  run: (context) =>
    closed(context, manyInFlight, {
      rooms: roomNames("many-each", manyRooms),
      membersPerRoom: manyMembers(context.scale),
      roomsPerMember: "all",
      atOnce: 32,
    }),
};

async function closed(
  context: RunContext,
  inFlight: number,
  crowd: Pick<PhasePlan, "rooms" | "membersPerRoom" | "roomsPerMember" | "atOnce">,
): Promise<readonly Figure[]> {
  const result = await runPhase(context, {
    ...crowd,
    kind: "maximum",
    firstUser: 0,
    load: (books, lanes, window) => closedLoop(books, lanes, inFlight, "delivered", plans[context.scale], window),
  });
  return closedFigures(context, result);
}

/** Of a closed loop: throughput is the figure, and the latency is that of a server as busy as it can be. */
export function closedFigures(
  { kind }: RunContext,
  { traffic, times, meters, refusals }: PhaseResult,
): readonly Figure[] {
  return [
    ...figures(refusals, [
      ["deliveries", "/s", traffic.deliveriesMeasured / (times.measuredMs / 1000)],
      ["delivery p99, saturated", "ms", milliseconds(traffic.deliveryLatency.percentile(0.99))],
      ["server CPU", "cores", meters.serverShare],
      ["generator CPU", "cores", meters.generatorShare],
    ]),
    ...orderFigures(kind, traffic, refusals),
  ];
}
