// Builds the published packages into their `dist` folders, from nothing, so that no deleted module is left in them.
import { cpSync, existsSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import { runCommand, root, tool } from "./command.ts";

const buildLimitMs = 5 * 60_000;
const webApp = path.join(root, "apps/web/dist");

// In order: the others see the protocol through its built types, as its users do.
export const publishedPackages = ["packages/protocol", "packages/server", "packages/client"];

/** True when all were built; says why not on the console. */
export async function buildPackages(): Promise<boolean> {
  let built = true;
  for (const folder of publishedPackages) {
    const output = path.join(root, folder, "dist");
    rmSync(output, { recursive: true, force: true });
    const result = await runCommand([tool("tsc"), "-p", `${folder}/tsconfig.build.json`], { limitMs: buildLimitMs });
    copyAssets(path.join(root, folder, "src"), output);
    console.log(`${folder}: ${result.passed ? "built" : "not built"} in ${result.seconds.toFixed(1)} s`);
    process.stdout.write(result.output);
    built &&= result.passed;
  }
  return built;
}

// What is read at run time and is no module, such as SQL, lies beside the modules that read it.
function copyAssets(source: string, output: string): void {
  const isAsset = (file: string): boolean => statSync(file).isDirectory() || !/\.tsx?$/.test(file);
  cpSync(source, output, { recursive: true, filter: isAsset });
}

if (import.meta.main) {
  const built = await buildPackages();
  // The server's package carries the page that it serves.
  if (built && existsSync(webApp)) cpSync(webApp, path.join(root, "packages/server/dist/web"), { recursive: true });
  process.exitCode = built ? 0 : 1;
}
