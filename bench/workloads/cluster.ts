import { closedLoop, openLoop } from "../../packages/server/src/load/loops.ts";
import { plans, runPhase } from "./phase.ts";
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

const membersPerRoom = 10;
const inFlight = 10;
const senders = { node: 0, connections: 50 } as const;
const steadyRate = 200;

function rooms(scale: Scale): number {
  return scale === "full" ? 100 : 10;
}

const common = {
  servers: ["parley-cluster", "tutorial", "sharded", "streams"],
  reference: "tutorial",
  raiseRateLimits: true,
} as const;

export const cluster: Workload = {
  ...common,
  name: "cluster",
  title:
    `two nodes, senders on one and all members on the other: 100 rooms of ${membersPerRoom}, ` +
    `${inFlight} messages per room in flight; then ${steadyRate}/s in all`,
  charted: ["messages across, saturated", `delivery p99 at ${steadyRate}/s`],
  serverCores: "0",
  nodes: 2,
  openFiles: (scale) => rooms(scale) * membersPerRoom + 500,
  run: async (context) => [...(await saturated(context)), ...(await steady(context))],
};

async function saturated(context: RunContext): Promise<readonly Figure[]> {
  const { traffic, times, meters, refusals } = await runPhase(context, {
    kind: "maximum",
    rooms: roomNames("cluster-saturated", rooms(context.scale)),
    membersPerRoom,
    membersNode: 1,
    senders,
    firstUser: 0,
    atOnce: 64,
    load: (books, lanes, window) => closedLoop(books, lanes, inFlight, "delivered", plans[context.scale], window),
  });
  const perSecond = traffic.deliveriesMeasured / (times.measuredMs / 1000);
  return [
    ...figures(refusals, [
      ["messages across, saturated", "/s", perSecond / membersPerRoom],
      ["deliveries, saturated", "/s", perSecond],
      ["CPU of the senders' node, saturated", "cores", meters.nodeShares[0]],
      ["CPU of the members' node, saturated", "cores", meters.nodeShares[1]],
      ["generator CPU, saturated", "cores", meters.generatorShare],
    ]),
    ...orderFigures(context.kind, traffic, refusals),
  ];
}

async function steady(context: RunContext): Promise<readonly Figure[]> {
  const { traffic, meters, refusals } = await runPhase(context, {
    kind: "fixed_rate",
    rooms: roomNames("cluster-steady", rooms(context.scale)),
    membersPerRoom,
    membersNode: 1,
    senders,
    firstUser: 20_000,
    atOnce: 64,
    load: (books, lanes, window) => openLoop(books, lanes, steadyRate, plans[context.scale], window),
  });
  const at = `at ${steadyRate}/s`;
  return figures(refusals, [
    [`delivery p50 ${at}`, "ms", milliseconds(traffic.deliveryLatency.percentile(0.5))],
    [`delivery p99 ${at}`, "ms", milliseconds(traffic.deliveryLatency.percentile(0.99))],
    [`CPU of the senders' node ${at}`, "cores", meters.nodeShares[0]],
    [`CPU of the members' node ${at}`, "cores", meters.nodeShares[1]],
  ]);
}

const bystander = 3;

function others(scale: Scale): { readonly rooms: number; readonly rate: number } {
  return scale === "full" ? { rooms: 5_000, rate: 5_000 } : { rooms: 60, rate: 300 };
}

/** What a node pays for rooms that none of its clients is in. */
export const clusterBystander: Workload = {
  ...common,
  name: "cluster-bystander",
  title: "four nodes: three send 5,000 messages/s into 5,000 rooms, none of which has a member on the fourth",
  // Why both: the three that send are no part of the figure, and one core may be too little for them.
  serverCores: "0,1",
  nodes: 4,
  openFiles: (scale) => others(scale).rooms + 500,
  run: async (context) => {
    const { rooms: count, rate } = others(context.scale);
    const { traffic, times, meters, refusals } = await runPhase(context, {
      kind: "fixed_rate",
      rooms: roomNames("elsewhere", count),
      membersPerRoom: 1,
      membersNode: "all but the last",
      firstUser: 0,
      atOnce: 64,
      load: (books, lanes, window) => openLoop(books, lanes, rate, plans[context.scale], window),
    });
    return figures(refusals, [
      ["CPU of the node without members", "cores", meters.nodeShares[bystander]],
      [
        "CPU of the three others",
        "cores",
        meters.nodeShares.slice(0, bystander).reduce((sum, share) => sum + share, 0),
      ],
      ["messages", "/s", traffic.deliveriesMeasured / (times.measuredMs / 1000)],
      ["delivery p99", "ms", milliseconds(traffic.deliveryLatency.percentile(0.99))],
    ]);
  },
};
