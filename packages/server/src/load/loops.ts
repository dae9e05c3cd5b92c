import { setTimeout as wait } from "node:timers/promises";
import type { Client } from "./client.ts";
import { Histogram } from "./histogram.ts";
import { inFlightMax, nowMicros, type RoomTraffic, sum, type Traffic } from "./traffic.ts";

/** Who sends into which room. Each room has one sender: then the order of its counters is the order of its messages. */
export interface Lane {
  readonly client: Client;
  readonly room: RoomTraffic;
}

export interface LoadPlan {
  readonly warmUpMs: number;
  readonly measureMs: number;
  readonly textLength: number;
  /** False: the run ends with its last send, and the workload waits for what is to come by itself. */
  readonly drains?: boolean;
  /** How long what was sent may still come after the last send; six tenths of the plan unless told otherwise. */
  readonly drainMsMax?: number;
  /** Ends the load at once: the loop rejects with its reason. */
  readonly stopped?: AbortSignal;
}

export interface LoadTimes {
  /** From the first send to the last delivery, or to where waiting for it was given up. */
  readonly elapsedMs: number;
  readonly plannedMs: number;
  readonly measuredMs: number;
  /** How late the generator's own sends were, 99th percentile; only at a fixed rate. */
  readonly latenessP99Micros: number | undefined;
  /** From one send to the next; only at a fixed rate. */
  readonly sendIntervalMicros: number | undefined;
}

/** What a run does at the two ends of its measured window. */
export interface Window {
  begin(): void;
  end(): void;
}

// A timer fires up to a millisecond late. That is no fault of the server; more than that is waiting that a real
// sender would have had, and counts into the latency.
const timerGranularityMicros = 1000;

/**
 * Sends at a fixed total rate, whatever comes back: lane by lane, evenly spaced.
 * Errors: rejects with `TooManyUnacknowledged`, or with the reason of `plan.stopped`.
 */
export async function openLoop(
  traffic: Traffic,
  lanes: readonly Lane[],
  rate: number,
  plan: LoadPlan,
  window: Window,
): Promise<LoadTimes> {
  const intervalMicros = 1e6 / rate;
  const lateness = new Histogram();
  const began = nowMicros();
  let sent = 0;
  const total = Math.floor(((plan.warmUpMs + plan.measureMs) * rate) / 1000);
  function sendDue(): void {
    const now = nowMicros();
    while (sent < total && began + sent * intervalMicros <= now) {
      const due = began + sent * intervalMicros;
      const lane = lanes[sent % lanes.length];
      sent += 1;
      if (lane?.client.ready !== true) continue;
      lateness.record(now - due);
      lane.client.sendMessage(lane.room, Math.min(now, due + timerGranularityMicros), plan.textLength);
    }
  }
  const failed = new AbortController();
  const timer = setInterval(() => {
    try {
      sendDue();
    } catch (error) {
      failed.abort(error);
    }
  }, 1);
  try {
    await measure(traffic, began, plan, window, failed.signal);
    sendDue();
  } finally {
    clearInterval(timer);
  }
  return {
    ...(await drain(traffic, began, plan)),
    latenessP99Micros: lateness.percentile(0.99),
    sendIntervalMicros: intervalMicros,
  };
}

// A message that was refused is never delivered. To send the next one at once would measure refusals.
const refusedPauseMs = 100;

/** `acknowledged`: a send is done when its acknowledgement came. `delivered`: when every member of its room has it. */
export type Completion = "acknowledged" | "delivered";

/**
 * Keeps `inFlight` sends under way in each lane, each followed by the next as soon as it is done.
 * Errors: rejects with the reason of `plan.stopped`.
 */
export async function closedLoop(
  traffic: Traffic,
  lanes: readonly Lane[],
  inFlight: number,
  completion: Completion,
  plan: LoadPlan,
  window: Window,
): Promise<LoadTimes> {
  if (inFlight > inFlightMax) throw new Error(`at most ${inFlightMax} sends can be in flight in a room`);
  let running = true;
  const sendNext = (client: Client, room: RoomTraffic | undefined): void => {
    if (running && client.ready && room !== undefined) client.sendMessage(room, nowMicros(), plan.textLength);
  };
  for (const { client, room } of lanes) {
    if (completion === "acknowledged") {
      client.onAcknowledged = () => sendNext(client, room);
    } else {
      room.onComplete = () => sendNext(client, room);
      client.onRefused = (refused) =>
        void setTimeout(() => sendNext(client, traffic.rooms[refused]), refusedPauseMs).unref();
    }
  }
  const began = nowMicros();
  for (const { client, room } of lanes) {
    for (let count = 0; count < inFlight; count += 1) client.sendMessage(room, nowMicros(), plan.textLength);
  }
  await measure(traffic, began, plan, window).finally(() => {
    running = false;
  });
  return { ...(await drain(traffic, began, plan)), latenessP99Micros: undefined, sendIntervalMicros: undefined };
}

async function measure(
  traffic: Traffic,
  beganMicros: number,
  plan: LoadPlan,
  window: Window,
  failed?: AbortSignal,
): Promise<void> {
  const ended = AbortSignal.any([plan.stopped, failed].filter((signal) => signal !== undefined));
  await waitUnless(ended, Math.max(0, plan.warmUpMs - (nowMicros() - beganMicros) / 1000));
  traffic.measureFromMicros = nowMicros();
  window.begin();
  await waitUnless(ended, plan.measureMs);
  window.end();
  traffic.measureToMicros = nowMicros();
}

/** Errors: rejects with the signal's reason as soon as there is one. */
async function waitUnless(ended: AbortSignal, milliseconds: number): Promise<void> {
  await wait(milliseconds, undefined, { signal: ended }).catch(() => {});
  ended.throwIfAborted();
}

/**
 * Waits until all that was sent has come, at most `drainMsMax`. What is missing then is lost
 * if every send was answered and nothing came any more for a while, so the run ended with its last arrival; else it is
 * late, and the run too long.
 */
async function drain(
  traffic: Traffic,
  beganMicros: number,
  plan: LoadPlan,
): Promise<Omit<LoadTimes, "latenessP99Micros" | "sendIntervalMicros">> {
  const plannedMs = plan.warmUpMs + plan.measureMs;
  const elapsedMs = () => (nowMicros() - beganMicros) / 1000;
  const answered = () => traffic.acknowledged + sum(traffic.refusedSends) >= traffic.sends;
  if (plan.drains === false) {
    const measuredMs = (traffic.measureToMicros - traffic.measureFromMicros) / 1000;
    return { elapsedMs: elapsedMs(), plannedMs, measuredMs };
  }
  const { drainMsMax = plannedMs * 0.6 } = plan;
  let arrived = -1;
  let lastArrivalMs = elapsedMs();
  while (elapsedMs() < plannedMs + drainMsMax) {
    plan.stopped?.throwIfAborted();
    if (traffic.deliveries + traffic.acknowledged !== arrived) lastArrivalMs = elapsedMs();
    arrived = traffic.deliveries + traffic.acknowledged;
    if (answered() && traffic.deliveries >= traffic.expectedDeliveries) break;
    await wait(5);
  }
  const quietMs = elapsedMs() - lastArrivalMs;
  const finished = answered() && (traffic.deliveries >= traffic.expectedDeliveries || quietMs > plannedMs * 0.1);
  const times = { elapsedMs: finished ? lastArrivalMs : elapsedMs(), plannedMs };
  // What comes twice comes late: without this pause a repeat of the last messages would not be seen.
  await wait(50);
  return { ...times, measuredMs: (traffic.measureToMicros - traffic.measureFromMicros) / 1000 };
}
