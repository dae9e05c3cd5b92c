import { describe, expect, test } from "vitest";
import { isAccident, isWrong, type Observation, reasonsToRefuse } from "./rules.ts";

const sound: Observation = {
  kind: "maximum",
  connectionsAttempted: 1_000,
  connectionFailures: 0,
  connectionsLost: 0,
  sends: 100,
  acknowledged: 100,
  strayAcknowledgements: 0,
  refusedSends: 0,
  expectedDeliveries: 100_000,
  deliveries: 100_000,
  repeated: 0,
  skipped: 0,
  outOfSequence: 0,
  unmarked: 0,
  plannedMs: 10_000,
  elapsedMs: 10_100,
  generatorShare: 0.7,
  latenessP99Micros: undefined,
  sendIntervalMicros: undefined,
  otherLoadShare: 0.02,
  serverEnded: undefined,
};

function codes(changes: Partial<Observation>): readonly string[] {
  return reasonsToRefuse({ ...sound, ...changes }).map(({ code }) => code);
}

describe("a run is refused", () => {
  test("not when nothing is wrong", () => {
    expect(codes({})).toEqual([]);
  });

  const cases: readonly (readonly [string, Partial<Observation>, readonly string[]])[] = [
    ["when nothing connected", { connectionFailures: 1_000 }, ["not_connected"]],
    ["when nothing was tried", { connectionsAttempted: 0 }, ["not_connected"]],
    ["when 1 % did not connect", { connectionFailures: 10 }, ["connect_failures"]],
    ["when a connection was lost", { connectionsLost: 1 }, ["connections_lost"]],
    ["when nothing was sent", { sends: 0, acknowledged: 0, expectedDeliveries: 0, deliveries: 0 }, ["nothing_sent"]],
    ["when nothing was delivered", { deliveries: 0 }, ["nothing_sent", "lost"]],
    ["when more came than was due", { deliveries: 100_001 }, ["too_much_delivered"]],
    ["when one delivery was lost", { deliveries: 99_999 }, ["lost"]],
    ["when a message was jumped over", { skipped: 1 }, ["disordered"]],
    ["when a message came again or late", { repeated: 1 }, ["disordered"]],
    ["when a seq was wrong", { outOfSequence: 1 }, ["disordered"]],
    ["when a delivery was damaged", { unmarked: 1 }, ["damaged"]],
    ["when sends were refused", { refusedSends: 1, acknowledged: 99 }, ["sends_refused"]],
    ["when a send was never answered", { acknowledged: 99 }, ["not_acknowledged"]],
    ["when a send was answered twice", { strayAcknowledgements: 1 }, ["not_acknowledged"]],
    ["when it took 1.5 times its plan", { elapsedMs: 15_001 }, ["too_long"]],
    ["when the generator was the limit", { generatorShare: 0.98 }, ["generator_at_its_limit"]],
    ["when the generator was late", { kind: "fixed_rate", latenessP99Micros: 30_000 }, ["generator_late"]],
    ["when something else used the machine", { otherLoadShare: 0.2 }, ["other_load"]],
    ["when the server ended", { serverEnded: "exit 1" }, ["server_ended"]],
  ];
  test.each(cases)("%s", (_when, changes, expected) => {
    expect(codes(changes)).toEqual(expected);
  });

  test("not for fewer than 1 % of failed connections", () => {
    expect(codes({ connectionFailures: 9 })).toEqual([]);
  });

  test("for a generator at its limit only where the figure is a maximum", () => {
    expect(codes({ kind: "fixed_rate", generatorShare: 1 })).toEqual([]);
  });

  test("for lateness only beyond the time of the next send", () => {
    const late: Partial<Observation> = { kind: "fixed_rate", latenessP99Micros: 100_000 };
    expect(codes({ ...late, sendIntervalMicros: 200_000 })).toEqual([]);
    expect(codes({ ...late, sendIntervalMicros: 1_000 })).toEqual(["generator_late"]);
  });

  test("as late, not as lost, when it was still delivering", () => {
    expect(codes({ elapsedMs: 16_000, deliveries: 50_000, acknowledged: 60 })).toEqual(["too_long"]);
  });

  test("not for sending nothing when it was to be idle", () => {
    const idle: Partial<Observation> = {
      kind: "idle",
      sends: 0,
      acknowledged: 0,
      expectedDeliveries: 0,
      deliveries: 0,
    };
    expect(codes(idle)).toEqual([]);
  });
});

describe("a refused run", () => {
  const refusals = (changes: Partial<Observation>) => reasonsToRefuse({ ...sound, ...changes });

  test("is repeated only under other load, and not when the server did wrong", () => {
    expect(isAccident(refusals({ otherLoadShare: 1 }))).toBe(true);
    expect(isAccident(refusals({ otherLoadShare: 1, elapsedMs: 16_000 }))).toBe(true);
    expect(isAccident(refusals({ otherLoadShare: 1, skipped: 1 }))).toBe(false);
    expect(isAccident(refusals({ elapsedMs: 16_000 }))).toBe(false);
    expect(isAccident(refusals({}))).toBe(false);
  });

  test("fails the bench when messages were lost or disordered, not when it was slow", () => {
    expect(isWrong(refusals({ deliveries: 99_999 }))).toBe(true);
    expect(isWrong(refusals({ skipped: 1 }))).toBe(true);
    expect(isWrong(refusals({ elapsedMs: 20_000, deliveries: 1_000, otherLoadShare: 1 }))).toBe(false);
  });
});
