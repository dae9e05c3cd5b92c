import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const directory = fileURLToPath(new URL(".", import.meta.url));
const stamp = `${directory}node_modules/.installed-lock`;

/** Installs the peers' packages as locked, unless that was done for this very lockfile. Says why, when npm fails. */
export function installPeers(): string | undefined {
  const wanted = createHash("sha256")
    .update(readFileSync(`${directory}package-lock.json`))
    .digest("hex");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return undefined;
  console.error("bench: installing the peers' packages (once)");
  const { status } = spawnSync("npm", ["ci", "--no-audit", "--no-fund", "--ignore-scripts"], {
    cwd: directory,
    stdio: ["ignore", "ignore", "inherit"],
  });
  if (status !== 0) return "npm could not install the peers' packages (bench/peers)";
  writeFileSync(stamp, wanted);
  return undefined;
}

/** Version of an installed peer package. */
export function peerVersion(name: string): string {
  const text = readFileSync(`${directory}node_modules/${name}/package.json`, "utf8");
  return /"version": *"([^"]+)"/.exec(text)?.[1] ?? "unknown";
}
