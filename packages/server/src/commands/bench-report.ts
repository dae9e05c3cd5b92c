import type { Histogram } from "../load/histogram.ts";
import type { Measurement } from "../load/measurement.ts";
import { isWrong, type Refusal } from "../load/rules.ts";
import { sum } from "../load/traffic.ts";
import { explainFailures, hintOf } from "./bench-hints.ts";
import type { BenchPlan } from "./bench-plan.ts";

/** What `parley bench --json` prints. Times in milliseconds, rates per second, shares of one core. */
export interface BenchResult {
  readonly urls: readonly string[];
  readonly members: number;
  readonly rooms: number;
  readonly seconds: number;
  /** Messages/s that were asked for; null with `inFlight`. */
  readonly rate: number | null;
  readonly inFlight: number | null;
  readonly connected: number;
  readonly connectSeconds: number;
  readonly connectFailures: Counts;
  readonly connectionsLost: Counts;
  readonly sent: number;
  readonly acknowledged: number;
  readonly acknowledgedPerSecond: number;
  /** By code. */
  readonly refused: Counts;
  readonly expected: number;
  readonly delivered: number;
  readonly deliveredPerSecond: number;
  /** Of those expected; also what was still under way when waiting for it was given up. */
  readonly lost: number;
  readonly repeated: number;
  readonly outOfOrder: number;
  readonly wrongSeq: number;
  readonly damaged: number;
  readonly acknowledgementMs: Times | null;
  readonly deliveryMs: Times | null;
  readonly generatorShare: number;
  /** How late the generator itself sent, 99th percentile; null with `inFlight`. */
  readonly generatorLateMs: number | null;
  readonly warnings: readonly Refusal[];
  readonly roomsLeft: readonly string[];
  /** Nothing was lost, repeated, out of order or unanswered, and no connection was. */
  readonly sound: boolean;
}

type Counts = Readonly<Record<string, number>>;

interface Times {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export function resultOf(plan: BenchPlan, measurement: Measurement, roomsLeft: readonly string[]): BenchResult {
  const { traffic, crowd, times, generatorShare, refusals } = measurement;
  const { load } = plan;
  const perSecond = (measured: number): number => measured / (times.measuredMs / 1_000);
  const refused = sum(traffic.refusedSends);
  const unanswered = traffic.sends - traffic.acknowledged - refused;
  const lost = Math.max(0, traffic.lost);
  return {
    urls: plan.nodes.map(({ url }) => url),
    members: plan.members,
    rooms: plan.rooms,
    seconds: plan.seconds,
    rate: load.kind === "fixed_rate" ? load.rate : null,
    inFlight: load.kind === "maximum" ? load.inFlight : null,
    connected: crowd.attempted - sum(crowd.failures),
    connectSeconds: crowd.elapsedMs / 1_000,
    connectFailures: Object.fromEntries(crowd.failures),
    connectionsLost: Object.fromEntries(traffic.lostConnections),
    sent: traffic.sends,
    acknowledged: traffic.acknowledged,
    acknowledgedPerSecond: perSecond(traffic.acknowledgedMeasured),
    refused: Object.fromEntries(traffic.refusedSends),
    expected: traffic.expectedDeliveries,
    delivered: traffic.deliveries,
    deliveredPerSecond: perSecond(traffic.deliveriesMeasured),
    lost,
    repeated: traffic.repeated - traffic.late,
    outOfOrder: traffic.late,
    wrongSeq: traffic.outOfSequence,
    damaged: traffic.unmarked,
    acknowledgementMs: timesOf(traffic.acknowledgementLatency),
    deliveryMs: timesOf(traffic.deliveryLatency),
    generatorShare,
    generatorLateMs: times.latenessP99Micros === undefined ? null : times.latenessP99Micros / 1_000,
    warnings: refusals,
    roomsLeft,
    sound: !isWrong(refusals) && traffic.sends > 0 && lost === 0 && unanswered === 0,
  };
}

function timesOf(latency: Histogram): Times | null {
  const [p50, p99] = [latency.percentile(0.5), latency.percentile(0.99)];
  if (p50 === undefined || p99 === undefined) return null;
  return { p50: p50 / 1_000, p99: p99 / 1_000, max: latency.maxMicros / 1_000 };
}

/** The same for people. */
export function tableOf(result: BenchResult): readonly string[] {
  const { rate, inFlight, generatorLateMs } = result;
  const load = rate === null ? `${inFlight} messages in flight in each` : `${count(rate)} messages/s`;
  const late = generatorLateMs === null ? "" : `, p99 ${milliseconds(generatorLateMs)} behind its schedule`;
  const refused = sum(new Map(Object.entries(result.refused)));
  const rows: readonly (readonly [string, string])[] = [
    ["connected", `${count(result.connected)} of ${count(result.members)} in ${result.connectSeconds.toFixed(1)} s`],
    ["sent", count(result.sent)],
    ["acknowledged", `${ofAll(result.acknowledged, result.sent)}, ${count(result.acknowledgedPerSecond)}/s`],
    ...(refused === 0 ? [] : [["refused", count(refused)] as const]),
    ["delivered", `${ofAll(result.delivered, result.expected)}, ${count(result.deliveredPerSecond)}/s`],
    ["lost", count(result.lost)],
    ["repeated", count(result.repeated)],
    ["out of order", count(result.outOfOrder)],
    ...(result.wrongSeq === 0 ? [] : [["wrong seq", count(result.wrongSeq)] as const]),
    ...(result.damaged === 0 ? [] : [["damaged", count(result.damaged)] as const]),
    ["acknowledgement", describe(result.acknowledgementMs)],
    ["delivery", describe(result.deliveryMs)],
    ["generator", `${Math.round(result.generatorShare * 100)} % of a core${late}`],
  ];
  return [
    `${count(result.members)} members in ${count(result.rooms)} rooms, ${load}, ${result.seconds} s: ${result.urls.join(", ")}`,
    ...rows.map(([name, value]) => `${name.padEnd(15)}  ${value}`),
    ...warningsOf(result).map((warning) => `warning: ${warning}`),
  ];
}

function warningsOf(result: BenchResult): readonly string[] {
  const { warnings, connectFailures, connectionsLost, roomsLeft } = result;
  const failures = [
    ["did not join", connectFailures],
    ["connections were lost", connectionsLost],
  ] as const;
  return [
    ...warnings.map((warning) => `${warning.code}: ${warning.detail}${hintOf(warning, result)}`),
    ...failures.flatMap(([what, counts]) =>
      Object.keys(counts).length === 0 ? [] : [`${what}: ${explainFailures(new Map(Object.entries(counts)))}`],
    ),
    ...(roomsLeft.length === 0 ? [] : [tellLeft(roomsLeft)]),
  ];
}

export function tellLeft([first = "", ...more]: readonly string[]): string {
  const others = more.length === 0 ? "" : ` and ${more.length} more that begin alike`;
  return `room ${first}${others} could not be removed: parley room delete ${first}`;
}

function describe(times: Times | null): string {
  if (times === null) return "–";
  return `p50 ${milliseconds(times.p50)}, p99 ${milliseconds(times.p99)}, max ${milliseconds(times.max)}`;
}

function ofAll(part: number, all: number): string {
  return `${count(part)} of ${count(all)}`;
}

function count(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

function milliseconds(value: number): string {
  return `${value < 100 ? value.toFixed(1) : Math.round(value)} ms`;
}
