import { closedLoop, openLoop } from "../../packages/server/src/load/loops.ts";
import { closedFigures, fanOutServers } from "./fan-out.ts";
import { plans, runPhase } from "./phase.ts";
import { type Figure, figures, milliseconds, roomNames, type RunContext, type Workload } from "./workload.ts";

const inFlight = 64;

function members(scale: RunContext["scale"]): number {
  return scale === "full" ? 1_000 : 50;
}

const common = {
  servers: fanOutServers,
  reference: "tutorial",
  serverCores: "0",
  nodes: 1,
  raiseRateLimits: true,
  openFiles: (scale: RunContext["scale"]) => members(scale) + 200,
} as const;

export const hotClosed: Workload = {
  ...common,
  name: "hot-closed",
  title: `1 room of 1,000 members, ${inFlight} messages in flight, each until all members have it`,
  run: async (context) => {
    const result = await runPhase(context, {
      kind: "maximum",
      rooms: roomNames("hot-closed", 1),
      membersPerRoom: members(context.scale),
      firstUser: 0,
      atOnce: 32,
      load: (books, lanes, window) => closedLoop(books, lanes, inFlight, "delivered", plans[context.scale], window),
    });
    return closedFigures(context, result);
  },
};

export const hotRates: readonly Workload[] = [40, 80, 400].map((rate) => ({
  ...common,
  name: `hot-${rate}`,
  title: `1 room of 1,000 members, ${rate} messages/s`,
  charted: ["delivery p99", "server CPU"],
  run: (context) => atRate(context, rate),
}));

async function atRate(context: RunContext, rate: number): Promise<readonly Figure[]> {
  const { traffic, times, meters, commitP99Ms, refusals } = await runPhase(context, {
    kind: "fixed_rate",
    rooms: roomNames("hot", 1),
    membersPerRoom: members(context.scale),
    firstUser: 0,
    atOnce: 32,
    load: (books, lanes, window) => openLoop(books, lanes, rate, plans[context.scale], window),
  });
  return figures(refusals, [
    ["deliveries", "/s", traffic.deliveriesMeasured / (times.measuredMs / 1000)],
    ["delivery p50", "ms", milliseconds(traffic.deliveryLatency.percentile(0.5))],
    ["delivery p99", "ms", milliseconds(traffic.deliveryLatency.percentile(0.99))],
    ["store's own commit p99", "ms", commitP99Ms],
    ["server CPU", "cores", meters.serverShare],
    ["generator CPU", "cores", meters.generatorShare],
    ["generator late p99", "ms", milliseconds(times.latenessP99Micros)],
  ]);
}
