// Every rule that is due has a passing test that asserts something. Usage: check-rules.ts <vitest's JSON report>
import { readFileSync } from "node:fs";
import path from "node:path";
import { root } from "./command.ts";
import { readTestReport, type TestReport } from "./test-report.ts";
import { citedRules, findCitingTests, type TestSource } from "./test-sources.ts";

interface Rule {
  readonly id: string;
  readonly state: "due" | "planned";
}

const rulesFile = "docs/invariants.md";

const rules = readRules();
const report = readTestReport(process.argv[2] ?? "");
if (report === undefined) {
  console.log("There is no test report to read. Run: npm test");
  process.exitCode = 1;
} else {
  const problems = checkRules(report, findCitingTests());
  for (const problem of problems) console.log(problem);
  const due = rules.filter((rule) => rule.state === "due");
  console.log(`${due.length} rules are due, ${problems.length} problems.`);
  process.exitCode = problems.length === 0 && due.length > 0 ? 0 : 1;
}

function readRules(): Rule[] {
  const text = readFileSync(path.join(root, rulesFile), "utf8");
  const rows = [...text.matchAll(/^\| *([A-Z]+-\d+) *\| *(due|planned) *\|/gm)];
  return rows.map(([, id = "", state]) => ({ id, state: state === "due" ? "due" : "planned" }));
}

function checkRules(tests: TestReport, sources: readonly TestSource[]): string[] {
  const passedTitles = tests.testResults
    .flatMap((file) => file.assertionResults)
    .filter((test) => test.status === "passed")
    .map((test) => test.title);
  const problems = sources.flatMap((source) => checkSource(source));
  for (const rule of rules) {
    const count = passedTitles.filter((title) => showsRule(title, rule.id, sources)).length;
    console.log(`${rule.id.padEnd(8)} ${rule.state.padEnd(8)} ${count} passing ${count === 1 ? "test" : "tests"}`);
    if (rule.state === "due" && count === 0) problems.push(`${rule.id} has no passing test that asserts something.`);
  }
  return problems;
}

function showsRule(title: string, rule: string, sources: readonly TestSource[]): boolean {
  if (!citedRules(title).includes(rule)) return false;
  return sources.some((source) => {
    const isSource = source.whole ? source.title === title : title.startsWith(source.title);
    return isSource && source.asserts;
  });
}

function checkSource(source: TestSource): string[] {
  const place = `${source.file}:${source.line}`;
  const unknown = source.rules.filter((id) => !rules.some((rule) => rule.id === id));
  return [
    ...unknown.map((id) => `${place} cites ${id}, which ${rulesFile} does not know.`),
    ...(source.asserts ? [] : [`${place} cites ${source.rules.join(", ")} and asserts nothing.`]),
  ];
}
