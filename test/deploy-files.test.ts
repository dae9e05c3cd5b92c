import { existsSync, globSync, readFileSync, statSync } from "node:fs";
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { errorCodes } from "@parley/protocol";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { resolveConfig } from "../packages/server/src/config.ts";
import { listSettings } from "../packages/server/src/config-settings.ts";
import type { NodeStatistics } from "../packages/server/src/core/operations.ts";
import { createMetrics } from "../packages/server/src/http/metrics.ts";
import { goodSecrets, readVariables, refusedSettings, stopMs, variablesIn } from "./support/deploy-settings.ts";
import { findFreePort } from "./support/free-port.ts";
import { repositoryRoot, spawnNode, spawnProgram, type TestProcess } from "./support/process.ts";
import { createTemporaryFolder } from "./support/temporary-folder.ts";
import { readUnit } from "./support/unit-file.ts";

const folder = path.join(repositoryRoot, "deploy");
const read = (name: string): string => readFileSync(path.join(folder, name), "utf8");
// With the names that begin with a dot, which a pattern's star leaves out.
const files = ["**/*", "**/.*"]
  .flatMap((pattern) => globSync(pattern, { cwd: folder }))
  .filter((name) => statSync(path.join(folder, name)).isFile());

/** Not settings: the port that compose publishes. */
const otherVariables = ["PARLEY_PUBLISHED_PORT"];

test.each([...files, "../docs/operations.md"])("%s names settings that exist", (name) => {
  const known = [...otherVariables, ...listSettings().map(({ environment }) => environment)];
  expect(variablesIn(read(name)).filter((variable) => !known.includes(variable))).toEqual([]);
});

test("there are files to check", () => {
  expect(files).toEqual(
    expect.arrayContaining(["compose.yaml", ".env.example", "Dockerfile", "systemd/parley.service"]),
  );
});

const nodes = ["10.77.0.11:3000", "10.77.0.12:3000", "10.77.0.13:3000"];

describe("the balancers' files", () => {
  test.each([
    ["nginx", "nginx/parley.conf"],
    ["haproxy", "haproxy/parley.cfg"],
  ])("parley %s prints deploy/%s", async (command, name) => {
    const main = path.join(repositoryRoot, "packages/server/src/main.ts");
    await using child = await spawnNode([main, command, ...nodes.flatMap((node) => ["--node", node])]);
    expect(await child.waitForExit()).toEqual({ code: 0, signal: null });
    expect(read(name)).toBe(child.stdout);
  });

  test("nginx takes its file, with the main file that is beside it", async () => {
    await using temporary = await createTemporaryFolder();
    const inside = (...names: string[]): string => path.join(temporary.path, ...names);
    await mkdir(inside("conf.d"));
    await copyFile(path.join(folder, "nginx/nginx.conf"), inside("nginx.conf"));
    await writeFile(inside("mime.types"), "types { text/html html; }");
    // Why: nginx tries to listen, and to make its folders, where this test may not.
    const listen = `listen 127.0.0.1:${await findFreePort()};`;
    const printed = read("nginx/parley.conf");
    expect(printed).toContain("listen 80;");
    await writeFile(inside("conf.d/default.conf"), printed.replace("listen 80;", listen));
    const kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    await writeFile(inside("conf.d/folders.conf"), kinds.map((kind) => `${kind}_temp_path ${kind};\n`).join(""));
    await using child = await system("nginx", [
      "-t",
      "-p",
      temporary.path,
      "-c",
      inside("nginx.conf"),
      "-g",
      "pid nginx.pid;",
    ]);
    const { code } = await child.waitForExit();
    expect({ code, output: child.stderr }).toEqual({ code: 0, output: expect.stringContaining("test is successful") });
    expect(child.stderr).not.toContain("[warn]");
  });

  test("HAProxy takes its file", async () => {
    await using child = await system("haproxy", ["-c", "-f", path.join(folder, "haproxy/parley.cfg")]);
    const { code } = await child.waitForExit();
    expect({ code, output: child.stderr }).toEqual({ code: 0, output: expect.not.stringContaining("WARNING") });
  });
});

/** Debian keeps servers outside a user's PATH. */
function system(name: string, words: readonly string[]): Promise<TestProcess> {
  const program = `/usr/sbin/${name}`;
  return spawnProgram(existsSync(program) ? program : name, words);
}

describe("the unit for systemd", () => {
  const unit = readUnit(read("systemd/parley.service"));
  const variables = readVariables(read("systemd/parley.env.example"));
  const config = resolveConfig({ env: { ...variables, ...goodSecrets } });

  test("its sections and keys are systemd's, each once", async () => {
    expect(unit.problems).toEqual([]);
    await using temporary = await createTemporaryFolder();
    // Why another program: the one named need not be on the machine of the test.
    const file = path.join(temporary.path, "parley.service");
    await writeFile(file, read("systemd/parley.service").replace(/^ExecStart=.*$/m, `ExecStart=${process.execPath}`));
    const analyze = "/usr/bin/systemd-analyze";
    // Its own list of keys is checked above on machines without systemd.
    await using child = existsSync(analyze)
      ? await spawnProgram(analyze, ["verify", "--man=no", file])
      : await spawnProgram(process.execPath, ["--version"]);
    expect(await child.waitForExit()).toEqual({ code: 0, signal: null });
    // It ends with 0 also after complaints.
    expect(child.stderr).toBe("");
  });

  test("a misspelt key, a value that is none and a key in the wrong section are found", () => {
    expect(readUnit("[Service]\nTimeoutStopSecs=45\n").problems).toHaveLength(1);
    expect(readUnit("[Service]\nKillMode=mxed\n").problems).toHaveLength(1);
    expect(readUnit("[Unit]\nExecStart=/bin/true\n").problems).toHaveLength(1);
    expect(readUnit("[Service]\nUser=a\nUser=b\n").problems).toHaveLength(1);
  });

  test("[OUT-1] the drain is over before systemd kills the node", () => {
    expect(Number(unit.value("Service", "TimeoutStopSec")) * 1_000).toBeGreaterThan(stopMs(config));
  });

  test("it opens as many files as there may be connections, and writes where the store is", () => {
    expect(Number(unit.value("Service", "LimitNOFILE"))).toBeGreaterThanOrEqual(config.limits.connectionsMax + 1_024);
    expect(config.store.path).toBe(`/var/lib/${unit.value("Service", "StateDirectory")}`);
    expect(unit.value("Service", "WorkingDirectory")).toBe(config.store.path);
    expect(unit.value("Service", "EnvironmentFile")).toBe("/etc/parley/parley.env");
  });

  test("a node refuses to start with the placeholders of the example, and starts with secrets", () => {
    expect(refusedSettings(variables)).toEqual(["api.keys", "auth.secret", "bus.secret"]);
    expect(refusedSettings({ ...variables, ...goodSecrets })).toEqual([]);
  });
});

describe("the Dockerfile", () => {
  const instructions = read("Dockerfile")
    .replaceAll(/^#.*\n/gm, "")
    .replaceAll("\\\n", " ")
    .split("\n")
    .filter((line) => line !== "");
  const last = instructions.slice(instructions.findLastIndex((line) => line.startsWith("FROM ")));
  const of = (lines: readonly string[], name: string): readonly string[] =>
    lines.filter((line) => line.startsWith(`${name} `)).map((line) => line.slice(name.length + 1));

  test("every stage is of the Node that the packages ask for", () => {
    expect(new Set(of(instructions, "FROM").map((from) => from.split(" ")[0]))).toEqual(new Set(["node:24-slim"]));
  });

  test("what it copies is there, and is not left out of the context", () => {
    const sources = of(instructions, "COPY")
      .filter((copy) => !copy.startsWith("--from="))
      .flatMap((copy) => copy.split(" ").slice(0, -1));
    expect(sources).toEqual(expect.arrayContaining(["package.json", "package-lock.json", "packages"]));
    expect(sources.filter((source) => !existsSync(path.join(repositoryRoot, source)))).toEqual([]);
    const allowed = read("Dockerfile.dockerignore").split("\n");
    expect(sources.filter((source) => !allowed.includes(`!${source.split("/")[0]}`))).toEqual([]);
  });

  test("it installs what is locked, with the manifest of every workspace", () => {
    const installs = of(instructions, "RUN").filter((run) => run.startsWith("npm ci"));
    expect(installs).toHaveLength(2);
    const manifests = globSync("{packages,apps}/*/package.json", { cwd: repositoryRoot });
    const copies = manifests.map((manifest) => instructions.filter((line) => line.startsWith(`COPY ${manifest} `)));
    // Once in the stage that builds, once in the one that installs.
    expect(copies.map(({ length }) => length)).toEqual(manifests.map(() => 2));
  });

  test("it ends as an ordinary user, who owns the store's folder, and knows when it is well", () => {
    expect(of(last, "USER")).toEqual(["1000:1000"]);
    expect(of(last, "ENV").join(" ")).toContain("PARLEY_STORE_PATH=/var/lib/parley");
    expect(of(last, "RUN").join(" ")).toMatch(/--owner=node .*\/var\/lib\/parley$/);
    expect(of(last, "HEALTHCHECK").join(" ")).toContain("/health/live");
    expect(of(last, "ENTRYPOINT")).toEqual(['["node", "packages/server/dist/main.js"]']);
    const { server, internal } = resolveConfig({ env: goodSecrets });
    expect(of(last, "EXPOSE")).toEqual([`${server.port} ${internal.port}`]);
    expect(of(last, "HEALTHCHECK").join(" ")).toContain(`|| ${internal.port}}`);
  });
});

describe("what is said of metrics", () => {
  test.each(["prometheus/alerts.yaml", "../docs/operations.md"])("%s names metrics that exist", async (name) => {
    const metrics = createMetrics("0.0.0");
    metrics.follow(() => statistics);
    metrics.busState("up");
    const text = await metrics.text();
    metrics.close();
    const known = new Set(Array.from(text.matchAll(/^# TYPE (\S+) /gm), ([, metric]) => metric));
    const named = Array.from(read(name).matchAll(/\bparley_[a-z_]+[a-z]\b/g), ([metric]) =>
      metric.replace(/_bucket$/, ""),
    );
    expect(named).toContain("parley_bus_up");
    expect(named.filter((metric) => !known.has(metric))).toEqual([]);
  });

  test("every alert says when, how urgent it is, and what it means", () => {
    const schema = z.strictObject({
      groups: z.array(
        z.strictObject({
          name: z.string(),
          rules: z.array(
            z.strictObject({
              alert: z.string().regex(/^Parley[A-Za-z]+$/),
              expr: z.string(),
              for: z
                .string()
                .regex(/^[0-9]+m$/)
                .optional(),
              labels: z.strictObject({ severity: z.enum(["page", "ticket"]) }),
              annotations: z.strictObject({ summary: z.string() }),
            }),
          ),
        }),
      ),
    });
    const { groups } = schema.parse(parse(read("prometheus/alerts.yaml")));
    const names = groups.flatMap(({ rules }) => rules.map(({ alert }) => alert));
    expect(new Set(names).size).toBe(names.length);
    // Outcomes and reasons are codes of ours, so that a misspelt one would never fire.
    const codes = groups
      .flatMap(({ rules }) => rules)
      .flatMap(({ expr }) => Array.from(expr.matchAll(/outcome=~?"([^"]+)"/g), ([, found = ""]) => found.split("|")))
      .flat();
    expect(codes.length).toBeGreaterThan(3);
    expect(codes.filter((code) => !Object.hasOwn(errorCodes, code))).toEqual([]);
  });
});

const statistics: NodeStatistics = {
  node: "node",
  uptimeSeconds: 0,
  connections: 0,
  sockets: 0,
  users: 0,
  feeds: 0,
  subscribers: 0,
  detachedSessions: 0,
  appendedTotal: 0,
  deliveredTotal: 0,
};
