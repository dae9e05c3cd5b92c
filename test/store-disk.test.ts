import { spawnSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { spawnProgram, type TestProcess } from "./support/process.ts";
import { createTemporaryFolder } from "./support/temporary-folder.ts";

const program = [process.execPath, "--conditions=parley-source", "test/support/full-disk-process.ts"];
const diskBytes = 8_388_608;

/** A process whose store has a small disk, and what its appends end with when that is full. */
interface SmallDisk extends AsyncDisposable {
  readonly refused: { readonly errors: readonly string[]; readonly isReadable: boolean };
  /** What the process answers to a command of `full-disk-process.ts`. */
  ask(command: string): Promise<unknown>;
}

/** A disk of 8 MB; where mounts are not allowed, files of 8 MB at most. */
function smallDisk(folder: string): Promise<SmallDisk> {
  const namespace = mountNamespace();
  if (namespace === undefined) return smallFiles(folder);
  const mount = `mount -t tmpfs -o size=${diskBytes} tmpfs "$1" && shift && exec "$@"`;
  const grow = `mount -o remount,size=${4 * diskBytes} "${folder}"`;
  const command = [...namespace, "sh", "-c", mount, "sh", folder, ...program, folder, grow];
  return start("unshare", command, { errors: ["StoreUnavailable"], isReadable: true });
}

/** A limit of 8 MB on each file: writes over it fail, and SQLite takes that for a broken disk. */
function smallFiles(folder: string): Promise<SmallDisk> {
  const grow = "prlimit --pid $CHILD --fsize=unlimited";
  const command = [`--fsize=${diskBytes}:unlimited`, ...program, folder, grow];
  return start("prlimit", command, { errors: ["OutcomeUnknown", "StoreUnavailable"], isReadable: false });
}

/** The options by which this user gets mounts of his own, which end with the process. */
function mountNamespace(): readonly string[] | undefined {
  const mount = ["mount", "-t", "tmpfs", "tmpfs", "/mnt"];
  const candidates = [["--mount"], ["--mount", "--map-root-user"]];
  return candidates.find((options) => spawnSync("unshare", [...options, ...mount]).status === 0);
}

async function start(command: string, values: readonly string[], refused: SmallDisk["refused"]): Promise<SmallDisk> {
  const child: TestProcess = await spawnProgram(command, values);
  await child.waitForLine(/^ready$/);
  return {
    refused,
    async ask(question) {
      child.writeInput(`${question}\n`);
      const [line] = await child.waitForLine(new RegExp(`^\\{"${question}":.*$`));
      return JSON.parse(line)[question];
    },
    [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
  };
}

describe("a store and its disk", { timeout: 120_000 }, () => {
  test("[LOG-1] a full disk is no acknowledgement, loses none, and heals without a restart", async () => {
    await using folder = await createTemporaryFolder();
    await using disk = await smallDisk(folder.path);
    expect(await disk.ask("fill")).toEqual(disk.refused);
    await disk.ask("grow");
    expect(await disk.ask("append")).toBe("done");
    expect(await disk.ask("check")).toMatchObject({ before: true, after: true });
  });

  test("[LOG-1] a disk that fails writes is no acknowledgement, and an append of unknown outcome is committed once", async () => {
    await using folder = await createTemporaryFolder();
    await using disk = await smallFiles(folder.path);
    expect(await disk.ask("fill")).toEqual(disk.refused);
    await disk.ask("grow");
    expect(await disk.ask("append")).toBe("done");
    expect(await disk.ask("check")).toMatchObject({ before: true, after: true });
  });

  test("[LOG-1] a file that turns read-only is no acknowledgement, and heals without a restart", async () => {
    await using folder = await createTemporaryFolder();
    await using disk = await smallDisk(folder.path);
    expect(await disk.ask("append")).toBe("done");
    expect(await disk.ask("spoil")).toEqual({ errors: ["StoreUnavailable"] });
    await disk.ask("heal");
    expect(await disk.ask("append")).toBe("done");
    expect(await disk.ask("check")).toEqual({ before: true, after: true, entries: 100 });
  });
});
