import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { startWrappedServer, type WrappedServer, type WrappedServerOptions } from "./wrapped-server.ts";

/** A server whose store has little room. */
export interface CrampedServer extends AsyncDisposable {
  readonly server: WrappedServer;
  /** What sends are refused with: SQLite takes a file that may not grow for a broken disk. */
  readonly refusals: readonly string[];
  /** Whether rooms can be read meanwhile. */
  readonly isReadable: boolean;
  /** There is room again. */
  relieve(): Promise<void>;
}

const diskBytes = 25_165_824;
const ballastBytes = 16_777_216;

/**
 * A server on a disk of its own that is full soon, thanks to a file that lies on it; where mounts are not allowed, with
 * a bound on the size of each file.
 */
export async function startOnSmallDisk(options: Placed): Promise<CrampedServer> {
  const namespace = mountNamespace();
  return namespace === undefined ? startWithSmallFiles(options) : startOnMount(options, namespace);
}

type Placed = Pick<WrappedServerOptions, "folder" | "environment">;

async function startOnMount(options: Placed, namespace: readonly string[]): Promise<CrampedServer> {
  const { folder } = options;
  const mount = `mount -t tmpfs -o size=${diskBytes} tmpfs "$1" && shift && exec "$@"`;
  const wrapper = ["unshare", ...namespace, "sh", "-c", mount, "sh", folder];
  const server = await startWrappedServer({ ...options, wrapper });
  // The disk is seen by the server alone; through its process, by us too.
  const ballast = path.join(`/proc/${server.pid}/root`, folder, "ballast");
  if (!existsSync(path.dirname(ballast))) throw new Error(`${ballast} cannot be written`);
  await writeFile(ballast, Buffer.alloc(ballastBytes));
  return {
    server,
    refusals: ["store_unavailable"],
    isReadable: true,
    relieve: () => rm(ballast),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

async function startWithSmallFiles(options: Placed): Promise<CrampedServer> {
  const bound = `--fsize=${diskBytes - ballastBytes}:unlimited`;
  const server = await startWrappedServer({ ...options, wrapper: ["prlimit", bound] });
  return {
    server,
    refusals: ["outcome_unknown", "store_unavailable"],
    isReadable: false,
    relieve: async () => void spawnSync("prlimit", ["--pid", String(server.pid), "--fsize=unlimited"]),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** The options by which this user gets mounts of his own, which end with the process. */
function mountNamespace(): readonly string[] | undefined {
  const mount = ["mount", "-t", "tmpfs", "tmpfs", "/mnt"];
  const candidates = [["--mount"], ["--mount", "--map-root-user"]];
  return candidates.find((options) => spawnSync("unshare", [...options, ...mount]).status === 0);
}
