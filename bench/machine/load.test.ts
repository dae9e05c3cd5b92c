import { expect, test } from "vitest";
import { loadOf, type LoadSample, otherLoad, parseProcessStat, processorTicks } from "./load.ts";

const fields = "S 10 1 1 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 7 0 100 0 0";

test("reads a process whose name has spaces and parentheses", () => {
  expect(parseProcessStat(`42 (a) b (c) ${fields}`)).toEqual({ parent: 10, ticks: 300 });
});

test("reads the processors' work, and what was stolen, without idle time and interrupts", () => {
  expect(processorTicks("cpu  100 10 40 9000 5 6 7 3 0 0\ncpu0 1 1")).toEqual({ busyTicks: 150, stolenTicks: 3 });
});

function sample(atMs: number, busyTicks: number, ticks: Readonly<Record<number, number>>): LoadSample {
  const parents = new Map([
    [1, 0],
    [2, 0],
    [20, 2],
    [100, 1],
    [101, 100],
    [102, 101],
    [200, 1],
  ]);
  const processes = [...parents].map(([pid, parent]) => [pid, { parent, ticks: ticks[pid] ?? 0 }] as const);
  return { atMs, busyTicks, stolenTicks: 0, processes: new Map(processes) };
}

test("other load is what neither the bench's processes nor the kernel's threads did", () => {
  const before = sample(0, 1_000, {});
  const after = sample(1_000, 1_190, { 20: 20, 101: 50, 102: 100, 200: 15 });
  expect(otherLoad(before, after, 100)).toBeCloseTo(0.2);
  expect(loadOf(before, after, 101)).toBeCloseTo(1.5);
  expect(loadOf(before, after, 200)).toBeCloseTo(0.15);
});
