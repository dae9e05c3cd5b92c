import { expect, test } from "vitest";
import { addSample, ratesOf, type Sample, seriesOf } from "./samples.ts";

const samples: readonly Sample[] = [
  { atMs: 0, statistics: { sent: 10, node: "a" } },
  { atMs: 2_000, statistics: { sent: 30, node: "a" } },
  { atMs: 4_000, statistics: { sent: 5, node: "a" } },
  { atMs: 4_000, statistics: { sent: 6, node: "a" } },
];

test("a figure over time; what is no number counts as 0", () => {
  expect(seriesOf(samples, "sent")).toEqual([10, 30, 5, 6]);
  expect(seriesOf(samples, "node")).toEqual([0, 0, 0, 0]);
  expect(seriesOf(samples, "unheard")).toEqual([0, 0, 0, 0]);
});

test("a counter's rate; a restart and two samples at one time count as 0", () => {
  expect(ratesOf(samples, "sent")).toEqual([10, 0, 0]);
  expect(ratesOf([], "sent")).toEqual([]);
});

test("two minutes are kept", () => {
  let kept: readonly Sample[] = [];
  for (let atMs = 0; atMs < 100; atMs += 1) kept = addSample(kept, { atMs, statistics: {} });
  expect([kept.length, kept[0]?.atMs, kept.at(-1)?.atMs]).toEqual([60, 40, 99]);
});
