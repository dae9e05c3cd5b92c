import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { spawnNode, spawnProgram } from "./process.ts";
import { createTemporaryFolder } from "./temporary-folder.ts";

// Why not signal 0: it also reaches a process that has ended (state Z) and was not yet collected by its new parent.
const isRunning = (pid: number): boolean => {
  const statusFile = `/proc/${pid}/stat`;
  return existsSync(statusFile) && !readFileSync(statusFile, "utf8").includes(") Z ");
};

test("a line is found whether it was written before or after the wait began", async () => {
  await using child = await spawnNode(["-e", "console.log('port 41'); setTimeout(() => console.log('port 42'), 100)"]);
  expect((await child.waitForLine(/port (42)/))[1]).toBe("42");
  expect((await child.waitForLine(/port (\d+)/))[1]).toBe("41");
  expect(await child.waitForExit()).toEqual({ code: 0, signal: null });
});

test("waiting for a line that never comes ends with the process and shows its output", async () => {
  await using child = await spawnNode(["-e", "console.error('no such setting'); process.exit(1)"]);
  await expect(child.waitForLine(/ready/)).rejects.toThrow(/code 1[^]*no such setting/);
});

test("a signal ends the process, and its end is reported", async () => {
  await using child = await spawnNode(["-e", "setInterval(() => {}, 1000); console.log('ready')"]);
  await child.waitForLine(/ready/);
  expect(await child.stop("SIGKILL")).toEqual({ code: null, signal: "SIGKILL" });
});

test("the end of the scope kills the child and what it started", async () => {
  let grandchild = 0;
  {
    await using child = await spawnProgram("sh", ["-c", "sleep 600 & echo started $!; wait"]);
    grandchild = Number((await child.waitForLine(/started (\d+)/))[1]);
    expect(isRunning(grandchild)).toBe(true);
  }
  await expect.poll(() => isRunning(grandchild)).toBe(false);
});

test("a program that does not exist is an error", async () => {
  await expect(spawnProgram("parley-no-such-program", [])).rejects.toThrow(/ENOENT/);
});

test("a temporary folder is gone at the end of its scope", async () => {
  let folder = "";
  {
    await using temporary = await createTemporaryFolder();
    folder = temporary.path;
    expect(existsSync(folder)).toBe(true);
  }
  expect(existsSync(folder)).toBe(false);
});
