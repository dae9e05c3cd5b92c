import { type Crowd, gather } from "../generator/crowd.ts";
import type { Lane, LoadPlan, LoadTimes, Window } from "../generator/load.ts";
import { type RoomTraffic, Traffic } from "../generator/traffic.ts";
import { Meter, type Meters } from "../machine/meter.ts";
import { type Observation, reasonsToRefuse, type Refusal } from "../rules.ts";
import { explain, observe, type RunContext } from "./workload.ts";

export interface PhasePlan {
  readonly kind: Observation["kind"];
  readonly rooms: readonly string[];
  /** Members of each room, apart from each other; the first one sends. */
  readonly membersPerRoom: number;
  readonly firstUser: number;
  readonly atOnce: number;
  /** Besides the meters, at the two ends of the measured window. */
  readonly window?: Window;
  load(traffic: Traffic, lanes: readonly Lane[], window: Window): Promise<LoadTimes>;
}

export interface PhaseResult {
  readonly traffic: Traffic;
  readonly crowd: Crowd;
  readonly times: LoadTimes;
  readonly meters: Meters;
  readonly refusals: readonly Refusal[];
}

/** Connects a crowd, lets it join, puts the load on it, closes it, and judges what came of it. */
export async function runPhase({ kind, server, secret }: RunContext, plan: PhasePlan): Promise<PhaseResult> {
  await server.makeRooms(plan.rooms);
  const traffic = new Traffic(kind.sequenced);
  const rooms = plan.rooms.map((name) => traffic.addRoom(name));
  const memberships = rooms.flatMap((room) => Array.from({ length: plan.membersPerRoom }, () => [room]));
  const { host, port } = server;
  using crowd = await gather(
    { traffic, host, port, secret, arrival: "websocket", atOnce: plan.atOnce },
    memberships,
    plan.firstUser,
  );
  const meter = new Meter(server.pid);
  const window: Window = {
    begin: () => {
      meter.begin();
      plan.window?.begin();
    },
    end: () => {
      meter.end();
      plan.window?.end();
    },
  };
  const times = await plan.load(traffic, lanesOf(crowd, rooms), window);
  const meters = meter.shares;
  const refusals = reasonsToRefuse(observe(plan.kind, traffic, crowd, times, meters, server.ended));
  if (refusals.length > 0) explain(crowd, traffic);
  return { traffic, crowd, times, meters, refusals };
}

function lanesOf(crowd: Crowd, rooms: readonly RoomTraffic[]): readonly Lane[] {
  return rooms.flatMap((room) => {
    const client = crowd.clients.find(({ subscriptions }) =>
      subscriptions.some((subscription) => subscription.room === room.index),
    );
    return client === undefined ? [] : [{ client, room }];
  });
}

export const plans = {
  full: { warmUpMs: 2_000, measureMs: 10_000, textLength: 100 },
  short: { warmUpMs: 300, measureMs: 1_000, textLength: 100 },
} as const satisfies Record<string, LoadPlan>;
