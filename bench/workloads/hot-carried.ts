import { setTimeout as wait } from "node:timers/promises";
import { TooManyUnacknowledged } from "../../packages/server/src/load/client.ts";
import { type LoadPlan, openLoop } from "../../packages/server/src/load/loops.ts";
import { loadOf, sampleLoad } from "../machine/load.ts";
import { limits, type Refusal } from "../../packages/server/src/load/rules.ts";
import { type PhaseResult, runPhase } from "./phase.ts";
import {
  type Figure,
  figures,
  milliseconds,
  roomNames,
  type RunContext,
  type Scale,
  type Workload,
} from "./workload.ts";
import { fanOutServers } from "./fan-out.ts";

const p99MicrosMax = 50_000;
const firstRate = 20;
const rateMax = 10_240;
const bisections = 4;
const quietMsMax = 15_000;

const stepPlans: Readonly<Record<Scale, LoadPlan>> = {
  full: { warmUpMs: 1_000, measureMs: 4_000, textLength: 100 },
  short: { warmUpMs: 100, measureMs: 300, textLength: 100 },
};

function members(scale: Scale): number {
  return scale === "full" ? 1_000 : 50;
}

/** Delivered whole, in order and in time. */
interface Carried {
  readonly carried: true;
  readonly rate: number;
  readonly result: PhaseResult;
}

interface Failed {
  readonly carried: false;
  readonly rate: number;
  /** Undefined: the server was so far behind that the load was given up. */
  readonly result: PhaseResult | undefined;
}

/** Doubles the rate until the server no longer carries it, and then searches between the last two. */
export const hot: Workload = {
  name: "hot",
  title: "1 room of 1,000 members: the highest fixed rate carried with p99 ≤ 50 ms and nothing lost",
  servers: fanOutServers,
  reference: "tutorial",
  serverCores: "0",
  nodes: 1,
  raiseRateLimits: true,
  openFiles: (scale) => members(scale) + 200,
  run: async (context) => {
    const { best, failed } = await search(context);
    if (best === undefined) return [notEvenTheFirst(failed)];
    const { traffic, meters, times } = best.result;
    return figures(refusalsOf(best, failed), [
      ["carried", "messages/s", best.rate],
      ["carried deliveries", "/s", traffic.deliveriesMeasured / (times.measuredMs / 1000)],
      ["delivery p50 at it", "ms", milliseconds(traffic.deliveryLatency.percentile(0.5))],
      ["delivery p99 at it", "ms", milliseconds(traffic.deliveryLatency.percentile(0.99))],
      ["store's own commit p99 at it", "ms", best.result.commitP99Ms],
      ["server CPU at it", "cores", meters.serverShare],
      ["generator CPU at it", "cores", meters.generatorShare],
    ]);
  },
};

async function search(context: RunContext): Promise<{ best: Carried | undefined; failed: Failed | undefined }> {
  let best: Carried | undefined;
  let failed: Failed | undefined;
  for (let rate = firstRate; rate <= rateMax && failed === undefined; rate *= 2) {
    const step = await atRate(context, rate);
    if (step.carried) best = step;
    else failed = step;
    if (context.scale === "short" && rate >= firstRate * 4) return { best, failed };
  }
  for (let round = 0; round < bisections && best !== undefined && failed !== undefined; round += 1) {
    const step = await atRate(context, Math.round(Math.sqrt(best.rate * failed.rate)));
    if (step.carried) best = step;
    else failed = step;
  }
  return { best, failed };
}

async function atRate(context: RunContext, rate: number): Promise<Carried | Failed> {
  const result = await phaseAtRate(context, rate);
  const p99 = result?.traffic.deliveryLatency.percentile(0.99) ?? Number.POSITIVE_INFINITY;
  if (result?.refusals.every(({ code }) => code === "other_load") === true && p99 <= p99MicrosMax)
    return { carried: true, rate, result };
  await quiet(context.server.pid);
  return { carried: false, rate, result };
}

async function phaseAtRate(context: RunContext, rate: number): Promise<PhaseResult | undefined> {
  try {
    return await runPhase(context, {
      kind: "fixed_rate",
      rooms: roomNames(`hot-at-${rate}`, 1),
      membersPerRoom: members(context.scale),
      firstUser: 0,
      atOnce: 32,
      load: (traffic, lanes, window) => openLoop(traffic, lanes, rate, stepPlans[context.scale], window),
    });
  } catch (error) {
    if (error instanceof TooManyUnacknowledged) return undefined;
    throw error;
  }
}

/** A server that was sent too much works it off, long after its clients have gone. */
async function quiet(pid: number): Promise<void> {
  const deadline = performance.now() + quietMsMax;
  let before = sampleLoad();
  while (performance.now() < deadline) {
    await wait(250);
    const after = sampleLoad();
    if (loadOf(before, after, pid) < 0.1) return;
    before = after;
  }
}

function refusalsOf(best: Carried, failed: Failed | undefined): readonly Refusal[] {
  const reasons: Refusal[] = [...best.result.refusals];
  if (failed === undefined) {
    reasons.push({
      code: "generator_at_its_limit",
      detail: `${best.rate}/s was carried, and no higher rate was tried`,
    });
    return reasons;
  }
  if (failed.result === undefined) {
    const detail = `${failed.rate}/s was given up, so nobody knows whether it was too much for the generator`;
    reasons.push({ code: "generator_at_its_limit", detail });
    return reasons;
  }
  const { refusals, meters } = failed.result;
  // What the server must never do is no sign of a high rate; other load, or a generator at its limit, of no rate at all.
  const counted = refusals.filter(({ code }) => code !== "too_long" && code !== "generator_late");
  const atLimit =
    refusals.some(({ code }) => code === "generator_late") || meters.generatorShare > limits.generatorShare;
  if (atLimit) {
    const detail = `${failed.rate}/s was too much for it (${Math.round(meters.generatorShare * 100)} % of its core)`;
    reasons.push({ code: "generator_at_its_limit", detail });
  }
  return [...reasons, ...counted];
}

function notEvenTheFirst(failed: Failed | undefined): Figure {
  const refusals = failed?.result?.refusals ?? [];
  const wrong = refusals.filter(({ code }) => code !== "too_long");
  return { metric: "carried", unit: "messages/s", value: 0, refusals: wrong };
}
