import { expect, test } from "vitest";
import { SimulatedClock } from "../../../../test/support/simulated-clock.ts";
import { PerTurn } from "./per-turn.ts";

test("so many are done in a turn, the rest in the next ones, in order, before what comes then", async () => {
  const clock = new SimulatedClock();
  const perTurn = new PerTurn(clock, 3);
  const done: number[] = [];
  const run = (number: number): boolean => perTurn.run(() => done.push(number));
  expect([1, 2, 3, 4, 5, 6, 7, 8].map(run)).toEqual([true, true, true, false, false, false, false, false]);
  expect(done).toEqual([1, 2, 3]);
  await clock.turn();
  expect(done).toEqual([1, 2, 3, 4, 5, 6]);
  expect(run(9)).toBe(false);
  expect(perTurn.waiting).toBe(3);
  await clock.turn();
  expect(done).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  await clock.turn();
  expect(run(10)).toBe(true);
  await clock.settle();
  expect(run(11)).toBe(true);
  expect(perTurn.waiting).toBe(0);
});
