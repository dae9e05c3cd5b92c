import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { runClusterChaos } from "./chaos/cluster.ts";
import { faults } from "./chaos/faults.ts";
import { patchFile, sabotages } from "./chaos/sabotage.ts";
import { repositoryRoot } from "./support/process.ts";

// The long form is `npm run chaos -- --minutes 20`.
test("[LOG-1] [LOG-3] [FEED-1] [FEED-2] [REC-1] [REC-2] a cluster under all kinds of faults loses, repeats and reorders nothing", async () => {
  const lines: string[] = [];
  const { verdict, recoverySeconds, unrecovered } = await runClusterChaos({
    seconds: 25,
    seed: 5,
    nodes: 2,
    clients: 8,
    sendsPerSecond: 10,
    calmMsMax: 300,
    pace: 0.15,
    reconnecting: "at_once",
    print: (line) => lines.push(line),
  });
  console.log(lines.join("\n"));
  expect(verdict).toMatchObject({ lost: 0, repeated: 0, outOfOrder: 0, unexplained: 0, broken: [], findings: [] });
  expect(verdict.acknowledged).toBeGreaterThan(100);
  expect(verdict.delivered).toBeGreaterThan(verdict.acknowledged);
  expect(recoverySeconds.size).toBeGreaterThan(3);
  expect(unrecovered).toBe(0);
}, 180_000);

// What the chaos run finds with each is seen by `npm run chaos -- --sabotage NAME`, which takes minutes.
test.each(Object.entries(sabotages))(
  "the sabotage %s still applies, and names faults that there are",
  (name, sabotage) => {
    expect(() =>
      execFileSync("git", ["apply", "--check", patchFile(name)], { cwd: repositoryRoot, stdio: "pipe" }),
    ).not.toThrow();
    expect(Object.keys(faults)).toEqual(expect.arrayContaining([...sabotage.faults]));
  },
);

test("every patch has a name that the program knows", () => {
  const files = readdirSync(path.join(repositoryRoot, "test/chaos/sabotage"));
  expect(files.toSorted()).toEqual(
    Object.keys(sabotages)
      .map((name) => `${name}.patch`)
      .toSorted(),
  );
});
