// Every check and every test, all of them also after a failure. The last line is `N passed, N failed`.
import { rmSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { runCommand, tool, type CommandResult } from "./command.ts";
import { countTests, readTestReport, type TestCounts } from "./test-report.ts";

interface Check {
  readonly name: string;
  readonly command: readonly string[];
}

interface Outcome {
  readonly name: string;
  readonly passed: boolean;
  readonly seconds: number;
}

// A run writes here only; the folder is not committed.
const reportFile = path.join("node_modules", ".cache", "parley-test-report.json");
const checkLimitMs = 10 * 60_000;
const testLimitMs = 60 * 60_000;
// Two, because a check is busy on about one core and small machines have two.
const checksAtOnce = 2;

// The slow ones come first, so that the short ones fill the gaps.
const staticChecks: readonly Check[] = [
  { name: "packages", command: [process.execPath, "scripts/check-packages.ts"] },
  { name: "dead code", command: [tool("knip"), "--no-progress", "--no-config-hints"] },
  { name: "dependency rules", command: [process.execPath, "scripts/check-dependencies.ts"] },
  { name: "types", command: [tool("tsc"), "--noEmit", "-p", "tsconfig.json"] },
  { name: "lint", command: [tool("oxlint"), "--type-aware", "--deny-warnings", "--report-unused-disable-directives"] },
  { name: "format", command: [tool("biome"), "format"] },
  { name: "web app", command: [process.execPath, "scripts/prepare.mjs"] },
];
const rulesCheck: Check = {
  name: "rules have tests",
  command: [process.execPath, "scripts/check-rules.ts", reportFile],
};

const { values } = parseArgs({ options: { static: { type: "boolean", default: false } } });
const checked = await runChecks(staticChecks);
if (values.static) {
  finish(checked, { passed: 0, failed: 0 });
} else {
  const tests = await runTests();
  finish([...checked, ...(await runChecks([rulesCheck]))], tests);
}

async function runChecks(checks: readonly Check[]): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const waiting = [...checks];
  const work = async (): Promise<void> => {
    for (let check = waiting.shift(); check !== undefined; check = waiting.shift()) {
      const result = await runCommand(check.command, { limitMs: checkLimitMs });
      printHeading(check.name);
      process.stdout.write(result.output);
      console.log(`${result.passed ? "passed" : "FAILED"} in ${result.seconds.toFixed(1)} s`);
      outcomes.push({ name: check.name, passed: result.passed, seconds: result.seconds });
    }
  };
  await Promise.all(Array.from({ length: checksAtOnce }, work));
  return outcomes;
}

async function runTests(): Promise<TestCounts> {
  rmSync(reportFile, { force: true });
  printHeading("tests");
  const command = [tool("vitest"), "run", "--reporter=default", "--reporter=json", `--outputFile.json=${reportFile}`];
  const result = await runCommand(command, { limitMs: testLimitMs, show: true });
  return countRun(result);
}

// Why the extra failure: an error outside of any test, a crash or a time-out fails the run while every reported test passed.
function countRun(result: CommandResult): TestCounts {
  const report = readTestReport(reportFile);
  const counts = report === undefined ? { passed: 0, failed: 0 } : countTests(report);
  if (result.passed || counts.failed > 0) return counts;
  console.log("The test run failed outside of its tests.");
  return { ...counts, failed: 1 };
}

function printHeading(name: string): void {
  console.log(`\n━━━ ${name} ${"━".repeat(Math.max(0, 100 - name.length))}`);
}

function finish(checks: readonly Outcome[], tests: TestCounts): void {
  printHeading("summary");
  for (const { name, passed, seconds } of checks) {
    console.log(`${name.padEnd(20)} ${passed ? "passed" : "FAILED"} ${seconds.toFixed(1).padStart(7)} s`);
  }
  console.log(`${"tests".padEnd(20)} ${tests.passed} passed, ${tests.failed} failed or skipped\n`);
  const checksPassed = checks.filter((check) => check.passed).length;
  const failed = checks.length - checksPassed + tests.failed;
  process.exitCode = failed === 0 ? 0 : 1;
  console.log(`${checksPassed + tests.passed} passed, ${failed} failed`);
}
