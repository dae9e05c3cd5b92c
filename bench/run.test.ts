import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";

const script = fileURLToPath(new URL("run.ts", import.meta.url));
const run = promisify(execFile);

const rowSchema = z.object({
  workload: z.string(),
  server: z.string(),
  metric: z.string(),
  unit: z.string(),
  median: z.number().nullable(),
  min: z.number().nullable(),
  max: z.number().nullable(),
  runs: z.number(),
  valid: z.boolean(),
  refusedMedian: z.number().nullable(),
});

/** The bench's short form. Errors: rejects when a message was lost or disordered, or a run did not end. */
async function runShort(...choice: readonly string[]) {
  const folder = mkdtempSync(path.join(tmpdir(), "bench-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const [json, svg] = [path.join(folder, "rows.json"), path.join(folder, "chart.svg")];
  const words = [script, "--short", "--json", json, "--svg", svg, ...choice];
  const { stdout } = await run(process.execPath, words).catch((error: { stdout?: string }) => {
    throw new Error(`the bench failed:\n${error.stdout}`, { cause: error });
  });
  const rows = z.array(rowSchema).parse(JSON.parse(readFileSync(json, "utf8")));
  return { stdout, rows, svg: readFileSync(svg, "utf8") };
}

// Times are not judged here: other tests run beside this one, and may well have runs refused for it.
test("the bench measures Parley on one node from end to end", { timeout: 240_000 }, async () => {
  const { stdout, rows, svg } = await runShort(
    "--workload",
    "rooms,storm,drops,growth-workers-2",
    "--servers",
    "parley",
  );
  expect(stdout).toContain("PARLEY_LIMITS_EVENTS_PER_SECOND=1000000");
  const measured = new Map(
    rows.map(({ workload, metric, median, refusedMedian }) => [`${workload} ${metric}`, median ?? refusedMedian]),
  );
  expect(measured.get("rooms deliveries")).toBeGreaterThan(0);
  expect(measured.get("storm clients complete")).toBe(100);
  expect(measured.get("drops delivered")).toBe(100);
  expect(measured.get("growth-workers-2 CPU per delivery, 2 workers")).toBeGreaterThan(0);
  expect(stdout).toContain("PARLEY_SERVER_WORKERS=2");
  expect(svg).toContain("rooms: deliveries [/s]");
});

test("the bench measures Parley on two nodes from end to end", { timeout: 240_000 }, async () => {
  const { rows } = await runShort("--workload", "cluster", "--servers", "parley-cluster");
  const across = rows.find(({ metric }) => metric === "messages across, saturated");
  expect(across?.median ?? across?.refusedMedian).toBeGreaterThan(0);
});

test("the bench names the workloads and servers there are when asked for others", async () => {
  await expect(run(process.execPath, [script, "--workload", "nonsense"])).rejects.toThrow(
    /no workload nonsense; there are hot/,
  );
});
