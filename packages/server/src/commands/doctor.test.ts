import { utimes, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { networkInterfaces } from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { startHttpNode } from "../../../../test/support/http-node.ts";
import { createTemporaryFolder } from "../../../../test/support/temporary-folder.ts";
import { checkClock, checkFolder, checkNode, checkOpenFiles, checkWorkers } from "./doctor.ts";
import { run } from "./run.ts";

async function doctor(env: Record<string, string>) {
  const lines: string[] = [];
  const code = await run({
    program: "parley",
    words: ["doctor"],
    env,
    folder: "/",
    print: (line) => lines.push(line),
    printError: (line) => lines.push(line),
    compose: () => import("../compose-main.ts"),
    stopped: AbortSignal.abort(),
  });
  return { code, output: lines.join("\n") };
}

test("a machine that is fit passes; each thing that is not is named with its setting", async () => {
  await using folder = await createTemporaryFolder();
  const env = { PARLEY_STORE_PATH: folder.path, PARLEY_SERVER_PORT: "0", PARLEY_INTERNAL_PORT: "0" };
  const fit = await doctor(env);
  expect(fit.code).toBe(0);
  expect(fit.output).toMatch(/^warn {2}secret +none is set/m);
  const busy = createServer();
  await new Promise<void>((resolve) => busy.listen(0, "127.0.0.1", resolve));
  const address = busy.address();
  const port = typeof address === "object" && address !== null ? String(address.port) : "";
  const unfit = await doctor({
    PARLEY_STORE_PATH: "/dev/null/data",
    PARLEY_SERVER_HOST: "127.0.0.1",
    PARLEY_SERVER_PORT: port,
    PARLEY_INTERNAL_PORT: "0",
    PARLEY_AUTH_SECRET: "short",
  });
  await new Promise((resolve) => busy.close(resolve));
  expect(unfit.code).toBe(1);
  for (const setting of ["PARLEY_STORE_PATH", "PARLEY_SERVER_PORT", "PARLEY_AUTH_SECRET"]) {
    expect(unfit.output).toMatch(new RegExp(`^BAD .*${setting}`, "m"));
  }
});

const hasIpv6 = Object.values(networkInterfaces()).some((addresses) =>
  addresses?.some(({ address }) => address === "::1"),
);

test.each(hasIpv6 ? ["127.0.0.1", "::1"] : ["127.0.0.1"])(
  "ports that the running node holds are no fault, at %s",
  async (host) => {
    await using node = await startHttpNode({ overrides: { internal: { host } } });
    const { output } = await doctor({
      PARLEY_STORE_PATH: node.folder,
      PARLEY_SERVER_HOST: "127.0.0.1",
      PARLEY_INTERNAL_HOST: host,
      PARLEY_SERVER_PORT: new URL(node.publicUrl).port,
      PARLEY_INTERNAL_PORT: new URL(node.internalUrl).port,
    });
    expect(output.match(/taken by a Parley node that runs/g)).toHaveLength(2);
  },
);

test("a folder that is none is named, and keeps nothing else from being looked at", async () => {
  await using folder = await createTemporaryFolder();
  const file = path.join(folder.path, "file");
  await writeFile(file, "");
  const { code, output } = await doctor({
    PARLEY_STORE_PATH: file,
    PARLEY_SERVER_PORT: "0",
    PARLEY_INTERNAL_PORT: "0",
  });
  expect(code).toBe(1);
  expect(output).toMatch(/^BAD {3}folder .*PARLEY_STORE_PATH/m);
  expect(output).toMatch(/^ok {4}clock/m);
});

test("a folder that nothing will be written to is not looked at", async () => {
  const shared = {
    PARLEY_STORE_PATH: "/dev/null/data",
    PARLEY_STORE_URL: "postgres://parley@127.0.0.1:1/parley",
    PARLEY_SERVER_PORT: "0",
    PARLEY_INTERNAL_PORT: "0",
  };
  expect((await doctor(shared)).output).toMatch(/^BAD {3}folder/m);
  const { output } = await doctor({ ...shared, PARLEY_AUTH_SECRET: "kP3vX9qLw7Zr2TnB8sYd5Gh1JmC6fAe4" });
  expect(output).toMatch(/^BAD {3}store/m);
  expect(output).not.toContain("folder");
});

test("Node, open files and the clock are judged by what they are", async () => {
  await using folder = await createTemporaryFolder();
  expect(checkNode("24.0.0").state).toBe("good");
  expect(checkNode("20.20.0").state).toBe("bad");
  expect(checkOpenFiles(1_024, 100_000)).toMatchObject({ state: "warn", detail: expect.stringContaining("ulimit -n") });
  expect(checkOpenFiles(1_048_576, 100_000).state).toBe("good");
  expect(checkOpenFiles(undefined, 1).state).toBe("warn");
  expect(await checkWorkers(1)).toEqual([]);
  const shares = process.platform === "linux";
  expect(await checkWorkers(2, 2)).toMatchObject([{ what: "workers", state: shares ? "good" : "bad" }]);
  expect(await checkWorkers(3, 2)).toMatchObject([{ what: "workers", state: shares ? "warn" : "bad" }]);
  expect(checkFolder(path.join(folder.path, "not", "yet", "there")).state).toBe("good");
  const now = Date.parse("2026-06-01T12:00:00Z");
  const file = path.join(folder.path, "parley.db");
  await writeFile(file, "");
  await utimes(file, now / 1_000, now / 1_000);
  expect(checkClock(folder.path, now).state).toBe("good");
  expect(checkClock(folder.path, now - 60_000)).toMatchObject({
    state: "warn",
    detail: expect.stringContaining("60 s later"),
  });
  expect(checkClock(folder.path, 0).state).toBe("bad");
});
