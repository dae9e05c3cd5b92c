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

// Times are not judged here: other tests run beside this one, and may well have a run refused for it.
test("the bench runs from end to end and writes its rows", { timeout: 60_000 }, async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "bench-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = path.join(folder, "rows.json");
  const { stdout } = await run(process.execPath, [
    script,
    "--workload",
    "generator-maximum",
    "--short",
    "--json",
    file,
  ]);
  expect(stdout).toContain("changed from its defaults: nothing");
  const rows = z
    .array(
      z.object({
        workload: z.literal("generator-maximum"),
        server: z.literal("sink"),
        metric: z.string(),
        refusals: z.array(z.string()),
      }),
    )
    .parse(JSON.parse(readFileSync(file, "utf8")));
  expect(rows.map(({ metric }) => metric)).toContain("acknowledged sends");
  for (const refusal of rows.flatMap(({ refusals }) => refusals)) expect(refusal).toMatch(/^other_load/);
});

test("the bench names the workloads and servers there are when asked for others", async () => {
  await expect(run(process.execPath, [script, "--workload", "nonsense"])).rejects.toThrow(
    /no workload nonsense; there are hot/,
  );
});
