import { expect, test } from "vitest";
import { MemoryStore } from "../../../../test/support/memory-store.ts";
import { SimulatedClock } from "../../../../test/support/simulated-clock.ts";
import { startMaintenance } from "./maintenance.ts";

const minuteMs = 60_000;

function start() {
  const clock = new SimulatedClock();
  const store = new MemoryStore({ clock, latencyMs: () => 10 });
  return { clock, store, stop: startMaintenance(store, clock, 7) };
}

test("prunes once a minute, also after a minute in which the store was away", async () => {
  const { clock, store, stop } = start();
  await clock.advance(2 * minuteMs + 1_000);
  expect(store.calls.get("prune")).toBe(2);
  store.setDown(true);
  await clock.advance(minuteMs);
  store.setDown(false);
  await clock.advance(minuteMs);
  expect(store.calls.get("prune")).toBe(3);
  stop();
});

test("leaves no timer behind when it is stopped while it prunes", async () => {
  const { clock, store, stop } = start();
  await clock.advance(minuteMs + 5);
  stop();
  await clock.advance(5 * minuteMs);
  expect(store.calls.get("prune")).toBe(1);
  expect(clock.waiting).toBe(0);
});

test("while there is more to prune it goes on, so that no rate of sends outgrows it", async () => {
  const clock = new SimulatedClock();
  const prunedAt: number[] = [];
  const startedAt = clock.now();
  const prune = async (): Promise<boolean> => prunedAt.push(clock.now() - startedAt) < 4;
  const stop = startMaintenance({ prune }, clock, 7);
  await clock.advance(3 * minuteMs);
  expect(prunedAt).toEqual([60_000, 61_000, 62_000, 63_000, 123_000]);
  stop();
});
