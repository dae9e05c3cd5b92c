import type { Crowd } from "./crowd.ts";
import type { LoadTimes } from "./loops.ts";
import type { Observation } from "./rules.ts";
import { sum, type Traffic } from "./traffic.ts";

/** What the rules judge a run by, from its books. */
export function observe(
  kind: Observation["kind"],
  traffic: Traffic,
  crowd: Pick<Crowd, "attempted" | "failures">,
  times: Omit<LoadTimes, "measuredMs">,
  shares: Pick<Observation, "generatorShare" | "otherLoadShare">,
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
    // Who jumped over none that was lost or came late jumped over those that the server had refused.
    skipped: traffic.lost > 0 || traffic.late > 0 ? traffic.skipped : 0,
    outOfSequence: traffic.outOfSequence,
    unmarked: traffic.unmarked,
    plannedMs: times.plannedMs,
    elapsedMs: times.elapsedMs,
    generatorShare: shares.generatorShare,
    latenessP99Micros: times.latenessP99Micros,
    sendIntervalMicros: times.sendIntervalMicros,
    otherLoadShare: shares.otherLoadShare,
    serverEnded,
  };
}
