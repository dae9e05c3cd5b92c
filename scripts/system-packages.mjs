// Plain JavaScript for Node 20, without dependencies.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { SetupError } from "./install.mjs";

// Programs that tests run, and modules of the system's Python. `needed` turns true with the first test that uses it.
const systemPackages = [
  { command: "strace", debianPackage: "strace", needed: true },
  { command: "chromium", debianPackage: "chromium", needed: true },
  { command: "redis-server", debianPackage: "redis-server", needed: true },
  { command: "openssl", debianPackage: "openssl", needed: true },
  { command: "postgres", debianPackage: "postgresql", needed: true },
  { command: "nginx", debianPackage: "nginx", needed: true },
  { command: "haproxy", debianPackage: "haproxy", needed: true },
  { pythonModule: "socketio", debianPackage: "python3-socketio", needed: true },
  { pythonModule: "aiohttp", debianPackage: "python3-aiohttp", needed: true },
];

// Debian keeps servers outside a user's PATH.
const extraFolders = ["/usr/sbin", "/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/17/bin"];

/** Installs the programs that tests need, where that is possible without asking. Throws `SetupError` naming what is missing. */
export function ensureSystemPackages() {
  if (listMissing().length === 0) return;
  if (process.getuid?.() === 0 && isCommand("apt-get")) installWithApt(listMissing());
  const missing = listMissing();
  if (missing.length > 0) {
    throw new SetupError(`The tests need ${missing.join(" and ")}. Install: apt-get install ${missing.join(" ")}`);
  }
}

function listMissing() {
  const isThere = (item) => ("pythonModule" in item ? isPythonModule(item.pythonModule) : isCommand(item.command));
  return systemPackages.filter((item) => item.needed && !isThere(item)).map((item) => item.debianPackage);
}

function isCommand(name) {
  const folders = [...(process.env.PATH ?? "").split(path.delimiter), ...extraFolders];
  return folders.some((folder) => folder !== "" && existsSync(path.join(folder, name)));
}

// Why this one: another Python in the user's PATH does not see Debian's packages, and tests run this one, too.
function isPythonModule(name) {
  const look = `import importlib.util, sys; sys.exit(importlib.util.find_spec("${name}") is None)`;
  return spawnSync("/usr/bin/python3", ["-c", look], { stdio: "ignore" }).status === 0;
}

function installWithApt(packages) {
  console.log(`Installing ${packages.join(", ")} (apt-get) …`);
  const options = {
    stdio: ["ignore", "ignore", "inherit"],
    // Why a runlevel: in single-user mode Debian's packages do not start the services that they bring.
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive", RUNLEVEL: "1" },
  };
  spawnSync("apt-get", ["update", "-qq"], options);
  withoutMainCluster(() => {
    spawnSync("apt-get", ["install", "-y", "-qq", "--no-install-recommends", ...packages], options);
  });
}

// Debian's PostgreSQL makes and starts a database server as it is installed, on a port of its own; tests start theirs.
const clusterFolder = "/etc/postgresql-common/createcluster.d";

function withoutMainCluster(install) {
  const file = path.join(clusterFolder, "parley-tests.conf");
  mkdirSync(clusterFolder, { recursive: true });
  writeFileSync(file, "create_main_cluster = false\n");
  try {
    install();
  } finally {
    rmSync(file);
  }
}
