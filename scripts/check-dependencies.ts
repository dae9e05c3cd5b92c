// Which module may import which: runs dependency-cruiser on the rules of .dependency-cruiser.mjs.
import { globSync } from "node:fs";
import { z } from "zod";
import { root, runCommand, tool } from "./command.ts";

const limitMs = 5 * 60_000;
const folders = ["packages", "apps"];
const sourcePattern = "{packages,apps}/*/src/**/*.{ts,tsx}";

const cruiseReport = z.object({
  modules: z.array(z.object({ source: z.string(), dependencies: z.array(z.unknown()) })),
  summary: z.object({
    violations: z.array(
      z.object({
        from: z.string(),
        to: z.string(),
        rule: z.object({ name: z.string() }),
        cycle: z.array(z.object({ name: z.string() })).optional(),
      }),
    ),
  }),
});

const result = await runCommand(
  [tool("depcruise"), ...folders, "--config", ".dependency-cruiser.mjs", "--output-type", "json", "--no-progress"],
  { limitMs },
);
const report = parseReport(result.output);
if (report === undefined) {
  console.log(result.output);
  process.exitCode = 1;
} else {
  const problems = [...listViolations(report), ...listUnseen(report)];
  for (const problem of problems) console.log(problem);
  process.exitCode = problems.length === 0 ? 0 : 1;
}

function parseReport(text: string): z.infer<typeof cruiseReport> | undefined {
  try {
    return cruiseReport.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function listViolations(cruised: z.infer<typeof cruiseReport>): string[] {
  return cruised.summary.violations.map(({ from, to, rule, cycle }) => {
    const route = cycle === undefined ? to : cycle.map((step) => step.name).join(" → ");
    return `${rule.name}: ${from} → ${route}`;
  });
}

// Why: the tool finds no fault where it read nothing, as when its TypeScript is missing; then it passes with 0 modules.
function listUnseen(cruised: z.infer<typeof cruiseReport>): string[] {
  const seen = new Map(cruised.modules.map((module) => [module.source, module.dependencies.length]));
  const sources = globSync(sourcePattern, { cwd: root, exclude: ["**/node_modules/**", "**/dist/**"] });
  const unseen = sources.filter((file) => !seen.has(file));
  const dependencies = sources.reduce((sum, file) => sum + (seen.get(file) ?? 0), 0);
  console.log(`${sources.length - unseen.length} of ${sources.length} modules checked, ${dependencies} dependencies`);
  const problems = unseen.map((file) => `not checked: ${file}`);
  if (sources.length === 0 || dependencies < sources.length) problems.push("The tool read too little to be believed.");
  return problems;
}
