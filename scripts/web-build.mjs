// Plain JavaScript for Node 20, without dependencies. Run as a script it builds the web app whether it is stale or not.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { findRuntime, root, SetupError, toolEnvironment } from "./install.mjs";

// Everything that can change the built page. The lockfile stands for the libraries bundled into it.
const inputs = [
  "apps/web",
  "packages/client/src",
  "packages/client/package.json",
  "packages/protocol/src",
  "packages/protocol/package.json",
  "package-lock.json",
  "tsconfig.base.json",
  "tsconfig.json",
];
const ignoredNames = new Set(["dist", "node_modules"]);

const appFolder = path.join(root, "apps", "web");
// Why not beside the page: `dist` is served to browsers as it is.
const stampFile = path.join(root, "node_modules", ".parley-web-build");

/** Builds apps/web/dist when its inputs changed since the last build, or it is missing. Throws `SetupError`. */
export function ensureWebBuilt() {
  const hash = hashInputs();
  const current = existsSync(path.join(appFolder, "dist", "index.html")) && existsSync(stampFile);
  if (current && readFileSync(stampFile, "utf8") === hash) return;
  buildWeb();
}

export function buildWeb() {
  const hash = hashInputs();
  console.log("Building the web app …");
  const vite = path.join(root, "node_modules", "vite", "bin", "vite.js");
  const result = spawnSync(findRuntime(), [vite, "build", "--logLevel", "warn"], {
    cwd: appFolder,
    env: toolEnvironment(),
    stdio: "inherit",
    shell: process.platform === "win32",
  });
  if (result.status !== 0) throw new SetupError("The web app could not be built; the output above says why.");
  writeFileSync(stampFile, hash);
}

function hashInputs() {
  const hash = createHash("sha256");
  for (const input of inputs) addToHash(hash, path.join(root, input));
  return hash.digest("hex");
}

function addToHash(hash, location) {
  if (!existsSync(location)) return;
  if (statSync(location).isDirectory()) {
    const names = readdirSync(location).filter((name) => !ignoredNames.has(name) && !name.includes(".test."));
    for (const name of names.toSorted()) addToHash(hash, path.join(location, name));
    return;
  }
  const content = readFileSync(location);
  hash.update(`${path.relative(root, location)}\0${content.length}\0`).update(content);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) buildWeb();
