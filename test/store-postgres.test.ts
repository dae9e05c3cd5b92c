import { afterAll, beforeAll, expect, test } from "vitest";
import { PostgresServer } from "./support/postgres.ts";
import { spawnNode } from "./support/process.ts";
import { createTemporaryFolder, type TemporaryFolder } from "./support/temporary-folder.ts";

let server: PostgresServer;
let folder: TemporaryFolder;

beforeAll(async () => {
  server = await PostgresServer.start();
  folder = await createTemporaryFolder();
}, 120_000);

afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

/** Runs `parley` with its store in Postgres, under a password that nothing may print. */
async function parley(...words: readonly string[]): Promise<{ code: number | null; output: string }> {
  const url = server.url("cli").replace("parley@", "parley:hush-hush@");
  await using running = await spawnNode(["packages/server/src/main.ts", ...words], {
    environment: { PARLEY_STORE_URL: url, PARLEY_STORE_PATH: folder.path },
  });
  const { code } = await running.waitForExit(60_000);
  const output = `${running.stdout}${running.stderr}`;
  expect(output).not.toContain("hush");
  return { code, output };
}

test("the command line knows a store in Postgres, and never prints its password", { timeout: 120_000 }, async () => {
  const generation = (): Promise<readonly string[]> =>
    server.sql("SELECT value FROM cli.store WHERE name = 'generation'");
  expect(await parley("migrate")).toMatchObject({
    code: 0,
    output: expect.stringContaining("schema cli is up to date"),
  });
  const before = await generation();
  expect(await parley("migrate")).toMatchObject({ code: 0 });
  expect(await generation()).toEqual(before);

  expect(await parley("backup", "copy.db")).toMatchObject({ code: 1, output: expect.stringContaining("pg_dump") });
  expect(await parley("restore", "copy.db")).toMatchObject({
    code: 1,
    output: expect.stringContaining("without a file"),
  });
  expect(await generation()).toEqual(before);
  expect(await parley("restore")).toMatchObject({ code: 0, output: expect.stringContaining("start over") });
  expect(await generation()).not.toEqual(before);

  const { output } = await parley("doctor");
  expect(output).toMatch(/warn {2}store +Postgres \d+.* at 127\.0\.0\.1:\d+\/postgres, schema cli, with fsync off/);
  expect((await parley("config", "print")).output).toMatch(/store\.url/);
});

test("a node whose Postgres is away says so, names the setting, and ends", { timeout: 60_000 }, async () => {
  await server.stop();
  const { code, output } = await parley("migrate");
  expect(code).toBe(1);
  expect(output).toContain("PARLEY_STORE_URL");
  expect(output).toContain("ECONNREFUSED");
  expect(await parley("doctor")).toMatchObject({ code: 1, output: expect.stringMatching(/BAD +store/) });
});
