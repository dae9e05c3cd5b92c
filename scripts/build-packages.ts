// Builds the published packages into their `dist` folders, from nothing, so that no deleted module is left in them.
import { rmSync } from "node:fs";
import path from "node:path";
import { runCommand, root, tool } from "./command.ts";

const buildLimitMs = 5 * 60_000;
// In order: the others see the protocol through its built types, as its users do.
export const publishedPackages = ["packages/protocol", "packages/server", "packages/client"];

/** True when all were built; says why not on the console. */
export async function buildPackages(): Promise<boolean> {
  let built = true;
  for (const folder of publishedPackages) {
    rmSync(path.join(root, folder, "dist"), { recursive: true, force: true });
    const result = await runCommand([tool("tsc"), "-p", `${folder}/tsconfig.build.json`], { limitMs: buildLimitMs });
    console.log(`${folder}: ${result.passed ? "built" : "not built"} in ${result.seconds.toFixed(1)} s`);
    process.stdout.write(result.output);
    built &&= result.passed;
  }
  return built;
}

if (import.meta.main) process.exitCode = (await buildPackages()) ? 0 : 1;
