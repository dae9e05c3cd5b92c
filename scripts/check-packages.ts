// Are the packages that would be published right: do they build, and does what they point to exist, with the right types?
import { buildPackages, publishedPackages } from "./build-packages.ts";
import { runCommand, tool } from "./command.ts";

const limitMs = 2 * 60_000;

let failures = (await buildPackages()) ? 0 : 1;
for (const folder of publishedPackages) {
  await check("publint", [tool("publint"), "run", folder, "--strict"]);
  await check("attw", [tool("attw"), "--pack", folder, "--profile", "esm-only", "--format", "ascii", "--no-emoji"]);
}
process.exitCode = failures === 0 ? 0 : 1;

async function check(name: string, command: readonly string[]): Promise<void> {
  const result = await runCommand(command, { limitMs });
  console.log(
    `${command.find((word) => word.startsWith("packages/")) ?? ""}: ${name} ${result.passed ? "passed" : "FAILED"}`,
  );
  if (result.passed) return;
  process.stdout.write(result.output);
  failures += 1;
}
