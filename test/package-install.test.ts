import { cp, mkdir, readdir, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ProcessExit, repositoryRoot, spawnProgram, type TestProcess } from "./support/process.ts";
import { createTemporaryFolder, type TemporaryFolder } from "./support/temporary-folder.ts";

const packages = ["protocol", "server", "client"];
const limitMs = 90_000;
const secret = "kP3vX9qLw7Zr2TnB8sYd5Gh1JmC6fAe4";
// As in a shell of someone who has this Node, and nothing of the repository.
const environment = {
  PATH: [path.dirname(process.execPath), process.env["PATH"]].join(path.delimiter),
  NODE_OPTIONS: undefined,
  npm_command: undefined,
  npm_config_update_notifier: "false",
};

let folder: TemporaryFolder;
let app: string;

beforeAll(async () => {
  folder = await createTemporaryFolder();
  const tarballs = await pack(await copyWorkspace(path.join(folder.path, "workspace")));
  app = path.join(folder.path, "app");
  await mkdir(app);
  await writeFile(path.join(app, "package.json"), '{"private":true}');
  const install = ["install", "--no-audit", "--no-fund", "--ignore-scripts", ...tarballs];
  // Offline where an earlier install has left all that is needed, which is quicker and needs no registry.
  const { code } = await run("npm", [...install, "--offline"], app).catch(() => ({ code: 1 }));
  if (code !== 0) await runWell("npm", install, app);
  await cp(path.join(repositoryRoot, "test/package/chat.mjs"), path.join(app, "chat.mjs"));
}, 2 * limitMs);

afterAll(() => folder[Symbol.asyncDispose]());

// Why a copy: to build in place would pull the packages away under whoever uses them meanwhile.
async function copyWorkspace(workspace: string): Promise<string> {
  for (const name of packages) {
    const from = path.join(repositoryRoot, "packages", name);
    await cp(from, path.join(workspace, "packages", name), {
      recursive: true,
      filter: (file) => !/[\\/](dist|node_modules)$/.test(file),
    });
  }
  await cp(path.join(repositoryRoot, "scripts"), path.join(workspace, "scripts"), { recursive: true });
  await cp(path.join(repositoryRoot, "tsconfig.base.json"), path.join(workspace, "tsconfig.base.json"));
  const modules = path.join(workspace, "node_modules");
  await mkdir(path.join(modules, "@parley"), { recursive: true });
  for (const name of await readdir(path.join(repositoryRoot, "node_modules"))) {
    if (name !== "@parley") await symlink(path.join(repositoryRoot, "node_modules", name), path.join(modules, name));
  }
  for (const name of packages) {
    await symlink(path.join(workspace, "packages", name), path.join(modules, "@parley", name));
  }
  return workspace;
}

async function pack(workspace: string): Promise<readonly string[]> {
  await runWell(process.execPath, ["scripts/build-packages.ts"], workspace);
  const folders = packages.map((name) => `./packages/${name}`);
  await runWell("npm", ["pack", "--ignore-scripts", "--pack-destination", workspace, ...folders], workspace);
  const files = await readdir(workspace);
  return files.filter((file) => file.endsWith(".tgz")).map((file) => path.join(workspace, file));
}

function start(program: string, words: readonly string[], cwd: string, more: object = {}): Promise<TestProcess> {
  return spawnProgram(program, words, { folder: cwd, environment: { ...environment, ...more } });
}

async function run(
  program: string,
  words: readonly string[],
  cwd: string,
  more: object = {},
): Promise<ProcessExit & { readonly stdout: string; readonly stderr: string }> {
  await using child = await start(program, words, cwd, more);
  const exit = await child.waitForExit(limitMs);
  return { ...exit, stdout: child.stdout, stderr: child.stderr };
}

async function runWell(program: string, words: readonly string[], cwd: string): Promise<void> {
  const { code, stdout, stderr } = await run(program, words, cwd);
  if (code !== 0) throw new Error(`${program} ${words.join(" ")}: ${code}\n${stdout}\n${stderr}`);
}

test("installed in an empty folder, the packages bring a message from one client to another", async () => {
  const ran = await run(process.execPath, ["chat.mjs"], app, { SECRET: secret });
  expect(ran).toMatchObject({ code: 0, stdout: "sent alice hello\n" });
  expect(ran.stderr).toBe("");
});

test("the installed command names itself where it says how to go on", async () => {
  const parley = path.join(app, "node_modules", ".bin", "parley");
  await using node = await start(parley, ["dev"], app, { PARLEY_SERVER_PORT: "0", PARLEY_INTERNAL_PORT: "0" });
  expect(await node.waitForLine(/another: (.*)$/)).toMatchObject({ 1: "parley token --admin" });
});

test("the installed command says its version, starts a node, puts a load on it and stops it", async () => {
  const parley = path.join(app, "node_modules", ".bin", "parley");
  expect(await run(parley, ["version"], app)).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^parley \d+\.\d+\.\d+/),
  });
  const secrets = { PARLEY_AUTH_SECRET: secret, PARLEY_API_KEYS: "an-api-key-of-this-test" };
  await using node = await start(parley, ["start"], app, {
    PARLEY_SERVER_HOST: "127.0.0.1",
    PARLEY_SERVER_PORT: "0",
    PARLEY_INTERNAL_PORT: "0",
    ...secrets,
  });
  const [, publicUrl = "", url = ""] = await node.waitForLine(
    /"public":"(http:[^"]+)","internal":"(http:[^"]+)".*"event":"node_ready"/,
  );
  expect((await fetch(`${url}/health/ready`)).status).toBe(200);
  const load = ["--members", "4", "--rooms", "2", "--rate", "20", "--seconds", "1"];
  const bench = await run(parley, ["bench", "--url", publicUrl, "--api-url", url, ...load], app, secrets);
  expect(bench).toMatchObject({ code: 0, stdout: expect.stringMatching(/^delivered +40 of 40/m) });
  expect(await node.stop()).toEqual({ code: 0, signal: null });
});
