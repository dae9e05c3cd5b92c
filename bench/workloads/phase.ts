import { type Crowd, gather } from "../generator/crowd.ts";
import type { Lane, LoadPlan, LoadTimes, Window } from "../generator/load.ts";
import { type RoomTraffic, Traffic } from "../generator/traffic.ts";
import { Meter, type Meters } from "../machine/meter.ts";
import { type Observation, reasonsToRefuse, type Refusal } from "../rules.ts";
import type { RunningServer } from "../servers/server.ts";
import { explain, observe, type RunContext } from "./workload.ts";

export interface PhasePlan {
  readonly kind: Observation["kind"];
  readonly rooms: readonly string[];
  /** Members of each room. */
  readonly membersPerRoom: number;
  /** `one`: each connection is a member of one room; `all`: of every room. */
  readonly roomsPerMember?: "one" | "all";
  /** The node that the members connect to; the first one unless told otherwise. */
  readonly membersNode?: number;
  /** Connections that send and are members of nothing; without them a member of each room sends. */
  readonly senders?: { readonly node: number; readonly connections: number };
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
  const gathering = { traffic, secret, arrival: "websocket", atOnce: plan.atOnce } as const;
  const { membersNode = 0, senders } = plan;
  using members = await gather(
    { ...gathering, ...node(server, membersNode) },
    memberships(rooms, plan),
    plan.firstUser,
  );
  const sending = Array.from({ length: senders?.connections ?? 0 }, () => []);
  using crowd = await gather({ ...gathering, ...node(server, senders?.node ?? 0) }, sending, plan.firstUser + 500_000);
  const meter = new Meter(...server.nodes.map(({ pid }) => pid));
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
  const lanes = senders === undefined ? lanesOfMembers(members, rooms) : lanesOfSenders(crowd, rooms);
  const times = await plan.load(traffic, lanes, window);
  const meters = meter.shares;
  const everyone = together(members, crowd);
  const refusals = reasonsToRefuse(observe(plan.kind, traffic, everyone, times, meters, server.ended));
  if (refusals.length > 0) explain(everyone, traffic);
  return { traffic, crowd: everyone, times, meters, refusals };
}

function node(server: RunningServer, index: number): { readonly host: string; readonly port: number } {
  const { host, port } = server.nodes[index] ?? server;
  return { host, port };
}

function memberships(rooms: readonly RoomTraffic[], plan: PhasePlan): readonly (readonly RoomTraffic[])[] {
  const { membersPerRoom } = plan;
  if (plan.roomsPerMember === "all") return Array.from({ length: membersPerRoom }, () => rooms);
  return rooms.flatMap((room) => Array.from({ length: membersPerRoom }, () => [room]));
}

/** One of its members sends into each room: another one for each, where a member is in many. */
function lanesOfMembers({ clients }: Crowd, rooms: readonly RoomTraffic[]): readonly Lane[] {
  const membersOf = rooms.map(() => new Array<(typeof clients)[number]>());
  for (const client of clients) {
    for (const { room } of client.subscriptions) membersOf[room]?.push(client);
  }
  return rooms.flatMap((room, index) => {
    const members = membersOf[index] ?? [];
    const client = members[index % members.length];
    return client === undefined ? [] : [{ client, room }];
  });
}

function lanesOfSenders({ clients }: Crowd, rooms: readonly RoomTraffic[]): readonly Lane[] {
  return rooms.flatMap((room, index) => {
    const client = clients[index % clients.length];
    return client === undefined ? [] : [{ client, room }];
  });
}

function together(one: Crowd, other: Crowd): Crowd {
  return {
    clients: [...one.clients, ...other.clients],
    attempted: one.attempted + other.attempted,
    failures: new Map([...one.failures, ...other.failures]),
    elapsedMs: one.elapsedMs + other.elapsedMs,
    [Symbol.dispose]: () => {
      one[Symbol.dispose]();
      other[Symbol.dispose]();
    },
  };
}

export const plans = {
  full: { warmUpMs: 2_000, measureMs: 10_000, textLength: 100 },
  short: { warmUpMs: 300, measureMs: 1_000, textLength: 100 },
} as const satisfies Record<string, LoadPlan>;
