import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import path from "node:path";
import { createInterface } from "node:readline";
import { describe, expect, test } from "vitest";
import { spawnProgram } from "./support/process.ts";
import { parseTrace, straceCommand, unsyncedAcknowledgements } from "./support/strace.ts";
import { createTemporaryFolder } from "./support/temporary-folder.ts";

const lines = Array.from({ length: 60 }, (_, index) => `mark-${String(index).padStart(4, "0")}`);
const acknowledgements = lines.map((line) => ({ written: `{"text":"${line}"}`, acknowledged: `ack ${line}\n` }));

/** Sends lines, some alone and some many at once, and waits for the acknowledgement of each. */
async function sendLines(port: number): Promise<void> {
  const socket = connect(port, "127.0.0.1");
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let sent = 0;
  let acknowledged = 0;
  const sendSome = (): void => {
    const some = lines.slice(sent, sent + 1 + (sent % 7));
    sent += some.length;
    for (const line of some) socket.write(`${line}\n`);
  };
  socket.once("error", reject).once("connect", sendSome);
  createInterface({ input: socket }).on("line", () => {
    acknowledged += 1;
    if (acknowledged === lines.length) resolve();
    else if (acknowledged === sent) sendSome();
  });
  await promise;
  socket.destroy();
}

/** What strace saw of a server that acknowledged all lines. */
async function traceServer(folder: string, synchronous: "FULL" | "OFF"): Promise<string> {
  const traceFile = path.join(folder, `trace-${synchronous}`);
  const program = [process.execPath, "--conditions=parley-source", "test/support/line-server-process.ts"];
  const [command = "", ...values] = straceCommand(traceFile, [...program, path.join(folder, synchronous), synchronous]);
  await using server = await spawnProgram(command, values);
  const [, port] = await server.waitForLine(/^port .*"port":(\d+)/);
  await sendLines(Number(port));
  server.writeInput("quit\n");
  await server.waitForExit();
  return await readFile(traceFile, "utf8");
}

describe("what leaves, and what is on disk by then", { timeout: 120_000 }, () => {
  test("[LOG-1] no acknowledgement leaves before the fsync of its commit returned", async () => {
    await using folder = await createTemporaryFolder();
    expect(unsyncedAcknowledgements(await traceServer(folder.path, "FULL"), acknowledgements)).toEqual([]);
  });

  test("[LOG-1] the same check fails for a store that does not sync", async () => {
    await using folder = await createTemporaryFolder();
    const unsynced = unsyncedAcknowledgements(await traceServer(folder.path, "OFF"), acknowledgements);
    expect(unsynced).toEqual(acknowledgements.map(({ acknowledged }) => acknowledged));
  });

  test("[LOG-1] the check takes calls of several threads apart", () => {
    const file = "7</data/parley.db-wal>";
    const socket = "9<socket:[1]>";
    const written = `10 pwrite64(${file}, "x{\\"m\\":1}", 9, 0) = 9`;
    const synced = [`10 fdatasync(${file} <unfinished ...>`, "10 <... fdatasync resumed>) = 0"];
    const sent = `11 write(${socket}, "ok 1\\n", 5) = 5`;
    const check = (trace: readonly (string | undefined)[]): readonly string[] =>
      unsyncedAcknowledgements(trace.join("\n"), [{ written: '{"m":1}', acknowledged: "ok 1\n" }]);
    expect(check([written, ...synced, sent])).toEqual([]);
    expect(check([written, synced[0], sent, synced[1]])).toEqual(["ok 1\n"]);
    expect(check([...synced, written, sent])).toEqual(["ok 1\n"]);
    expect(check([sent, written, ...synced])).toEqual(["ok 1\n"]);
    expect(check([written, ...synced])).toEqual(["ok 1\n"]);
    expect(check([written, `10 fdatasync(8</data/other>) = 0`, sent])).toEqual(["ok 1\n"]);
    expect(check([written, `10 fdatasync(${file}) = -1 EIO (Input/output error)`, sent])).toEqual(["ok 1\n"]);
    expect(parseTrace([written, ...synced, "10 +++ exited with 0 +++"].join("\n"))).toHaveLength(2);
  });
});
