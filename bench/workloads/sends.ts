import { closedLoop, openLoop } from "../../packages/server/src/load/loops.ts";
import type { Refusal } from "../../packages/server/src/load/rules.ts";
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
const atSteadyRate = `at ${steadyRate}/s`;
const atHalf = "at half of its acknowledged/s";

function sendsWorkload(name: string, servers: readonly string[], reference: string, store: string): Workload {
  return {
    name,
    title: `acknowledged durable sends${store}: ${connections} connections with ${inFlight} in flight, a room each; then half of that rate; then ${steadyRate}/s`,
    charted: ["acknowledged", `acknowledgement p99 ${atHalf}`, `acknowledgement p99 ${atSteadyRate}`],
    servers,
    reference,
    // Why both: a store of its own thread is part of what is measured, and the generator leaves most of its core idle.
    serverCores: "0,1",
    nodes: 1,
    raiseRateLimits: true,
    openFiles: () => connections + 200,
    run: async (context) => {
      const atMaximum = await saturated(context);
      const half = { rooms: "sends-half", rate: Math.max(1, Math.round(atMaximum.perSecond / 2)), at: atHalf };
      return [
        ...atMaximum.figures,
        // Why with its refusals: a rate that was not measured rightly is not its half.
        ...(await steady(context, half, atMaximum.refusals)),
        ...(await steady(context, { rooms: "sends-steady", rate: steadyRate, at: atSteadyRate }, [])),
      ];
    },
  };
}

export const sends: readonly Workload[] = [
  sendsWorkload("sends", ["parley", "socketio-sqlite"], "socketio-sqlite", ""),
  sendsWorkload("sends-postgres", ["parley-cluster", "tutorial-insert"], "tutorial-insert", " on Postgres"),
];

interface Saturated {
  readonly perSecond: number;
  readonly figures: readonly Figure[];
  readonly refusals: readonly Refusal[];
}

async function saturated(context: RunContext): Promise<Saturated> {
  const plan = plans[context.scale];
  const { traffic, times, meters, refusals } = await runPhase(context, {
    kind: "maximum",
    rooms: roomNames("sends-saturated", connections),
    membersPerRoom: 1,
    firstUser: 0,
    atOnce: 32,
    load: (books, lanes, window) => closedLoop(books, lanes, inFlight, "acknowledged", plan, window),
  });
  const perSecond = traffic.acknowledgedMeasured / (times.measuredMs / 1000);
  const measured = figures(refusals, [
    ["acknowledged", "/s", perSecond],
    ["server CPU, saturated", "cores", meters.serverShare],
    ["generator CPU, saturated", "cores", meters.generatorShare],
  ]);
  return { perSecond, figures: [...measured, ...orderFigures(context.kind, traffic, refusals)], refusals };
}

interface Steady {
  /** What their names begin with; another one for each phase. */
  readonly rooms: string;
  /** Sends a second. */
  readonly rate: number;
  /** Ends the names of the figures. */
  readonly at: string;
}

async function steady(
  context: RunContext,
  { rooms, rate, at }: Steady,
  refusalsBefore: readonly Refusal[],
): Promise<readonly Figure[]> {
  const plan = plans[context.scale];
  const { traffic, times, meters, commitP99Ms, refusals } = await runPhase(context, {
    kind: "fixed_rate",
    rooms: roomNames(rooms, connections),
    membersPerRoom: 1,
    firstUser: 0,
    atOnce: 32,
    load: (books, lanes, window) => openLoop(books, lanes, rate, plan, window),
  });
  return figures(
    [...refusalsBefore, ...refusals],
    [
      [`acknowledgement p50 ${at}`, "ms", milliseconds(traffic.acknowledgementLatency.percentile(0.5))],
      [`acknowledgement p99 ${at}`, "ms", milliseconds(traffic.acknowledgementLatency.percentile(0.99))],
      [`delivery p99 ${at}`, "ms", milliseconds(traffic.deliveryLatency.percentile(0.99))],
      [`store's own commit p99 ${at}`, "ms", commitP99Ms],
      [`server CPU ${at}`, "cores", meters.serverShare],
      [`generator CPU ${at}`, "cores", meters.generatorShare],
      [`generator late p99 ${at}`, "ms", milliseconds(times.latenessP99Micros)],
    ],
  );
}
