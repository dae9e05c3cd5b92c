import { closedLoop, openLoop } from "../../packages/server/src/load/loops.ts";
import { type CommitTimes, quantileBetween } from "../servers/metrics.ts";
import { plans, runPhase } from "./phase.ts";
import {
  type Figure,
  figures,
  milliseconds,
  orderFigures,
  roomNames,
  type RunContext,
  type Workload,
} from "./workload.ts";

const connections = 100;
const inFlight = 8;
const steadyRate = 1_000;

function sendsWorkload(name: string, servers: readonly string[], reference: string, store: string): Workload {
  return {
    name,
    title: `acknowledged durable sends${store}: ${connections} connections with ${inFlight} in flight, a room each; then ${steadyRate}/s`,
    charted: ["acknowledged", `acknowledgement p99 at ${steadyRate}/s`],
    servers,
    reference,
    // Why both: a store of its own thread is part of what is measured, and the generator leaves most of its core idle.
    serverCores: "0,1",
    nodes: 1,
    raiseRateLimits: true,
    openFiles: () => connections + 200,
    run: async (context) => [...(await saturated(context)), ...(await steady(context))],
  };
}

export const sends: readonly Workload[] = [
  sendsWorkload("sends", ["parley", "socketio-sqlite"], "socketio-sqlite", ""),
  sendsWorkload("sends-postgres", ["parley-cluster", "tutorial-insert"], "tutorial-insert", " on Postgres"),
];

async function saturated(context: RunContext): Promise<readonly Figure[]> {
  const plan = plans[context.scale];
  const { traffic, times, meters, refusals } = await runPhase(context, {
    kind: "maximum",
    rooms: roomNames("sends-saturated", connections),
    membersPerRoom: 1,
    firstUser: 0,
    atOnce: 32,
    load: (books, lanes, window) => closedLoop(books, lanes, inFlight, "acknowledged", plan, window),
  });
  return [
    ...figures(refusals, [
      ["acknowledged", "/s", traffic.acknowledgedMeasured / (times.measuredMs / 1000)],
      ["server CPU, saturated", "cores", meters.serverShare],
      ["generator CPU, saturated", "cores", meters.generatorShare],
    ]),
    ...orderFigures(context.kind, traffic, refusals),
  ];
}

async function steady(context: RunContext): Promise<readonly Figure[]> {
  const plan = plans[context.scale];
  const commits: Promise<CommitTimes | undefined>[] = [];
  const scrape = () => void commits.push(context.server.commitTimes());
  const { traffic, times, meters, refusals } = await runPhase(context, {
    kind: "fixed_rate",
    rooms: roomNames("sends-steady", connections),
    membersPerRoom: 1,
    firstUser: 0,
    atOnce: 32,
    window: { begin: scrape, end: scrape },
    load: (books, lanes, window) => openLoop(books, lanes, steadyRate, plan, window),
  });
  const [before, after] = await Promise.all(commits);
  const commitSeconds = before === undefined || after === undefined ? undefined : quantileBetween(before, after, 0.99);
  const at = `at ${steadyRate}/s`;
  return figures(refusals, [
    [`acknowledgement p50 ${at}`, "ms", milliseconds(traffic.acknowledgementLatency.percentile(0.5))],
    [`acknowledgement p99 ${at}`, "ms", milliseconds(traffic.acknowledgementLatency.percentile(0.99))],
    [`delivery p99 ${at}`, "ms", milliseconds(traffic.deliveryLatency.percentile(0.99))],
    [`store's own commit p99 ${at}`, "ms", commitSeconds === undefined ? undefined : commitSeconds * 1000],
    [`server CPU ${at}`, "cores", meters.serverShare],
    [`generator CPU ${at}`, "cores", meters.generatorShare],
    [`generator late p99 ${at}`, "ms", milliseconds(times.latenessP99Micros)],
  ]);
}
