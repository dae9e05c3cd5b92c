// Plain JavaScript for Node 20 and without dependencies: this runs before node_modules exists.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const nodeMajorMin = 24;

export const root = fileURLToPath(new URL("..", import.meta.url));
export const binFolder = path.join(root, "node_modules", ".bin");

const stampFile = path.join(root, "node_modules", ".parley-install");
const lockFile = path.join(root, "package-lock.json");
const installedLockFile = path.join(root, "node_modules", ".package-lock.json");

/** Makes node_modules match package-lock.json; does nothing when it already does. Throws `SetupError`. */
export function ensureInstalled() {
  const lockHash = createHash("sha256").update(readFileSync(lockFile)).digest("hex");
  if (readIfThere(stampFile) === lockHash) return;
  if (!installedMatchesLock()) {
    console.log("Installing dependencies (npm ci) …");
    runNpmCi();
  }
  writeFileSync(stampFile, lockHash);
}

/** Node ≥ 24 for everything that runs after the installation: the repository's own, else the running one. Throws `SetupError`. */
export function findRuntime() {
  const suffix = process.platform === "win32" ? ".cmd" : "";
  if (existsSync(path.join(binFolder, `node${suffix}`))) return path.join(binFolder, `node${suffix}`);
  if (Number.parseInt(process.versions.node, 10) >= nodeMajorMin) return process.execPath;
  throw new SetupError(
    `Parley needs Node ${nodeMajorMin} or newer. This is Node ${process.versions.node}, and no Node is bundled for ` +
      `${process.platform}-${process.arch}. Install one from https://nodejs.org, then try again.`,
  );
}

/** The environment in which `node` and every installed tool are found first, as in a script run by npm. */
export function toolEnvironment() {
  return { ...process.env, PATH: `${binFolder}${path.delimiter}${process.env.PATH ?? ""}` };
}

/** Something that the person at the keyboard must put right; the message says what. */
export class SetupError extends Error {}

// Why: `npm install some-package` leaves the tree in order but changes the lockfile; a full `npm ci` would only repeat it.
function installedMatchesLock() {
  const installedText = readIfThere(installedLockFile);
  if (installedText === undefined) return false;
  const installed = JSON.parse(installedText).packages;
  const locked = JSON.parse(readFileSync(lockFile, "utf8")).packages;
  const extra = Object.keys(installed).some((name) => locked[name] === undefined);
  if (extra) return false;
  return Object.entries(locked).every(([name, wanted]) => {
    if (name === "") return true;
    const present = installed[name];
    // Optional packages of other platforms are locked but never installed.
    if (present === undefined) return wanted.optional === true;
    return present.version === wanted.version && present.integrity === wanted.integrity;
  });
}

function runNpmCi() {
  const options = ["ci", "--include=dev", "--include=optional", "--no-audit", "--no-fund", "--loglevel=error"];
  const npmScript = process.env.npm_execpath;
  const result = npmScript?.endsWith(".js")
    ? spawnSync(process.execPath, [npmScript, ...options], { cwd: root, stdio: "inherit" })
    : spawnSync("npm", options, { cwd: root, stdio: "inherit", shell: process.platform === "win32" });
  if (result.status !== 0) throw new SetupError("npm ci failed; its output above says why.");
}

function readIfThere(file) {
  return existsSync(file) ? readFileSync(file, "utf8") : undefined;
}
