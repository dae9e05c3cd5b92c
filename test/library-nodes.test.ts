import { Manager, type Socket } from "socket.io-client";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { eventually } from "./support/eventually.ts";
import { PostgresServer } from "./support/postgres.ts";
import { spawnNode, type TestProcess } from "./support/process.ts";
import { RedisServer } from "./support/redis.ts";
import { RedisCluster } from "./support/redis-cluster.ts";
import { RedisSentinels } from "./support/redis-sentinel.ts";

// An app's own namespace on two nodes, each a process of its own, joined by the official adapter.

// Each starts servers, and some wait for times that Socket.IO gives.
vi.setConfig({ testTimeout: 180_000 });

let postgres: PostgresServer;
beforeAll(async () => {
  postgres = await PostgresServer.start();
}, 120_000);
afterAll(() => postgres[Symbol.asyncDispose]());

interface AppNode extends AsyncDisposable {
  readonly url: string;
  readonly child: TestProcess;
  /** Errors: rejects with what the call said. */
  call(call: string, values?: object): Promise<unknown>;
}

async function startAppNode(bus: { url: readonly string[]; mode: string }): Promise<AppNode> {
  const options = {
    secret: "kP3vX9qLw7Zr2TnB8sYd5Gh1JmC6fAe4",
    store: { url: postgres.url("library_nodes") },
    bus: { ...bus, secret: "m4Yw8Zt1Qx6Lr3Vn9Kc5Jd7Hb2Gf0Ps8", prefix: "shop" },
  };
  const child = await spawnNode(["test/support/app-node-process.ts", JSON.stringify(options)]);
  const [, url = ""] = await child.waitForLine(/listens at (\S+)/);
  return {
    url,
    child,
    async call(call, values) {
      const response = await fetch(url, { method: "POST", body: JSON.stringify({ call, ...values }) });
      const text = await response.text();
      if (!response.ok) throw new Error(text);
      return JSON.parse(text);
    },
    [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
  };
}

interface Client extends Disposable {
  readonly socket: Socket;
  readonly said: string[];
}

/** In `/chat`, and there in the room `lobby`. */
async function joinChat({ url }: AppNode, name: string): Promise<Client> {
  const manager = new Manager(url, { transports: ["websocket"], reconnection: false, forceNew: true });
  const socket = manager.socket("/chat", { auth: { name } });
  const said: string[] = [];
  socket.on("said", (text: string, bytes: Uint8Array) => said.push(`${text} ${Buffer.from(bytes).toString()}`));
  socket.on("asked", (text: string, answer: (text: string) => void) => answer(`${name}: ${text}`));
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("connect_error", reject);
  });
  await socket.emitWithAck("enter", "lobby");
  return { socket, said, [Symbol.dispose]: () => void manager.engine.close() };
}

interface RedisKind {
  readonly kind: "single" | "sentinel" | "cluster";
  readonly start: () => Promise<RedisServer | RedisSentinels | RedisCluster>;
}

const kinds: readonly RedisKind[] = [
  { kind: "single", start: () => RedisServer.start() },
  { kind: "sentinel", start: () => RedisSentinels.start() },
  { kind: "cluster", start: () => RedisCluster.start(3, true) },
];

/** A server is killed; it comes back with nothing in it, or another takes its place. */
async function killMaster(redis: RedisServer | RedisSentinels | RedisCluster): Promise<void> {
  if (redis instanceof RedisServer) await redis.restart();
  else if (redis instanceof RedisSentinels) await redis.master.kill();
  else await redis.shards[0]?.kill();
}

const namesSchema = z.array(z.object({ name: z.string() }));

async function namesAt(node: AppNode, room?: string): Promise<string> {
  const found = namesSchema.parse(await node.call("fetchSockets", room === undefined ? {} : { room }));
  return found
    .map(({ name }) => name)
    .toSorted()
    .join();
}

let round = 0;

function heardBy({ said }: Client, text: string): readonly string[] {
  return said.filter((line) => line.startsWith(text));
}

/** Until both nodes see both, and each reaches the room: an adapter subscribes after it was told of a namespace or room. */
async function meet(one: AppNode, two: AppNode, ann: Client, ben: Client): Promise<void> {
  round += 1;
  const text = `hello ${round}`;
  for (const [node, other] of [
    [one, ben],
    [two, ann],
  ] as const) {
    await eventually("both nodes", async () => (await namesAt(node)) === "ann,ben" || undefined);
    await eventually("the other's room", async () => {
      await node.call("emit", { room: "lobby", text });
      return heardBy(other, text).length > 0 || undefined;
    });
  }
}

/** Two nodes, with Ann at the one and Ben at the other. */
async function startPair(bus: Parameters<typeof startAppNode>[0]) {
  await using opening = new AsyncDisposableStack();
  const one = opening.use(await startAppNode(bus));
  const two = opening.use(await startAppNode(bus));
  for (const node of [one, two]) await node.call("open");
  const ann = opening.use(await joinChat(one, "ann"));
  const ben = opening.use(await joinChat(two, "ben"));
  await meet(one, two, ann, ben);
  const opened = opening.move();
  return { one, two, ann, ben, [Symbol.asyncDispose]: () => opened.disposeAsync() };
}

/** Everything that Socket.IO does across nodes. */
async function useAll(one: AppNode, two: AppNode, ann: Client, ben: Client): Promise<void> {
  round += 1;
  const text = `round ${round}`;
  for (const node of [one, two]) {
    const spoken = `${text} by ${node.child.pid}`;
    await node.call("emit", { room: "lobby", text: spoken });
    for (const client of [ann, ben]) {
      await eventually("both to hear", () => heardBy(client, spoken).length > 0 || undefined);
      expect(heardBy(client, spoken)).toEqual([`${spoken} ${spoken}`]);
    }
    expect(
      z
        .array(z.string())
        .parse(await node.call("ask", { room: "lobby", text }))
        .toSorted(),
    ).toEqual([`ann: ${text}`, `ben: ${text}`]);
    await node.call("socketsJoin", { from: "lobby", room: text });
    await eventually("both to be in it", async () => (await namesAt(node, text)) === "ann,ben" || undefined);
  }
  await one.call("serverSideEmit", { text });
  await eventually("the other node", async () => String(await two.call("heard")).includes(text) || undefined);
  expect(String(await one.call("heard"))).not.toContain(text);
  expect(await one.call("serverSideAsk", { text })).toEqual([`${two.child.pid}: ${text}`]);
}

describe.each(kinds)("two nodes of an app on Redis ($kind)", ({ kind, start }) => {
  test("its own namespace works across them, also after a master was lost", async () => {
    await using redis = await start();
    const url = redis instanceof RedisServer ? [redis.url] : redis.urls;
    await using pair = await startPair({ url, mode: kind });
    const { one, two, ann, ben } = pair;
    await useAll(one, two, ann, ben);
    for (let time = 0; time < 2; time += 1) {
      await killMaster(redis);
      // Both may still believe that all is well, or know of each other no longer.
      await eventually("each to reach the other", async () => {
        await one.call("serverSideEmit", { text: `after ${time}` });
        return String(await two.call("heard")).includes(`after ${time}`) || undefined;
      });
      await meet(one, two, ann, ben);
      await useAll(one, two, ann, ben);
      if (kind !== "single") break;
    }
    const ended = new Promise((resolve) => ben.socket.once("disconnect", resolve));
    await one.call("disconnectSockets", { room: "lobby" });
    expect(await ended).toBe("io server disconnect");
    for (const node of [one, two]) expect(await node.child.stop()).toEqual({ code: 0, signal: null });
  });
});

describe("the adapter", () => {
  test("connects when the app first asks for its namespaces, under the bus's prefix, and goes with the node", async () => {
    await using redis = await RedisServer.start();
    await using node = await startAppNode({ url: [redis.url], mode: "single" });
    const channels = async () => z.array(z.string()).parse(await redis.command("PUBSUB", "SHARDCHANNELS"));
    const ofAdapter = async () => (await channels()).filter((name) => name.includes("/chat"));
    await eventually("the bus's own channels", async () => (await channels()).length > 0 || undefined);
    expect(await ofAdapter()).toEqual([]);
    await node.call("open");
    await eventually("its channels", async () => (await ofAdapter()).length === 2 || undefined);
    for (const name of await channels()) expect(name).toMatch(/^shop:/);
    await node.child.stop();
    await eventually("its channels to be gone", async () => (await channels()).length === 0 || undefined);
  });

  test("without Redis each node serves its own clients, calls end in time, and nothing ends the process", async () => {
    await using redis = await RedisServer.start();
    await using pair = await startPair({ url: [redis.url], mode: "single" });
    const { one, two, ann, ben } = pair;
    await redis.kill();
    await one.call("emit", { room: "lobby", text: "alone" });
    await eventually("Ann to hear", () => heardBy(ann, "alone").length > 0 || undefined);
    expect(heardBy(ben, "alone")).toEqual([]);
    await Promise.all([
      expect(one.call("fetchSockets")).rejects.toThrow("timeout reached"),
      expect(one.call("serverSideAsk", { text: "why" })).rejects.toThrow("timeout reached"),
      expect(one.call("ask", { room: "lobby", text: "why" })).rejects.toThrow("timed out"),
      one.call("socketsJoin", { from: "lobby", room: "other" }),
    ]);
    await redis.restart();
    await meet(one, two, ann, ben);
    await useAll(one, two, ann, ben);
  });

  test("an app's listener that throws at what another node tells is logged, and costs nobody a connection", async () => {
    await using redis = await RedisServer.start();
    await using pair = await startPair({ url: [redis.url], mode: "single" });
    const { one, two, ann, ben } = pair;
    for (const text of ["unbearable", "bearable"]) await one.call("serverSideEmit", { text });
    await eventually("the next one", async () => String(await two.call("heard")).includes("bearable") || undefined);
    await two.child.waitForLine(/a listener of the app failed.*app_adapter_failed/);
    expect(two.child.stdout).not.toContain("app_adapter_down");
    for (const client of [ann, ben]) expect(client.socket.connected).toBe(true);
  });

  test("what cannot be written down, and forged messages, end no process", async () => {
    await using redis = await RedisServer.start();
    await using pair = await startPair({ url: [redis.url], mode: "single" });
    const { one, two, ann, ben } = pair;
    for (const forged of ["{", '{"uid":"x","nsp":"/chat","type":3}', '{"uid":"x","nsp":"/chat","type":6,"data":{}}'])
      await redis.command("SPUBLISH", "shop:io#/chat#", forged);
    await two.call("spoil");
    await expect(one.call("fetchSockets")).rejects.toThrow("timeout reached");
    expect(two.child.stdout).toContain("app_adapter_failed");
    for (const client of [ann, ben]) expect(client.socket.connected).toBe(true);
    await one.call("emit", { room: "lobby", text: "still here" });
    await eventually("Ben to hear", () => heardBy(ben, "still here").length > 0 || undefined);
  });
});
