import type { Crowd } from "../generator/crowd.ts";
import type { LoadTimes } from "../generator/load.ts";
import type { Traffic } from "../generator/traffic.ts";
import type { Meters } from "../machine/meter.ts";
import type { Cores } from "../machine/pin.ts";
import type { Observation, Refusal } from "../rules.ts";
import type { RunningServer, ServerKind } from "../servers/server.ts";

/** `short` keeps the bench itself working: seconds, small crowds, figures without meaning. */
export type Scale = "full" | "short";

export interface RunContext {
  readonly kind: ServerKind;
  readonly server: RunningServer;
  readonly secret: string;
  readonly scale: Scale;
}

/** One measured value of one run; it counts when `refusals` is empty. */
export interface Figure {
  readonly metric: string;
  readonly unit: string;
  readonly value: number;
  readonly refusals: readonly Refusal[];
}

export interface Workload {
  readonly name: string;
  readonly title: string;
  /** Servers measured unless others are asked for; ratios are to the one called `reference`. */
  readonly servers: readonly string[];
  readonly reference: string;
  /** Metrics that a chart shows; its first one unless told otherwise. */
  readonly charted?: readonly string[];
  readonly serverCores: Cores;
  /** Nodes of one cluster that the server runs as. */
  readonly nodes: number;
  readonly raiseRateLimits: boolean;
  /** Why this server cannot be measured so; `undefined`, as without this, when it can. */
  unfit?(kind: ServerKind): string | undefined;
  /** Files that the server and the generator each hold open. */
  openFiles(scale: Scale): number;
  run(context: RunContext): Promise<readonly Figure[]>;
}

/** Metrics and their values, of one phase of a run: its refusals hold for all of them. */
export function figures(
  refusals: readonly Refusal[],
  values: readonly (readonly [metric: string, unit: string, value: number | undefined])[],
): readonly Figure[] {
  // Nothing came of a run that was refused for it: there is no figure, and yet a row that says so.
  return values.flatMap(([metric, unit, value]) => {
    if (value === undefined) return [];
    if (!Number.isFinite(value) && refusals.length === 0) return [];
    return [{ metric, unit, value: Number.isFinite(value) ? value : 0, refusals }];
  });
}

/** Of a server that promises no order: how much of it the clients missed. */
export function orderFigures(
  { ordered }: ServerKind,
  traffic: Traffic,
  refusals: readonly Refusal[],
): readonly Figure[] {
  if (ordered) return [];
  return figures(refusals, [["delivered out of order", "%", (traffic.repeated / traffic.deliveries) * 100]]);
}

export function observe(
  kind: Observation["kind"],
  traffic: Traffic,
  crowd: Pick<Crowd, "attempted" | "failures">,
  times: Omit<LoadTimes, "measuredMs">,
  meters: Meters,
  serverEnded: string | undefined,
): Observation {
  return {
    kind,
    connectionsAttempted: crowd.attempted,
    connectionFailures: sum(crowd.failures),
    connectionsLost: sum(traffic.lostConnections),
    sends: traffic.sends,
    acknowledged: traffic.acknowledged,
    strayAcknowledgements: traffic.strayAcknowledgements,
    refusedSends: sum(traffic.refusedSends),
    expectedDeliveries: traffic.expectedDeliveries,
    deliveries: traffic.deliveries,
    repeated: traffic.repeated,
    skipped: traffic.skipped,
    outOfSequence: traffic.outOfSequence,
    unmarked: traffic.unmarked,
    plannedMs: times.plannedMs,
    elapsedMs: times.elapsedMs,
    generatorShare: meters.generatorShare,
    latenessP99Micros: times.latenessP99Micros,
    sendIntervalMicros: times.sendIntervalMicros,
    otherLoadShare: meters.otherLoadShare,
    serverEnded,
  };
}

/** The most frequent reasons, to be read when a run is refused. */
export function explain(crowd: Pick<Crowd, "failures">, traffic: Traffic): void {
  for (const [what, counts] of [
    ["did not join", crowd.failures],
    ["lost", traffic.lostConnections],
    ["sends refused", traffic.refusedSends],
  ] as const) {
    const worst = [...counts].toSorted((a, b) => b[1] - a[1]).slice(0, 3);
    for (const [reason, times] of worst) console.error(`bench: ${times} ${what}: ${reason}`);
  }
}

function sum(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((total, count) => total + count, 0);
}

export function milliseconds(micros: number | undefined): number | undefined {
  return micros === undefined ? undefined : micros / 1000;
}

export function roomNames(prefix: string, count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}-${String(index).padStart(5, "0")}`);
}
