import type { Crowd } from "../../packages/server/src/load/crowd.ts";
import type { Traffic } from "../../packages/server/src/load/traffic.ts";
import type { Cores } from "../machine/pin.ts";
import type { Refusal } from "../../packages/server/src/load/rules.ts";
import type { RunningServer, ServerKind } from "../servers/server.ts";

/** `short` keeps the bench itself working: seconds, small crowds, figures without meaning. */
export type Scale = "full" | "short";

export interface RunContext {
  readonly kind: ServerKind;
  readonly server: RunningServer;
  readonly secret: string;
  /** Of the generator's users, signed with the secret. */
  readonly tokenOf: (user: number) => string;
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
  /** Instead: one chart of `metric` by size, of all workloads whose curve has this name. Metrics say the size after a comma. */
  readonly curve?: { readonly name: string; readonly metric: string };
  readonly serverCores: Cores;
  /** Nodes of one cluster that the server runs as. */
  readonly nodes: number;
  /** Processes behind the one port of each node; one, unless told otherwise. */
  readonly workers?: number;
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

export function milliseconds(micros: number | undefined): number | undefined {
  return micros === undefined ? undefined : micros / 1000;
}

export function roomNames(prefix: string, count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}-${String(index).padStart(5, "0")}`);
}
