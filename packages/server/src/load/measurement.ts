import { type Crowd, gather, type Gathering } from "./crowd.ts";
import { lanesOfMembers, spreadOver } from "./lanes.ts";
import { closedLoop, type Lane, type LoadPlan, type LoadTimes, openLoop, type Window } from "./loops.ts";
import { observe } from "./observe.ts";
import { reasonsToRefuse, type Refusal } from "./rules.ts";
import { nowMicros, Traffic } from "./traffic.ts";

/** `fixed_rate`: messages/s in all, whatever comes back. `maximum`: as many under way in each room, each until all its members have it. */
export type Load =
  | { readonly kind: "fixed_rate"; readonly rate: number }
  | { readonly kind: "maximum"; readonly inFlight: number };

export interface MeasurementPlan {
  readonly nodes: Gathering["nodes"];
  readonly tokenOf: Gathering["tokenOf"];
  /** Rooms that exist, are empty, and that every user may read and write. */
  readonly rooms: readonly string[];
  /** Connections, spread evenly over the rooms and the nodes. */
  readonly members: number;
  readonly load: Load;
  readonly seconds: number;
  readonly stopped: AbortSignal;
}

export interface Measurement {
  readonly traffic: Traffic;
  readonly crowd: Pick<Crowd, "attempted" | "failures" | "elapsedMs">;
  readonly times: LoadTimes;
  /** Of one core. */
  readonly generatorShare: number;
  /** Why the figures say less than they seem to. */
  readonly refusals: readonly Refusal[];
}

/** Not one member has joined. */
export class NobodyJoined extends Error {
  override readonly name = "NobodyJoined";
  /** By reason. */
  readonly failures: ReadonlyMap<string, number>;

  constructor(failures: ReadonlyMap<string, number>) {
    super("no member has joined");
    this.failures = failures;
  }
}

const handshakesAtOnce = 64;
const textLength = 100;
/** The first tenth, and 2 s at most: sent, checked and counted, but no part of the latencies. */
const warmUpShare = 0.1;
const warmUpMsMax = 2_000;
/** What was sent may come so long after the end: a cluster that fell behind shows itself, also in a short run. */
const drainMsMin = 10_000;

/** Tries one connection. Errors: rejects with `NobodyJoined`, or with the reason of `stopped`. */
export async function tryNode(
  node: MeasurementPlan["nodes"][number],
  { tokenOf, stopped }: Pick<MeasurementPlan, "tokenOf" | "stopped">,
): Promise<void> {
  const gathering = { traffic: new Traffic(true), nodes: [node], tokenOf, arrival: "websocket", atOnce: 1 } as const;
  using crowd = await gather({ ...gathering, stopped }, [[]]);
  stopped.throwIfAborted();
  if (crowd.clients.length === 0) throw new NobodyJoined(crowd.failures);
  leave(crowd);
}

/**
 * Connects the members, lets them join, puts the load on them, lets them leave, and judges what came of it.
 * Errors: rejects with `NobodyJoined`, `TooManyUnacknowledged`, or the reason of `stopped`; no connection is left then.
 */
export async function measureLoad(plan: MeasurementPlan): Promise<Measurement> {
  const { nodes, tokenOf, stopped, load } = plan;
  const traffic = new Traffic(true);
  const rooms = plan.rooms.map((name) => traffic.addRoom(name));
  using crowd = await gather(
    { traffic, nodes, tokenOf, arrival: "websocket", atOnce: handshakesAtOnce, stopped },
    spreadOver(rooms, plan.members),
  );
  stopped.throwIfAborted();
  if (crowd.clients.length === 0) throw new NobodyJoined(crowd.failures);
  const share = new OwnShare();
  const times = await putOn(load, traffic, lanesOfMembers(crowd, rooms), planOf(plan), share).finally(() =>
    leave(crowd),
  );
  // What else this machine does is not looked at: the nodes may well be on it.
  const shares = { generatorShare: share.value, otherLoadShare: 0 };
  const refusals = reasonsToRefuse(observe(load.kind, traffic, crowd, times, shares, undefined));
  const { attempted, failures, elapsedMs } = crowd;
  return { traffic, crowd: { attempted, failures, elapsedMs }, times, generatorShare: share.value, refusals };
}

function putOn(
  load: Load,
  traffic: Traffic,
  lanes: readonly Lane[],
  plan: LoadPlan,
  window: Window,
): Promise<LoadTimes> {
  return load.kind === "fixed_rate"
    ? openLoop(traffic, lanes, load.rate, plan, window)
    : closedLoop(traffic, lanes, load.inFlight, "delivered", plan, window);
}

function planOf({ seconds, stopped }: MeasurementPlan): LoadPlan {
  const plannedMs = seconds * 1_000;
  const warmUpMs = Math.min(warmUpMsMax, plannedMs * warmUpShare);
  const drainMsMax = Math.max(drainMsMin, plannedMs * 0.6);
  return { warmUpMs, measureMs: plannedMs - warmUpMs, textLength, drainMsMax, stopped };
}

function leave({ clients }: Crowd): void {
  for (const client of clients) client.leave();
}

/** The processor time of this process while it measured, as a share of one core. */
class OwnShare {
  #beganMicros = 0;
  #before: NodeJS.CpuUsage | undefined;
  #value = 0;

  begin(): void {
    this.#beganMicros = nowMicros();
    this.#before = process.cpuUsage();
  }

  end(): void {
    const { user, system } = process.cpuUsage(this.#before);
    this.#value = (user + system) / (nowMicros() - this.#beganMicros);
  }

  get value(): number {
    return this.#value;
  }
}
