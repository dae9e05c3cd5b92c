import { chmod, mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import path from "node:path";
import { RefusalError } from "@parley/protocol";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startHttpNode } from "../../../../test/support/http-node.ts";
import { createTemporaryFolder, type TemporaryFolder } from "../../../../test/support/temporary-folder.ts";
import type { Config } from "../config.ts";
import { StoreLocked } from "../store/store.ts";
import type { Composition } from "./command.ts";
import { run } from "./run.ts";

const secret = "kP3vX9qLw7Zr2TnB8sYd5Gh1JmC6fAe4";
let folder: TemporaryFolder;

beforeEach(async () => {
  folder = await createTemporaryFolder();
});

afterEach(() => folder[Symbol.asyncDispose]());

interface Options {
  readonly env?: Record<string, string>;
  readonly composition?: Partial<Composition>;
  readonly stopped?: AbortSignal;
}

/** Runs a command line in the temporary folder. A composition that was not given fails when it is asked for. */
async function parley(
  words: readonly string[],
  { env = {}, composition = {}, stopped = AbortSignal.abort() }: Options = {},
) {
  const output: string[] = [];
  const errors: string[] = [];
  const none = () => Promise.reject(new Error("not expected here"));
  const code = await run({
    program: "parley",
    words,
    env: { PARLEY_STORE_PATH: path.join(folder.path, "data"), ...env },
    folder: folder.path,
    print: (line) => output.push(line),
    printError: (line) => errors.push(line),
    compose: async () => ({
      startNode: none,
      backupStore: none,
      restoreStore: none,
      migrateStore: none,
      showStore: ({ store }) => store.path,
      probeStore: none,
      ...composition,
    }),
    stopped,
  });
  return { code, output: output.join("\n"), errors: errors.join("\n") };
}

describe("help", () => {
  test.each([[[]], [["help"]], [["--help"]]])("bare and asked for, it lists every command: %j", async (words) => {
    const { code, output } = await parley(words);
    expect(code).toBe(0);
    for (const name of [
      "dev",
      "start",
      "token create",
      "room list",
      "migrate",
      "backup",
      "restore",
      "config docs",
      "bench",
      "doctor",
      "version",
    ]) {
      expect(output).toContain(`parley ${name}`);
    }
  });

  test.each([[["token"]], [["token", "--help"]], [["help", "token"]]])(
    "of a group, it lists each of its commands and no others: %j",
    async (words) => {
      const { code, output } = await parley(words);
      expect(code).toBe(0);
      for (const name of ["token --admin", "token create", "token check"]) expect(output).toContain(`parley ${name}`);
      expect(output).not.toContain("parley room");
    },
  );

  test("of a command, it tells of that one alone", async () => {
    const { code, output } = await parley(["token", "create", "--help"]);
    expect(code).toBe(0);
    expect(output).toContain("parley token create");
    expect(output).not.toContain("parley token check");
  });

  test("the version", async () => {
    expect((await parley(["version"])).output).toMatch(/^parley \d+\.\d+\.\d+ \(Node 2\d\./);
    expect((await parley(["--version"])).output).toMatch(/^parley \d/);
  });
});

test.each<[string[], string]>([
  [["strat"], "did you mean start?"],
  [["room", "crate"], 'room has no "crate"'],
  [["constructor"], "no command"],
  [["dev", "extra"], '"extra" is too much'],
  [["room", "create"], "something is missing"],
  [["dev", "--prot", "1"], "--prot is no option; did you mean --port?"],
  [["dev", "--port"], "--port"],
  [["token", "create"], "--user is needed"],
  [["token", "create", "--user", "a", "--expires", "soon"], "--expires is a time like 30m"],
  [["token", "create", "--user", "a\nb"], "--user"],
  [["room", "create", "@user:42"], "kept for the server"],
  [["room", "create", "r", "--access", "all"], "--access is public or members"],
  [["room", "create", "r", "--tenant", "a/b"], "--tenant is no name of a tenant"],
  [["room", "list", "--tenant", "a/b"], "--tenant is no name of a tenant"],
  [["bench", "--members", "0"], "--members is a whole number from 1 to 50,000"],
  [["bench", "--members", "1e3"], "--members is a whole number"],
  [["bench", "--rooms", "20", "--members", "19"], "--rooms 20 is more than --members 19"],
  [["bench", "--seconds", "1801"], "--seconds is a whole number from 1 to 1,800"],
  [["bench", "--rate", "50001"], "--rate is a whole number from 1 to 50,000"],
  [["bench", "--in-flight", "1001"], "--in-flight is a whole number from 1 to 1,000"],
  [["bench", "--rate", "1", "--in-flight", "1"], "--rate and --in-flight exclude each other"],
  [["bench", "--url", "ftp://parley.example"], "is not like http://10.0.0.1:3000 or wss://chat.example"],
  [["bench", "--url", "http://127.0.0.1:3000/chat"], "is not like http://10.0.0.1:3000"],
  [["bench", "--url", "127.0.0.1:3000"], "is not like http://10.0.0.1:3000"],
  [["bench", "--api-url", "nowhere"], "--api-url is an address"],
  [["bench", "--tenant", "a/b"], "--tenant is no name of a tenant"],
  [["bench", "--token-file", "none"], "--token-file cannot be read"],
  [["nginx", "--node", "10.0.0.1:0"], '--node "10.0.0.1:0" is not like 10.0.0.1:3000'],
  [["nginx", "--node", "10.0.0.1:65536"], '--node "10.0.0.1:65536" is not like'],
  [["haproxy", "--node", "10.0.0.1:3000", "--listen", "99999"], '--listen "99999" is not like 80 or 127.0.0.1:8080'],
  [["haproxy", "--node", "10.0.0.1:3000", "--listen", "127.0.0.1:0"], '--listen "127.0.0.1:0" is not like'],
  [["config", "check", "--mode", "test"], "--mode is development or production"],
])("a mistake exits with 1 and says what is wrong: %j", async (words, message) => {
  const { code, errors } = await parley(words);
  expect(code).toBe(1);
  expect(errors).toContain(message);
});

describe("bench has its tokens", () => {
  const keys = { PARLEY_API_KEYS: "an-api-key-of-this-test" };

  test("from the secret, and says what to do where a JWKS verifies them", async () => {
    const env = { ...keys, PARLEY_AUTH_JWKS_URL: "https://id.example/jwks" };
    const { code, errors } = await parley(["bench"], { env });
    expect(code).toBe(1);
    expect(errors).toContain("PARLEY_AUTH_SECRET");
    expect(errors).toContain("--token-file FILE, one a line");
  });

  test("or from a file, of which it names the line that is none", async () => {
    const file = path.join(folder.path, "tokens");
    for (const [text, message] of [
      ["a.b.c\n\nno token\n", "line 3 is no token"],
      ["\n", "has no token"],
    ] as const) {
      await writeFile(file, text);
      const { code, errors } = await parley(["bench", "--token-file", file], { env: keys });
      expect(code).toBe(1);
      expect(errors).toContain(message);
    }
  });

  test("and an API key to make rooms with", async () => {
    const { code, errors } = await parley(["bench"], { env: { PARLEY_AUTH_SECRET: secret } });
    expect(code).toBe(1);
    expect(errors).toContain("set PARLEY_API_KEYS");
  });
});

describe("settings", () => {
  test("production is refused without a secret, and a generated one is offered", async () => {
    for (const words of [["start"], ["config", "check"]]) {
      const { code, errors } = await parley(words);
      expect(code).toBe(1);
      expect(errors).toMatch(/PARLEY_AUTH_SECRET=[\w-]{64}/);
    }
    expect((await parley(["config", "check"], { env: { PARLEY_AUTH_SECRET: secret } })).code).toBe(0);
    expect((await parley(["config", "check", "--mode", "development"])).code).toBe(0);
  });

  test("come from the file in the folder, or from the one that is named, which must be there", async () => {
    await writeFile(path.join(folder.path, "parley.config.json"), '{"server": {"prt": 1}}');
    expect((await parley(["config", "check"])).errors).toContain(
      "server.prt in parley.config.json is no setting; did you mean server.port?",
    );
    await writeFile(path.join(folder.path, "other.json"), '{"server": {"port": 4000}}');
    const named = await parley(["config", "print", "--config", "other.json"]);
    expect(named.output).toMatch(/^server\.port +4000 {2}\(other\.json\)$/m);
    for (const options of [{ env: { PARLEY_CONFIG: "missing.json" } }, {}]) {
      await writeFile(path.join(folder.path, "parley.config.json"), "{");
      const { code, errors } = await parley(["config", "check"], options);
      expect(code).toBe(1);
      expect(errors).toContain("cannot be read");
      expect(errors).toContain("PARLEY_CONFIG");
    }
  });

  test("are printed with their source, secrets hidden", async () => {
    const { output } = await parley(["config", "print", "--port", "4001"], {
      env: { PARLEY_AUTH_SECRET: secret, PARLEY_API_KEYS: "a-key-of-sixteen,another-key-of-16" },
    });
    expect(output).toMatch(/^server\.port +4001 {2}\(a flag\)$/m);
    expect(output).toMatch(/^auth\.secret +\(hidden\) {2}\(the environment\)$/m);
    expect(output).toMatch(/^api\.keys +\(2 hidden\)/m);
    expect(output).not.toContain(secret);
    expect(output).not.toContain("a-key-of-sixteen");
  });
});

describe("tokens", () => {
  test("are made with the kept secret, and checked", async () => {
    const made = await parley([
      "token",
      "create",
      "--user",
      "ann",
      "--role",
      "admin",
      "--role",
      "editor",
      "--expires",
      "7d",
    ]);
    expect(made.code).toBe(0);
    const checked = await parley(["token", "check", made.output]);
    expect(checked.output).toContain('user     "ann"');
    expect(checked.output).toContain('roles    "admin", "editor"');
    const kept = path.join(folder.path, "data", "secret");
    expect((await stat(kept)).mode & 0o777).toBe(0o600);
    expect((await stat(path.dirname(kept))).mode & 0o777).toBe(0o700);
    const other = await parley(["token", "check", made.output], { env: { PARLEY_AUTH_SECRET: secret } });
    expect(other).toMatchObject({ code: 1, errors: expect.stringContaining("unauthorized: the token's signature") });
  });

  test("a kept secret that others could read is closed to them", async () => {
    await mkdir(path.join(folder.path, "data"));
    const kept = path.join(folder.path, "data", "secret");
    await writeFile(kept, `${secret}\n`);
    await chmod(kept, 0o644);
    const { output } = await parley(["token", "create", "--user", "ann"]);
    expect((await stat(kept)).mode & 0o777).toBe(0o600);
    expect((await parley(["token", "check", output], { env: { PARLEY_AUTH_SECRET: secret } })).code).toBe(0);
  });

  test("a tenant is refused where tenants are off", async () => {
    const { code, errors } = await parley(["token", "create", "--user", "ann", "--tenant", "acme"]);
    expect(code).toBe(1);
    expect(errors).toContain("PARLEY_AUTH_TENANT_CLAIM");
  });

  test("an admin link names the internal port", async () => {
    const { output } = await parley(["token", "--admin", "--internal-port", "4001"]);
    expect(output).toMatch(/^http:\/\/127\.0\.0\.1:4001\/admin#ticket=[\w.-]+$/);
  });

  test.each([
    ["0.0.0.0", "http://127.0.0.1:4001/"],
    ["::", "http://127.0.0.1:4001/"],
    ["::1", "http://[::1]:4001/"],
  ])("an admin link for %s is one that this machine can open", async (host, url) => {
    const { output } = await parley(["token", "--admin", "--internal-port", "4001", "--internal-host", host]);
    expect(output.startsWith(`${url}admin#ticket=`)).toBe(true);
  });
});

describe("a folder that cannot be written to, a store in use, a busy port", () => {
  test("exit with 1 and name the setting", async () => {
    await writeFile(path.join(folder.path, "file"), "");
    const unwritable = await parley(["dev"], { env: { PARLEY_STORE_PATH: path.join(folder.path, "file", "data") } });
    expect(unwritable).toMatchObject({ code: 1, errors: expect.stringContaining("PARLEY_STORE_PATH") });
    const startNode = () =>
      Promise.reject(new StoreLocked("store.path", "another process uses the store: PARLEY_STORE_PATH"));
    const locked = await parley(["dev"], { composition: { startNode } });
    expect(locked).toMatchObject({ code: 1, errors: "parley dev: another process uses the store: PARLEY_STORE_PATH" });
  });

  test("while a bug is not explained away", async () => {
    const startNode = () => Promise.reject(new TypeError("a bug"));
    await expect(parley(["dev"], { composition: { startNode } })).rejects.toThrow("a bug");
  });
});

describe("room", () => {
  test("asks the running node", async () => {
    await using node = await startHttpNode();
    const remote = ["--url", node.internalUrl, "--key", "test-key-0123456789"];
    expect((await parley(["room", "create", "a/b €", "--access", "public", ...remote])).output).toContain(
      '"r"  public  entries 1–7',
    );
    expect((await parley(["room", "list", "--tenant", "acme", ...remote])).output).toContain('"r"');
    expect((await parley(["room", "delete", "r", ...remote])).output).toBe('Deleted "r".');
    expect(node.calls).toEqual([
      ["putRoom", { roomId: "a/b €", access: "public" }],
      ["rooms", { tenant: "acme", limit: 500 }],
      ["deleteRoom", { roomId: "r" }],
    ]);
    node.fail(new RefusalError("not_found", "there is no such room"));
    expect(await parley(["room", "delete", "r", ...remote])).toMatchObject({
      code: 1,
      errors: expect.stringContaining("not_found: there is no such room"),
    });
    const wrongKey = await parley(["room", "list", "--url", node.internalUrl, "--key", "wrong"]);
    expect(wrongKey).toMatchObject({ code: 1, errors: expect.stringContaining("unauthorized") });
  });

  test("says of an empty list that it is empty, and in development which room is open all the same", async () => {
    await using node = await startHttpNode();
    const operations = { ...node.operations, rooms: async () => [] };
    const startNode: Composition["startNode"] = async () => ({
      publicUrl: "",
      internalUrl: "",
      operations,
      stop: async () => {},
    });
    // Port 1 of loopback: nothing listens there.
    const options = { env: { PARLEY_INTERNAL_PORT: "1" }, composition: { startNode } };
    expect(await parley(["room", "list"], options)).toEqual({
      code: 0,
      output: "",
      errors: "There are no rooms.\nroom-123 is open to every user in development mode, and not listed.",
    });
    const production = { ...options, env: { ...options.env, PARLEY_AUTH_SECRET: secret } };
    expect((await parley(["room", "list"], production)).errors).toBe("There are no rooms.");
  });

  test("says so when nothing answers at the address given, or something else does", async () => {
    const other = createServer((_request, response) => response.writeHead(404).end("<html>"));
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const address = other.address();
    const url = `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`;
    expect((await parley(["room", "list", "--url", url])).errors).toContain("is no Parley node (status 404)");
    await new Promise((resolve) => other.close(resolve));
    expect((await parley(["room", "list", "--url", url])).errors).toContain(`nothing answers at ${url}`);
  });

  test("opens the store itself where no node runs, on free ports, and closes it", async () => {
    await using node = await startHttpNode();
    const seen: Config[] = [];
    let stops = 0;
    const startNode: Composition["startNode"] = async (config) => {
      seen.push(config);
      return { publicUrl: "", internalUrl: "", operations: node.operations, stop: async () => void (stops += 1) };
    };
    // Port 1 of loopback: nothing listens there.
    const options = { env: { PARLEY_INTERNAL_PORT: "1" }, composition: { startNode } };
    expect((await parley(["room", "list"], options)).output).toContain('"r"');
    node.fail(new RefusalError("store_unavailable", "away"));
    expect((await parley(["room", "list"], options)).code).toBe(1);
    expect(stops).toBe(2);
    expect(seen[0]).toMatchObject({ server: { port: 0 }, internal: { port: 0, host: "127.0.0.1" } });
  });
});

test("migrate, backup and restore name the folder and the file", async () => {
  const calls: unknown[] = [];
  const note = (name: string) => async (config: Config, file?: string) =>
    void calls.push([name, path.basename(config.store.path), file]);
  const composition = { migrateStore: note("migrate"), backupStore: note("backup"), restoreStore: note("restore") };
  for (const words of [["migrate"], ["backup", "copy.db"], ["restore", "/else/copy.db"]]) {
    expect((await parley(words, { composition })).code).toBe(0);
  }
  expect(calls).toEqual([
    ["migrate", "data", undefined],
    ["backup", "data", path.join(folder.path, "copy.db")],
    ["restore", "data", "/else/copy.db"],
  ]);
});

describe("dev", () => {
  test("prints the addresses, two tokens and a curl, and stops when it is told to", async () => {
    await using node = await startHttpNode();
    let stops = 0;
    const startNode: Composition["startNode"] = async () => ({
      publicUrl: node.publicUrl,
      internalUrl: node.internalUrl,
      operations: node.operations,
      stop: async () => void (stops += 1),
    });
    const { code, output } = await parley(["dev", "--log-level", "silent"], { composition: { startNode } });
    expect(code).toBe(0);
    expect(stops).toBe(1);
    expect(output).toContain(`Chat     ${node.publicUrl}/`);
    expect(output).toContain(`Admin    ${node.internalUrl}/admin#ticket=`);
    expect(output).toContain(`API      ${node.internalUrl}/api/v1`);
    expect(output).toContain(`Metrics  ${node.internalUrl}/metrics`);
    const token = /^ {2}alice {2}(\S+)$/m.exec(output)?.[1] ?? "";
    expect((await parley(["token", "check", token])).output).toContain('user     "alice"');
    expect(output).toMatch(/^ {2}bob {4}\S+$/m);
    const key = (await readFile(path.join(folder.path, "data", "api-key"), "utf8")).trim();
    expect(output).toMatch(
      new RegExp(`curl -X POST ${node.internalUrl}/api/v1/rooms/room-123/messages -H 'Authorization: Bearer ${key}'`),
    );
  });

  test("tokens of one run are good in the next", async () => {
    const { output: token } = await parley(["token", "create", "--user", "ann"]);
    expect((await parley(["token", "check", token])).code).toBe(0);
  });
});
