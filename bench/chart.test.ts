import { expect, test } from "vitest";
import { chart } from "./chart.ts";
import type { Row } from "./run-report.ts";

function row(server: string, median: number | null): Row {
  const [min, max] = median === null ? [null, null] : [median * 0.9, median * 1.1];
  const figures = { workload: "rooms", metric: "deliveries", unit: "/s", median, min, max, refusedMedian: null };
  return { ...figures, server, runs: 3, valid: median !== null, refusals: [] };
}

const panel = { workload: "rooms", title: "small rooms", metric: "deliveries" };

test("a chart has a bar for each server, as long as its median, in a panel for each metric", () => {
  const svg = chart([row("parley", 200), row("socketio", 100)], [panel], "one machine");
  const lengths = [...svg.matchAll(/<rect x="\d+" y="\d+" width="([\d.]+)"/g)].map(([, length]) => Number(length));
  expect(lengths).toHaveLength(2);
  expect(lengths[0]).toBeCloseTo(2 * (lengths[1] ?? 0), 0);
  expect(svg).toContain("rooms: deliveries [/s]");
});

test("a chart has no bar for a server whose runs were refused, and nothing that a name could break out of", () => {
  const svg = chart([row("<script>", null)], [panel], "one & only");
  expect(svg).toContain("refused");
  expect(svg).not.toContain("<script>");
  expect(svg).toContain("one &amp; only");
  expect(svg.match(/<rect /g)).toHaveLength(1);
});

test("a chart leaves out what was not measured", () => {
  expect(chart([row("parley", 200)], [{ ...panel, metric: "other" }], "")).not.toContain("parley");
});
