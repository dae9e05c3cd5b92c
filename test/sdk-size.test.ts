import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { repositoryRoot, spawnNode } from "./support/process.ts";
import { createTemporaryFolder } from "./support/temporary-folder.ts";

const sdk = path.join(repositoryRoot, "packages/client/src/index.ts");
const vite = path.join(repositoryRoot, "node_modules/vite/bin/vite.js");

/** The SDK as a browser gets it, minified, with all that it exports. `external`: what an app has already. */
async function bundle(external: readonly string[]): Promise<string> {
  await using folder = await createTemporaryFolder();
  const config = {
    root: folder.path,
    logLevel: "error",
    resolve: { conditions: ["parley-source", "module", "browser", "production"] },
    build: {
      rolldownOptions: {
        input: sdk,
        external,
        preserveEntrySignatures: "strict",
        output: { entryFileNames: "sdk.js" },
      },
    },
  };
  const configFile = path.join(folder.path, "vite.config.mjs");
  await writeFile(configFile, `export default ${JSON.stringify(config)}`);
  await using build = await spawnNode([vite, "build", "--config", configFile]);
  expect(await build.waitForExit(60_000)).toEqual({ code: 0, signal: null });
  return await readFile(path.join(folder.path, "dist/sdk.js"), "utf8");
}

test("the SDK is small in a browser, and brings no schema library", async () => {
  const whole = await bundle([]);
  const alone = await bundle(["socket.io-client"]);
  const sizes = { whole: gzipSync(whole).length, alone: gzipSync(alone).length };
  console.log(`gzipped: ${sizes.whole} B with socket.io-client, ${sizes.alone} B without`);
  expect(whole).toContain("outbox_full");
  expect(whole).not.toMatch(/zod/i);
  expect(sizes.whole).toBeLessThan(21_000);
  expect(sizes.alone).toBeLessThan(8_000);
});
