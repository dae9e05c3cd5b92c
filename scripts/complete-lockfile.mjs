// `npm run lockfile`, after a change of dependencies: adds to package-lock.json the optional packages that npm left out.
// Why: npm 11 locks no optional package that the registry does not have (a mirror often lacks other platforms'
// binaries), and `npm ci` then refuses its own lockfile as incomplete (https://github.com/npm/cli/issues/9846).
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { root } from "./install.mjs";

const lockFile = path.join(root, "package-lock.json");
const systems = ["aix", "android", "darwin", "freebsd", "linux", "netbsd", "openbsd", "openharmony", "sunos", "win32"];
const processors = ["arm64", "arm", "ia32", "loong64", "mips64el", "ppc64", "riscv64", "s390x", "x64"];

const lock = JSON.parse(readFileSync(lockFile, "utf8"));
const added = {};
for (const [location, locked] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(locked.optionalDependencies ?? {})) {
    if (!isLocked(location, name)) added[`node_modules/${name}`] = describePackage(name, version, locked.dev);
  }
}
lock.packages = Object.fromEntries(
  Object.entries({ ...lock.packages, ...added }).toSorted(([one], [other]) => one.localeCompare(other, "en")),
);
writeFileSync(lockFile, `${JSON.stringify(lock, null, 2)}\n`);
console.log(`${Object.keys(added).length} optional packages added to package-lock.json`);

// As Node looks a package up: in the node_modules of the one that asks, then outwards.
function isLocked(location, name) {
  for (let folder = location; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf("/node_modules/")))) {
    if (lock.packages[`${folder === "" ? "" : `${folder}/`}node_modules/${name}`] !== undefined) return true;
    if (folder === "") return false;
  }
}

// Platform packages are pinned exactly and carry their platform in their name, so that much is known without a registry.
function describePackage(name, version, dev) {
  const words = name.split(/[-/]/);
  const system = systems.find((word) => words.includes(word));
  const processor = processors.find((word) => words.includes(word));
  if (!/^\d+\.\d+\.\d+/.test(version) || system === undefined || processor === undefined) {
    throw new Error(`${name}@${version} is not locked, and its name and version do not say enough to lock it.`);
  }
  const libc = words.some((word) => word.startsWith("musl")) ? { libc: ["musl"] } : {};
  return { version, cpu: [processor], ...(dev ? { dev } : {}), ...libc, optional: true, os: [system] };
}
