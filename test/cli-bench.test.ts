import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { createCertificate } from "./support/certificate.ts";
import { eventually } from "./support/eventually.ts";
import { repositoryRoot, spawnNode, type TestProcess } from "./support/process.ts";
import { type SpawnedServer, spawnServer } from "./support/server.ts";
import { createTemporaryFolder } from "./support/temporary-folder.ts";
import { startTlsProxy } from "./support/tls-proxy.ts";

const main = path.join(repositoryRoot, "packages/server/src/main.ts");
const endLimitMs = 60_000;
const roomsSchema = z.object({ rooms: z.array(z.object({ roomId: z.string() })) });
const resultSchema = z.object({
  connected: z.number(),
  sent: z.number(),
  acknowledged: z.number(),
  refused: z.record(z.string(), z.number()),
  expected: z.number(),
  delivered: z.number(),
  lost: z.number(),
  repeated: z.number(),
  outOfOrder: z.number(),
  wrongSeq: z.number(),
  damaged: z.number(),
  acknowledgementMs: z.object({ p50: z.number(), p99: z.number(), max: z.number() }),
  deliveryMs: z.object({ p50: z.number(), p99: z.number(), max: z.number() }),
  generatorShare: z.number(),
  roomsLeft: z.array(z.string()),
  sound: z.boolean(),
});

const nothingWrong = {
  lost: 0,
  repeated: 0,
  outOfOrder: 0,
  wrongSeq: 0,
  damaged: 0,
  roomsLeft: [],
  sound: true,
};

describe("parley bench", () => {
  let server: SpawnedServer;

  beforeAll(async () => {
    server = await spawnServer();
  });

  afterAll(() => server[Symbol.asyncDispose]());

  function startBench(words: readonly string[], environment: Record<string, string> = {}): Promise<TestProcess> {
    const { auth, api } = server.config;
    const secrets = { PARLEY_AUTH_SECRET: auth.secret, PARLEY_API_KEYS: api.keys[0] };
    return spawnNode([main, "bench", "--url", server.url, "--api-url", server.internalUrl, ...words], {
      folder: server.folder,
      environment: { ...secrets, ...environment },
    });
  }

  async function runBench(words: readonly string[], environment?: Record<string, string>) {
    await using bench = await startBench(words, environment);
    const { code } = await bench.waitForExit(endLimitMs);
    return { code, stdout: bench.stdout, stderr: bench.stderr };
  }

  async function roomsThere(): Promise<readonly string[]> {
    return roomsSchema.parse(await server.api("GET", "/rooms")).rooms.map(({ roomId }) => roomId);
  }

  // Whether the machine was quick enough is not judged here; whether the numbers add up is.
  test("puts a fixed rate on a node, over each of its addresses, and counts what comes back", async () => {
    const { port } = new URL(server.url);
    const words = ["--members", "40", "--rooms", "4", "--rate", "50", "--seconds", "2", "--json"];
    const { code, stdout } = await runBench(["--url", `http://localhost:${port}`, ...words]);
    const result = resultSchema.parse(JSON.parse(stdout));
    expect(result).toMatchObject({ ...nothingWrong, connected: 40, sent: 100, acknowledged: 100 });
    expect(result).toMatchObject({ expected: 1_000, delivered: 1_000 });
    for (const { p50, p99, max } of [result.acknowledgementMs, result.deliveryMs]) {
      expect(p50).toBeGreaterThan(0);
      expect(p99).toBeGreaterThanOrEqual(p50);
      expect(max).toBeGreaterThanOrEqual(p99);
    }
    expect(result.generatorShare).toBeGreaterThan(0);
    expect(code).toBe(0);
    expect(await roomsThere()).toEqual([]);
  });

  test("speaks TLS to a balancer whose certificate it believes, and says what to do about one that it does not", async () => {
    await using folder = await createTemporaryFolder();
    const files = await createCertificate(folder.path);
    await using proxy = await startTlsProxy(Number(new URL(server.url).port), files);
    const url = `wss://127.0.0.1:${proxy.port}`;
    const nodes = ["--url", url, "--url", server.url.replace("http:", "ws:")];
    const words = ["--members", "20", "--rooms", "4", "--rate", "50", "--seconds", "2", "--json"];
    const believed = { NODE_EXTRA_CA_CERTS: files.certificate };
    const { code, stdout } = await runBench([...nodes, ...words], believed);
    const result = resultSchema.parse(JSON.parse(stdout));
    expect(result).toMatchObject({ ...nothingWrong, connected: 20, sent: 100, acknowledged: 100, delivered: 500 });
    expect(code).toBe(0);
    const doubtful = await runBench(["--url", url]);
    expect(doubtful).toMatchObject({ code: 1, stderr: expect.stringContaining("NODE_EXTRA_CA_CERTS") });
    const plain = await runBench(["--url", server.url.replace("http:", "https:")]);
    expect(plain).toMatchObject({ code: 1, stderr: expect.stringContaining("speaks no TLS") });
  });

  test("keeps messages in flight instead, and names the limits to raise when sends are refused", async () => {
    const { code, stdout } = await runBench([
      ...["--members", "6", "--rooms", "1", "--in-flight", "300", "--seconds", "2", "--json"],
    ]);
    const result = resultSchema.parse(JSON.parse(stdout));
    const { sent, acknowledged, refused, delivered } = result;
    expect(result).toMatchObject(nothingWrong);
    expect(refused["rate_limited"]).toBeGreaterThan(0);
    expect(acknowledged + (refused["rate_limited"] ?? 0)).toBe(sent);
    expect(delivered).toBe(acknowledged * 6);
    expect(stdout).toContain('"sends_refused"');
    expect(code).toBe(0);
    const table = await runBench(["--members", "6", "--rooms", "1", "--in-flight", "300", "--seconds", "1"]);
    expect(table.stdout).toMatch(/^warning: sends_refused: .*raise PARLEY_LIMITS_EVENTS_PER_SECOND/m);
  });

  test("says what is wrong with the secret, the key and the addresses, and makes no room then", async () => {
    const wrongSecret = await runBench([], { PARLEY_AUTH_SECRET: "xP3vX9qLw7Zr2TnB8sYd5Gh1JmC6fAe5" });
    expect(wrongSecret).toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining("PARLEY_AUTH_SECRET") });
    const wrongKey = await runBench(["--key", "another-key-altogether"]);
    expect(wrongKey).toMatchObject({ code: 1, stderr: expect.stringContaining("PARLEY_API_KEYS") });
    const wrongPort = await runBench(["--url", server.internalUrl]);
    expect(wrongPort).toMatchObject({ code: 1, stderr: expect.stringContaining("internal port") });
    // Port 1 of loopback: nothing listens there.
    const nobody = await runBench(["--url", "http://127.0.0.1:1"]);
    expect(nobody).toMatchObject({ code: 1, stderr: expect.stringContaining("http://127.0.0.1:1 lets nobody in") });
    const noApi = await runBench(["--api-url", "http://127.0.0.1:1"]);
    expect(noApi).toMatchObject({ code: 1, stderr: expect.stringContaining("--api-url") });
    expect(await roomsThere()).toEqual([]);
  });

  test("stops when it is interrupted, and takes its rooms with it", async () => {
    await using bench = await startBench(["--seconds", "1800"]);
    await eventually("a room with messages", async () => {
      const { rooms } = z
        .object({ rooms: z.array(z.object({ head: z.number() })) })
        .parse(await server.api("GET", "/rooms"));
      return rooms.some(({ head }) => head > 2) || undefined;
    });
    expect(await bench.stop("SIGINT")).toEqual({ code: 1, signal: null });
    expect(bench.stderr).toContain("stopped before the end");
    expect(await roomsThere()).toEqual([]);
  });
});
