import { expect, test } from "vitest";
import { parseHistogram, quantileBetween } from "./metrics.ts";

function exposition(counts: readonly [number, number, number, number]): string {
  const [one, two, three, all] = counts;
  return `# TYPE parley_store_commit_seconds histogram
parley_store_commit_seconds_bucket{le="0.001"} ${one}
parley_store_commit_seconds_bucket{le="0.002"} ${two}
parley_store_commit_seconds_bucket{le="0.004"} ${three}
parley_store_commit_seconds_bucket{le="+Inf"} ${all}
parley_store_commit_seconds_sum 1.5
parley_store_commit_seconds_count ${all}
other_bucket{le="0.001"} 9
`;
}

function quantile(before: readonly [number, number, number, number], after: readonly [number, number, number, number]) {
  const [from, to] = [before, after].map((counts) => parseHistogram(exposition(counts), "parley_store_commit_seconds"));
  return from === undefined || to === undefined ? undefined : quantileBetween(from, to, 0.99);
}

test("a quantile between two scrapes counts only what lies between them", () => {
  expect(quantile([0, 0, 1_000, 1_000], [0, 100, 1_100, 1_100])).toBeCloseTo(0.00198);
});

test("a quantile beyond the last bound is that bound", () => {
  expect(quantile([0, 0, 0, 0], [0, 0, 10, 100])).toBe(0.004);
});

test("there is no quantile without observations, and no histogram under another name", () => {
  expect(quantile([1, 1, 1, 1], [1, 1, 1, 1])).toBeUndefined();
  expect(parseHistogram(exposition([1, 1, 1, 1]), "parley_other_seconds")).toBeUndefined();
});
