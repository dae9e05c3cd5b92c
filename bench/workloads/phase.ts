import { type Crowd, gather } from "../../packages/server/src/load/crowd.ts";
import { lanesOfMembers } from "../../packages/server/src/load/lanes.ts";
import type { Lane, LoadPlan, LoadTimes, Window } from "../../packages/server/src/load/loops.ts";
import { observe } from "../../packages/server/src/load/observe.ts";
import { type RoomTraffic, Traffic } from "../../packages/server/src/load/traffic.ts";
import { Meter, type Meters } from "../machine/meter.ts";
import { type Observation, reasonsToRefuse, type Refusal } from "../../packages/server/src/load/rules.ts";
import { type CommitTimes, quantileBetween } from "../servers/metrics.ts";
import type { RunningServer, ServerNode } from "../servers/server.ts";
import { explain, type RunContext } from "./workload.ts";

export interface PhasePlan {
  readonly kind: Observation["kind"];
  readonly rooms: readonly string[];
  /** Members of each room. */
  readonly membersPerRoom: number;
  /** How many rooms each connection is in: one after the other of the list, or `all`. One, unless told otherwise. */
  readonly roomsPerMember?: number | "all";
  /** The node that the members connect to, or several in turn; the first one unless told otherwise. */
  readonly membersNode?: number | "all" | "all but the last";
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
  /** Of the store's commits in the measured window; undefined where the server tells nothing of them. */
  readonly commitP99Ms: number | undefined;
  readonly refusals: readonly Refusal[];
}

/** Connects a crowd, lets it join, puts the load on it, closes it, and judges what came of it. */
export async function runPhase({ kind, server, tokenOf }: RunContext, plan: PhasePlan): Promise<PhaseResult> {
  await server.makeRooms(plan.rooms);
  const traffic = new Traffic(kind.sequenced);
  const rooms = plan.rooms.map((name) => traffic.addRoom(name));
  const gathering = { traffic, tokenOf, arrival: "websocket", atOnce: plan.atOnce } as const;
  const { membersNode = 0, senders } = plan;
  const nodes = nodesCalled(server, membersNode);
  using members = await gather({ ...gathering, nodes }, memberships(rooms, plan), plan.firstUser);
  const sending = Array.from({ length: senders?.connections ?? 0 }, () => []);
  const sendersNodes = nodesCalled(server, senders?.node ?? 0);
  using crowd = await gather({ ...gathering, nodes: sendersNodes }, sending, plan.firstUser + 500_000);
  const meter = new Meter(...server.nodes.map(({ pid }) => pid));
  const commits: Promise<CommitTimes | undefined>[] = [];
  const window: Window = {
    begin: () => {
      meter.begin();
      commits.push(server.commitTimes());
      plan.window?.begin();
    },
    end: () => {
      meter.end();
      commits.push(server.commitTimes());
      plan.window?.end();
    },
  };
  const lanes = senders === undefined ? lanesOfMembers(members, rooms) : lanesOfSenders(crowd, rooms);
  const times = await plan.load(traffic, lanes, window);
  const meters = meter.shares;
  const everyone = together(members, crowd);
  const observed = observe(plan.kind, traffic, everyone, times, meters, server.ended);
  const refusals = reasonsToRefuse(kind.ordered ? observed : { ...observed, skipped: 0, repeated: 0 });
  if (refusals.length > 0) explain(everyone, traffic);
  const commitP99Ms = commitP99(await Promise.all(commits));
  return { traffic, crowd: everyone, times, meters, commitP99Ms, refusals };
}

function commitP99([before, after]: readonly (CommitTimes | undefined)[]): number | undefined {
  const seconds = before === undefined || after === undefined ? undefined : quantileBetween(before, after, 0.99);
  return seconds === undefined ? undefined : seconds * 1000;
}

function nodesCalled({ nodes }: RunningServer, which: number | "all" | "all but the last"): readonly ServerNode[] {
  if (which === "all") return nodes;
  return which === "all but the last" ? nodes.slice(0, -1) : nodes.slice(which, which + 1);
}

function memberships(rooms: readonly RoomTraffic[], plan: PhasePlan): readonly (readonly RoomTraffic[])[] {
  const { membersPerRoom, roomsPerMember = 1 } = plan;
  const perMember = roomsPerMember === "all" ? rooms.length : roomsPerMember;
  const groups = Array.from({ length: Math.ceil(rooms.length / perMember) }, (_, index) =>
    rooms.slice(index * perMember, (index + 1) * perMember),
  );
  return groups.flatMap((group) => Array.from({ length: membersPerRoom }, () => group));
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
