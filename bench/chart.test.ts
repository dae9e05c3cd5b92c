import { expect, test } from "vitest";
import { chart, type Panel } from "./chart.ts";
import { panelsOf } from "./panels.ts";
import type { Row } from "./run-report.ts";

function row(server: string, median: number | null): Row {
  const [min, max] = median === null ? [null, null] : [median * 0.9, median * 1.1];
  const figures = { workload: "rooms", metric: "deliveries", unit: "/s", median, min, max, refusedMedian: null };
  return { ...figures, server, runs: 3, valid: median !== null, refusals: [] };
}

function panel(...rows: readonly Row[]): Panel {
  const bars = rows.map((bar) => ({ label: bar.server, row: bar }));
  return { name: "rooms: deliveries", title: "small rooms", bars };
}

test("a chart has a bar for each server, as long as its median, in a panel for each metric", () => {
  const svg = chart([panel(row("parley", 200), row("socketio", 100))], "one machine");
  const lengths = [...svg.matchAll(/<rect x="\d+" y="\d+" width="([\d.]+)"/g)].map(([, length]) => Number(length));
  expect(lengths).toHaveLength(2);
  expect(lengths[0]).toBeCloseTo(2 * (lengths[1] ?? 0), 0);
  expect(svg).toContain("rooms: deliveries [/s]");
});

test("a chart has no bar for a server whose runs were refused, and nothing that a name could break out of", () => {
  const svg = chart([panel(row("<script>", null))], "one & only");
  expect(svg).toContain("refused");
  expect(svg).not.toContain("<script>");
  expect(svg).toContain("one &amp; only");
  expect(svg.match(/<rect /g)).toHaveLength(1);
});

test("a chart leaves out what was not measured", () => {
  expect(chart([panel()], "")).not.toContain("rooms");
});

test("a workload is drawn by what it is about, or by its first metric", () => {
  const rows = [row("parley", 200), { ...row("parley", 5), metric: "p99" }, row("socketio", 100)];
  const labels = (charted: { charted?: readonly string[] }) =>
    panelsOf([{ name: "rooms", title: "small rooms", ...charted }], rows).map(({ name, bars }) => [
      name,
      ...bars.map(({ label }) => label),
    ]);
  expect(labels({})).toEqual([["rooms: deliveries", "parley", "socketio"]]);
  expect(labels({ charted: ["p99", "other"] })).toEqual([["rooms: p99", "parley"], ["rooms: other"]]);
});

test("workloads of one curve are one panel, with a bar for each size of each server", () => {
  const curve = { name: "growth-nodes", metric: "cost" };
  const workloads = [1, 2].map((nodes) => ({ name: `growth-nodes-${nodes}`, title: "", curve }));
  const rows = [1, 2].flatMap((nodes) =>
    ["parley", "tutorial"].flatMap((server) =>
      ["cost", "p99"].map((metric) => ({
        ...row(server, nodes),
        workload: `growth-nodes-${nodes}`,
        metric: `${metric}, ${nodes} nodes`,
      })),
    ),
  );
  const [first, ...more] = panelsOf(workloads, rows);
  expect(more).toEqual([]);
  expect(first?.name).toBe("growth-nodes: cost");
  expect(first?.bars.map(({ label }) => label)).toEqual([
    "parley, 1 nodes",
    "parley, 2 nodes",
    "tutorial, 1 nodes",
    "tutorial, 2 nodes",
  ]);
  const alone = panelsOf(
    workloads,
    rows.filter(({ server }) => server === "parley"),
  );
  expect(alone[0]?.bars.map(({ label }) => label)).toEqual(["1 nodes", "2 nodes"]);
});
