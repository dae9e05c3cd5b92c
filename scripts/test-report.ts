import { existsSync, readFileSync } from "node:fs";
import { z } from "zod";

const testReport = z.object({
  testResults: z.array(
    z.object({
      name: z.string(),
      status: z.string(),
      assertionResults: z.array(z.object({ title: z.string(), fullName: z.string(), status: z.string() })),
    }),
  ),
});

/** What vitest's JSON reporter writes, as far as the checks read it. */
export type TestReport = z.infer<typeof testReport>;

export interface TestCounts {
  readonly passed: number;
  readonly failed: number;
}

/** Undefined when there is no report: the run ended before it wrote one. */
export function readTestReport(file: string): TestReport | undefined {
  if (!existsSync(file)) return undefined;
  return testReport.parse(JSON.parse(readFileSync(file, "utf8")));
}

/** Whatever did not pass has failed, a skipped test too. A file that could not be loaded is one failure. */
export function countTests(report: TestReport): TestCounts {
  let passed = 0;
  let failed = 0;
  for (const file of report.testResults) {
    const passedHere = file.assertionResults.filter((test) => test.status === "passed").length;
    const failedHere = file.assertionResults.length - passedHere;
    passed += passedHere;
    failed += failedHere === 0 && file.status !== "passed" ? 1 : failedHere;
  }
  return { passed, failed };
}
