/**
 * What a run showed about itself. The rules below decide from it alone whether its figures count.
 * Shares are of one core: 1 is a core that was busy all the time.
 */
export interface Observation {
  /**
   * `maximum`: as fast as it goes; `fixed_rate`: latency or load at a given rate; `connecting`: connections as fast as
   * they come, and nothing is sent; `idle`: nothing is sent.
   */
  readonly kind: "maximum" | "fixed_rate" | "connecting" | "idle";
  readonly connectionsAttempted: number;
  readonly connectionFailures: number;
  /** Connections that ended while the run went on. */
  readonly connectionsLost: number;
  readonly sends: number;
  readonly acknowledged: number;
  readonly strayAcknowledgements: number;
  readonly refusedSends: number;
  readonly expectedDeliveries: number;
  readonly deliveries: number;
  /** Deliveries that came again or after a later one. */
  readonly repeated: number;
  /** Messages that were jumped over. */
  readonly skipped: number;
  readonly outOfSequence: number;
  readonly unmarked: number;
  readonly plannedMs: number;
  readonly elapsedMs: number;
  readonly generatorShare: number;
  /** At a fixed rate: 99th percentile of how late the generator's own sends were. */
  readonly latenessP99Micros: number | undefined;
  /** At a fixed rate: time from one send to the next. */
  readonly sendIntervalMicros: number | undefined;
  /** Work of processes that belong neither to the run nor to the kernel. */
  readonly otherLoadShare: number;
  /** Why the server's process ended, if it did. */
  readonly serverEnded: string | undefined;
}

export const refusalCodes = [
  "not_connected",
  "connect_failures",
  "connections_lost",
  "nothing_sent",
  "too_much_delivered",
  "lost",
  "disordered",
  "damaged",
  "sends_refused",
  "not_acknowledged",
  "too_long",
  "generator_at_its_limit",
  "generator_late",
  "other_load",
  "server_ended",
] as const;
export type RefusalCode = (typeof refusalCodes)[number];

export interface Refusal {
  readonly code: RefusalCode;
  readonly detail: string;
}

export const limits = {
  connectFailureShare: 0.01,
  elapsedOverPlan: 1.5,
  generatorShare: 0.97,
  otherLoadShare: 0.1,
  // Up to this, or to when the next send is due, it counts into the latencies, as the server's: reading a burst keeps
  // the generator from sending on time.
  latenessP99Micros: 20_000,
} as const;

const wrongs: ReadonlySet<RefusalCode> = new Set<RefusalCode>([
  "not_connected",
  "connections_lost",
  "too_much_delivered",
  "lost",
  "disordered",
  "damaged",
  "not_acknowledged",
  "server_ended",
]);

/** The server did what it must never do, whatever the speed of the machine. */
export function isWrong(refusals: readonly Refusal[]): boolean {
  return refusals.some(({ code }) => wrongs.has(code));
}

/**
 * Something else used the machine, which may well be why the run was slow: only such a run is worth repeating. What a
 * server must never do is no accident under any load.
 */
export function isAccident(refusals: readonly Refusal[]): boolean {
  return refusals.some(({ code }) => code === "other_load") && !isWrong(refusals);
}

/** Every reason for which the run's figures must not be shown as results; none: they count. */
export function reasonsToRefuse(observation: Observation): readonly Refusal[] {
  return [...connectionReasons(observation), ...trafficReasons(observation), ...machineReasons(observation)];
}

function connectionReasons(observation: Observation): readonly Refusal[] {
  const { connectionsAttempted, connectionFailures, connectionsLost, serverEnded } = observation;
  const reasons: Refusal[] = [];
  if (connectionsAttempted === 0 || connectionFailures >= connectionsAttempted) {
    reasons.push({ code: "not_connected", detail: `${connectionsAttempted} tried, none joined` });
  } else if (connectionFailures >= connectionsAttempted * limits.connectFailureShare) {
    reasons.push({ code: "connect_failures", detail: `${connectionFailures} of ${connectionsAttempted} did not join` });
  }
  if (connectionsLost > 0)
    reasons.push({ code: "connections_lost", detail: `${connectionsLost} ended during the run` });
  if (serverEnded !== undefined) reasons.push({ code: "server_ended", detail: serverEnded });
  return reasons;
}

function trafficReasons(observation: Observation): readonly Refusal[] {
  const { kind, sends, acknowledged, expectedDeliveries, deliveries, repeated, skipped, outOfSequence } = observation;
  if (kind === "idle" || kind === "connecting") return [];
  const reasons: Refusal[] = [];
  const refuse = (code: RefusalCode, detail: string) => void reasons.push({ code, detail });
  if (sends === 0 || (deliveries === 0 && expectedDeliveries > 0))
    refuse("nothing_sent", `${sends} sent, ${deliveries} delivered`);
  if (deliveries > expectedDeliveries) refuse("too_much_delivered", `${deliveries} of ${expectedDeliveries}`);
  if (deliveries < expectedDeliveries && !isTooLong(observation))
    refuse("lost", `${expectedDeliveries - deliveries} of ${expectedDeliveries} did not come`);
  if (repeated > 0 || skipped > 0 || outOfSequence > 0) {
    refuse("disordered", `${skipped} jumped over, ${repeated} repeated or late, ${outOfSequence} with a wrong seq`);
  }
  if (observation.unmarked > 0) refuse("damaged", `${observation.unmarked} deliveries without their marker`);
  if (observation.refusedSends > 0) refuse("sends_refused", `${observation.refusedSends} of ${sends}`);
  const answered = acknowledged + observation.refusedSends;
  if ((answered !== sends && !isTooLong(observation)) || observation.strayAcknowledgements > 0) {
    refuse("not_acknowledged", `${answered} answers to ${sends} sends, ${observation.strayAcknowledgements} to none`);
  }
  return reasons;
}

/** It was still delivering when waiting was given up: what had not come by then is late, not lost. */
function isTooLong({ elapsedMs, plannedMs }: Observation): boolean {
  return elapsedMs > plannedMs * limits.elapsedOverPlan;
}

function machineReasons(observation: Observation): readonly Refusal[] {
  const {
    kind,
    plannedMs,
    elapsedMs,
    generatorShare,
    latenessP99Micros,
    sendIntervalMicros = 0,
    otherLoadShare,
  } = observation;
  const reasons: Refusal[] = [];
  if (isTooLong(observation)) {
    const open = observation.expectedDeliveries - observation.deliveries;
    const detail = `${Math.round(elapsedMs)} ms, planned ${Math.round(plannedMs)}; ${open} deliveries were still to come`;
    reasons.push({ code: "too_long", detail });
  }
  const isMaximum = kind === "maximum" || kind === "connecting";
  if (isMaximum && generatorShare > limits.generatorShare) {
    reasons.push({ code: "generator_at_its_limit", detail: `${percent(generatorShare)} of its core` });
  }
  if (latenessP99Micros !== undefined && latenessP99Micros > Math.max(limits.latenessP99Micros, sendIntervalMicros)) {
    reasons.push({
      code: "generator_late",
      detail: `p99 ${(latenessP99Micros / 1000).toFixed(1)} ms behind its schedule`,
    });
  }
  if (otherLoadShare > limits.otherLoadShare) {
    reasons.push({ code: "other_load", detail: `other processes took ${percent(otherLoadShare)} of a core` });
  }
  return reasons;
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
