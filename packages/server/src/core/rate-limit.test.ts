import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { SimulatedClock } from "../../../../test/support/simulated-clock.ts";
import { type RateLimits, RequestRates, TokenBucket } from "./rate-limit.ts";

describe("a bucket", () => {
  test("[IN-1] gives a burst, then says how long the next takes, and refills steadily", () => {
    const bucket = new TokenBucket(3, 0);
    const take = (now: number): number => bucket.take(now, 2, 3);
    expect([take(0), take(0), take(0)]).toEqual([0, 0, 0]);
    expect(take(0)).toBe(500);
    expect(take(499)).toBe(1);
    expect(take(500)).toBe(0);
    expect(take(500)).toBe(500);
    expect(take(100_000)).toBe(0);
    expect([take(100_000), take(100_000)]).toEqual([0, 0]);
    expect(take(100_000)).toBeGreaterThan(0);
  });

  test("[IN-1] never gives more than its burst and what has flowed in since, and who waits as told gets one", () => {
    const step = fc.record({ wait: fc.double({ min: 0, max: 3_000, noNaN: true }), takes: fc.nat(20) });
    fc.assert(
      fc.property(
        fc.array(step),
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 1, max: 20 }),
        (steps, perSecond, burst) => {
          const bucket = new TokenBucket(burst, 0);
          let now = 0;
          let given = 0;
          for (const { wait, takes } of steps) {
            now += wait;
            for (let count = 0; count < takes; count += 1) {
              const waitMs = bucket.take(now, perSecond, burst);
              now += waitMs;
              expect(waitMs === 0 ? 0 : bucket.take(now, perSecond, burst)).toBe(0);
              given += 1;
            }
            expect(given).toBeLessThanOrEqual(burst + (now * perSecond) / 1_000 + 1e-6);
          }
        },
      ),
    );
  });
});

describe("requests", () => {
  const limits: RateLimits = {
    eventsPerSecond: 1,
    eventsBurst: 3,
    userEventsPerSecond: 1,
    userEventsBurst: 5,
  };
  const ada = { tenant: "default", id: "ada" };

  test("[IN-1] are counted by connection and by user, who is forgotten once all has flowed back", async () => {
    const clock = new SimulatedClock();
    const rates = new RequestRates(clock, limits);
    const tabs = Array.from({ length: 3 }, () => rates.bucket());
    const passed = (): number =>
      tabs.reduce(
        (sum, tab) => sum + Array.from({ length: 4 }, () => passes(() => rates.take(tab, ada))).filter(Boolean).length,
        0,
      );
    expect(passed()).toBe(5);
    expect(passes(() => rates.take(rates.bucket(), { ...ada, id: "bob" }))).toBe(true);
    await clock.advance(30_000);
    expect(clock.waiting).toBe(0);
    expect(passed()).toBe(5);
  });

  test("[IN-1] beyond it are refused with the time to wait", () => {
    const clock = new SimulatedClock();
    const rates = new RequestRates(clock, limits);
    const bucket = rates.bucket();
    for (let count = 0; count < 3; count += 1) rates.take(bucket, ada);
    expect(() => rates.take(bucket, ada)).toThrow(
      expect.objectContaining({ code: "rate_limited", retryAfterMs: 1_000 }),
    );
  });
});

function passes(request: () => void): boolean {
  try {
    request();
    return true;
  } catch {
    return false;
  }
}
