// `npm test`: installs what is missing, then hands over to the checks, on the repository's own Node.
// Plain JavaScript for Node 20, which may be all there is in a fresh clone.
import { spawnSync } from "node:child_process";
import path from "node:path";
import { ensureInstalled, findRuntime, root, SetupError, toolEnvironment } from "./install.mjs";
import { ensureSystemPackages } from "./system-packages.mjs";

try {
  ensureInstalled();
  ensureSystemPackages();
  const checks = spawnSync(findRuntime(), ["--conditions=parley-source", path.join(root, "scripts", "check-all.ts")], {
    cwd: root,
    env: toolEnvironment(),
    stdio: ["ignore", "inherit", "inherit"],
    shell: process.platform === "win32",
  });
  // Why: whoever reads the last line gets one also when the checks were killed before they could write theirs.
  if (checks.status === null) console.log("0 passed, 1 failed");
  process.exitCode = checks.status ?? 1;
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(error.message);
  console.log("0 passed, 1 failed");
  process.exitCode = 1;
}
