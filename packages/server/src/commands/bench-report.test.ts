import { describe, expect, test } from "vitest";
import type { Measurement } from "../load/measurement.ts";
import { observe } from "../load/observe.ts";
import { reasonsToRefuse } from "../load/rules.ts";
import { Traffic } from "../load/traffic.ts";
import type { BenchPlan } from "./bench-plan.ts";
import { resultOf, tableOf } from "./bench-report.ts";

const plan: BenchPlan = {
  nodes: [{ url: "http://10.0.0.1:3000", host: "10.0.0.1", port: 3_000, tls: false }],
  apiUrl: "http://10.0.0.1:3001",
  apiKey: "an-api-key-of-this-test",
  tenant: undefined,
  tokenFile: undefined,
  members: 10,
  rooms: 1,
  load: { kind: "fixed_rate", rate: 10 },
  seconds: 10,
  json: false,
};

/** Ten members, a hundred messages, all of which came; then what `change` says. */
function measured(change: (traffic: Traffic) => void): Measurement {
  const traffic = new Traffic(true);
  const room = traffic.addRoom("bench-1-0");
  room.members = 10;
  for (let sent = 0; sent < 100; sent += 1) room.begin();
  traffic.sends = 100;
  traffic.acknowledged = 100;
  traffic.deliveries = 1_000;
  change(traffic);
  const crowd = { attempted: 10, failures: new Map<string, number>(), elapsedMs: 100 };
  const times = {
    elapsedMs: 10_050,
    plannedMs: 10_000,
    measuredMs: 9_000,
    latenessP99Micros: 2_000,
    sendIntervalMicros: 100_000,
  };
  const shares = { generatorShare: 0.1, otherLoadShare: 0 };
  const refusals = reasonsToRefuse(observe("fixed_rate", traffic, crowd, times, shares, undefined));
  return { traffic, crowd, times, generatorShare: 0.1, refusals };
}

describe("the result of parley bench", () => {
  test("is sound when all came once and in order", () => {
    const result = resultOf(
      plan,
      measured(() => {}),
      [],
    );
    expect(result).toMatchObject({ sent: 100, expected: 1_000, delivered: 1_000, lost: 0, warnings: [], sound: true });
    expect(tableOf(result)).toContain("delivered        1,000 of 1,000, 0/s");
  });

  test.each<[string, (traffic: Traffic) => void, object]>([
    ["one was lost", (traffic) => (traffic.deliveries -= 1), { lost: 1, repeated: 0, outOfOrder: 0 }],
    [
      "one came twice",
      (traffic) => {
        traffic.deliveries += 1;
        traffic.repeated += 1;
      },
      { lost: 0, repeated: 1, outOfOrder: 0 },
    ],
    [
      "one came twice, and another one never",
      (traffic) => {
        traffic.repeated += 1;
        traffic.skipped += 1;
      },
      { lost: 1, repeated: 1, outOfOrder: 0 },
    ],
    [
      "two came in another order",
      (traffic) => {
        traffic.repeated += 1;
        traffic.late += 1;
        traffic.skipped += 1;
      },
      { lost: 0, repeated: 0, outOfOrder: 1 },
    ],
    ["a seq was wrong", (traffic) => (traffic.outOfSequence += 1), { lost: 0, wrongSeq: 1 }],
    ["one came damaged", (traffic) => (traffic.unmarked += 1), { lost: 1, damaged: 1 }],
    ["one was never acknowledged", (traffic) => (traffic.acknowledged -= 1), { lost: 0, acknowledged: 99 }],
    ["a connection was lost", (traffic) => traffic.onLost("ECONNRESET"), { connectionsLost: { ECONNRESET: 1 } }],
  ])("is not sound when %s", (_what, change, expected) => {
    const result = resultOf(plan, measured(change), []);
    expect(result).toMatchObject({ ...expected, sound: false });
    expect(tableOf(result).at(-1)).toMatch(/^warning: /);
  });

  test("does not count as lost what the server refused, nor as disorder that members jumped over it", () => {
    const result = resultOf(
      plan,
      measured((traffic) => {
        traffic.acknowledged -= 1;
        traffic.deliveries -= 10;
        traffic.skipped += 10;
        traffic.onRefused("rate_limited", 0);
      }),
      [],
    );
    expect(result).toMatchObject({ expected: 990, delivered: 990, lost: 0, refused: { rate_limited: 1 }, sound: true });
    expect(result.warnings.map(({ code }) => code)).toEqual(["sends_refused"]);
    expect(tableOf(result).at(-1)).toContain("PARLEY_LIMITS_EVENTS_PER_SECOND");
  });

  test("warns when the generator was the bottleneck, and of rooms that are left", () => {
    const slow = measured(() => {});
    const times = { ...slow.times, latenessP99Micros: 150_000 };
    const shares = { generatorShare: 0.1, otherLoadShare: 0 };
    const refusals = reasonsToRefuse(observe("fixed_rate", slow.traffic, slow.crowd, times, shares, undefined));
    const result = resultOf(plan, { ...slow, times, refusals }, ["bench-1-0"]);
    expect(result.sound).toBe(true);
    expect(tableOf(result).slice(-2)).toEqual([
      expect.stringMatching(/^warning: generator_late: .*did not keep up/),
      expect.stringMatching(/^warning: room bench-1-0 could not be removed: parley room delete bench-1-0$/),
    ]);
  });
});
