import { randomBytes } from "node:crypto";
import { setImmediate, setTimeout } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { eventually } from "../../../../test/support/eventually.ts";
import { RedisServer } from "../../../../test/support/redis.ts";
import { busSecret, RedisBusNetwork } from "../../../../test/support/redis-bus.ts";
import { TcpProxy } from "../../../../test/support/tcp-proxy.ts";
import { logId } from "../core/log.ts";
import { hintOf, Recorder, room } from "./bus.contract.ts";
import type { Bus } from "./bus.ts";
import type { RedisAddress, RedisBusSettings } from "./redis.ts";
import { Seal } from "./redis-seal.ts";

let server: RedisServer;
let network: RedisBusNetwork;

beforeEach(async () => {
  server = await RedisServer.start();
  network = new RedisBusNetwork({ mode: "single", urls: [server.url], ports: () => [server.port] });
});

afterEach(async () => {
  await network[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

async function twoNodes(
  change: Partial<RedisBusSettings> = {},
): Promise<{ first: Bus; second: Bus; received: Recorder }> {
  const received = new Recorder();
  const first = network.join("node-1");
  const second = network.join("node-2", change);
  await first.start(new Recorder());
  await second.start(received);
  second.follow(room);
  await network.settle();
  return { first, second, received };
}

async function untilState(received: Recorder, state: "up" | "down"): Promise<void> {
  await eventually(`the bus to be ${state}`, () => received.states.at(-1) === state || undefined);
}

function addressOf(url: string): RedisAddress {
  const { hostname, port } = new URL(url);
  return { host: hostname, port: Number(port) };
}

test("[FEED-2] after a restart of Redis everything is subscribed again, and until then the bus says that it is down", async () => {
  const { first, received } = await twoNodes();
  expect(received.states).toEqual(["down", "up"]);
  await server.kill();
  await untilState(received, "down");
  await server.restart();
  await untilState(received, "up");
  expect(received.states).toEqual(["down", "up", "down", "up"]);
  await network.settle();
  first.hint(hintOf(room, 1));
  await network.settle();
  expect(received.hints).toEqual([hintOf(room, 1)]);
});

test("FLUSHALL takes nothing away", async () => {
  const { first, received } = await twoNodes();
  await server.flush();
  first.hint(hintOf(room, 1));
  await network.settle();
  expect(received.hints).toEqual([hintOf(room, 1)]);
  expect(received.states).toEqual(["down", "up"]);
});

test("while Redis is away for long, nothing is kept and nothing is thrown", { timeout: 60_000 }, async () => {
  const { first, second, received } = await twoNodes();
  await server.kill();
  await untilState(received, "down");
  const before = network.dropped("node-2").length;
  const until = performance.now() + 10_000;
  let published = 0;
  while (performance.now() < until) {
    for (let n = 0; n < 20; n += 1) second.hint(hintOf(room, n + 1, ["x".repeat(1_000)]));
    published += 20;
    second.follow(logId("default", `room-${published}`));
    second.unfollow(logId("default", `room-${published}`));
    // A node's load over the time that is to be shown, not a wait for something.
    await setTimeout(20);
  }
  expect(network.dropped("node-2").length - before).toBe(published);
  await server.restart();
  await untilState(received, "up");
  await network.settle();
  first.hint(hintOf(room, 1));
  await network.settle();
  expect(received.hints).toEqual([hintOf(room, 1)]);
});

test("a Redis that stands still is noticed, takes a bounded number of bytes, and is used again", async () => {
  const { first, second, received } = await twoNodes();
  server.pause();
  let taken = 0;
  const since = performance.now();
  while (received.states.at(-1) === "up" && performance.now() - since < 20_000) {
    const before = network.dropped("node-2").length;
    for (let n = 0; n < 100; n += 1) second.hint(hintOf(room, 1, ["x".repeat(4_000)]));
    taken += 100 - (network.dropped("node-2").length - before);
    await setImmediate();
  }
  expect(performance.now() - since).toBeLessThan(5_000);
  // Twice its bound: what was on its way to Redis as it stopped is taken, too.
  expect(taken * 4_000).toBeLessThan(2 * 8_388_608);
  server.resume();
  await untilState(received, "up");
  await network.settle();
  received.hints.length = 0;
  first.hint(hintOf(room, 7));
  await network.settle();
  expect(received.hints).toEqual([hintOf(room, 7)]);
});

test("a connection that brings nothing any more is noticed, and replaced", async () => {
  await using proxy = await TcpProxy.before(server.url);
  const { first, received } = await twoNodes({ addresses: [addressOf(proxy.url)] });
  const since = performance.now();
  for (const link of proxy.links) link.setPace("stalled");
  await untilState(received, "down");
  expect(performance.now() - since).toBeLessThan(5_000);
  await untilState(received, "up");
  await network.settle();
  first.hint(hintOf(room, 1));
  await network.settle();
  expect(received.hints).toEqual([hintOf(room, 1)]);
});

test("either connection counts: the loss of one is told, and both are made anew", async () => {
  await using proxy = await TcpProxy.before(server.url);
  const { received } = await twoNodes({ addresses: [addressOf(proxy.url)] });
  for (const place of [0, 1]) {
    const told = received.states.length;
    proxy.links[place]?.cut();
    await eventually("the loss to be told", () => received.states.length > told || undefined);
    await untilState(received, "up");
  }
  expect(received.states).toEqual(["down", "up", "down", "up", "down", "up"]);
});

test("garbage and forged messages on every kind of channel are counted and change nothing", async () => {
  const { first, received } = await twoNodes();
  const inbox = logId("default", "@user:anna");
  first.follow(inbox);
  await network.settle();
  const { channels } = network;
  const targets = [channels.log(room), channels.node("node-2"), ...channels.digests()];
  const message = { kind: "hint" as const, hint: hintOf(room, 1) };
  for (const channel of targets) {
    const packets = [
      Buffer.alloc(0),
      Buffer.of(1),
      randomBytes(40),
      randomBytes(100_000),
      Buffer.from('{"kind":"hint"}'),
      new Seal("not the secret", "node-3").close(channel, message),
      new Seal(busSecret, "node-3").close(`${channel}-elsewhere`, message),
    ];
    for (const packet of packets) await server.command("SPUBLISH", channel, packet);
  }
  await server.command("SPUBLISH", channels.log(inbox), randomBytes(40));
  await network.settle();
  const dropped = network.dropped("node-2");
  expect(dropped.filter((reason) => reason === "garbage")).toHaveLength(targets.length * 3);
  expect(dropped.filter((reason) => reason === "forged")).toHaveLength(targets.length * 4);
  expect(received).toMatchObject({ hints: [], signals: [], digests: [], messages: [], states: ["down", "up"] });
  // The digest channels are everyone's.
  expect(network.dropped("node-1")).toHaveLength(channels.digests().length * 7 + 1);
  first.hint(hintOf(room, 1));
  await network.settle();
  expect(received.hints).toEqual([hintOf(room, 1)]);
});

test("5,000 followed rooms are subscribed anew in batches, within seconds", { timeout: 60_000 }, async () => {
  const { first, second, received } = await twoNodes();
  const rooms = Array.from({ length: 5_000 }, (_, n) => logId("default", `room-${n}`));
  for (const log of rooms) second.follow(log);
  await network.settle();
  await server.kill();
  await untilState(received, "down");
  await server.restart();
  await untilState(received, "up");
  const statistics = String(await server.command("INFO", "commandstats"));
  const calls = Number(/cmdstat_ssubscribe:calls=(\d+)/.exec(statistics)?.[1]);
  expect(calls).toBeGreaterThanOrEqual(10);
  expect(calls).toBeLessThan(40);
  // Up means subscribed: what is told now arrives.
  for (const log of rooms) first.hint(hintOf(log, 1));
  await network.settle();
  expect(new Set(received.hints.map(({ log }) => log)).size).toBe(rooms.length);
});

test("a node starts without Redis, and uses it when it comes", async () => {
  await server.kill();
  const received = new Recorder();
  const bus = network.join("node-1");
  await bus.start(received);
  bus.follow(room);
  bus.hint(hintOf(room, 1));
  expect(received.states).toEqual(["down"]);
  expect(network.troubles("node-1").length).toBeGreaterThan(0);
  await server.restart();
  await untilState(received, "up");
  await network.subscribed();
});

test("a password opens Redis, and a wrong one is said to be the trouble", async () => {
  await using locked = await RedisServer.start({ password: "s3same" });
  const options = { mode: "single", urls: [locked.url], ports: () => [locked.port], password: "s3same" } as const;
  await using inside = new RedisBusNetwork(options);
  const received = new Recorder();
  await inside.join("node-1").start(received);
  expect(received.states).toEqual(["down", "up"]);
  const refused = new Recorder();
  const login = { username: undefined, password: "wrong", tls: null };
  await inside.join("node-2", { login }).start(refused);
  expect(refused.states).toEqual(["down"]);
  expect(String(inside.troubles("node-2")[0])).toContain("WRONGPASS");
});

test("a login that may not publish keeps the bus down, and Redis says which command it lacks", async () => {
  const may = ["+hello", "+auth", "+client|setname", "+client|info", "+ssubscribe", "+sunsubscribe"];
  await server.command("ACL", "SETUSER", "few", "on", ">s3same", "resetchannels", "&test*", "-@all", ...may);
  const login = { username: "few", password: "s3same", tls: null };
  const other = network.join("node-1");
  const bus = network.join("node-2", { login });
  const received = new Recorder();
  const heard = new Recorder();
  await other.start(heard);
  await bus.start(received);
  other.follow(room);
  const troubles = network.troubles("node-2");
  await eventually("the next attempts", () => troubles.length >= 4 || undefined);
  expect(troubles.map(String).filter((trouble) => !/NOPERM.*'spublish'/i.test(trouble))).toEqual([]);
  expect(received.states).toEqual(["down"]);
  await server.command("ACL", "SETUSER", "few", "+spublish");
  await untilState(received, "up");
  await network.settle();
  bus.hint(hintOf(room, 1));
  await network.settle();
  expect(heard.hints).toEqual([hintOf(room, 1)]);
  await server.command("ACL", "SETUSER", "few", "-spublish");
  bus.hint(hintOf(room, 2));
  await untilState(received, "down");
  const told = troubles.length;
  await eventually("the next attempts", () => troubles.length >= told + 4 || undefined);
  expect(received.states).toEqual(["down", "up", "down"]);
});

test("a login that may not ask for its connection's state keeps its connections: a refusal is an answer", async () => {
  const may = ["+hello", "+auth", "+client|setname", "+ssubscribe", "+sunsubscribe", "+spublish"];
  await server.command("ACL", "SETUSER", "few", "on", ">s3same", "resetchannels", "&test*", "-@all", ...may);
  const received = new Recorder();
  const login = { username: "few", password: "s3same", tls: null };
  await network.join("node-1", { login }).start(received);
  await eventually("some refusals", async () => {
    const statistics = String(await server.command("INFO", "commandstats"));
    return Number(/cmdstat_client\|info:.*rejected_calls=(\d+)/.exec(statistics)?.[1] ?? 0) >= 6 || undefined;
  });
  expect(received.states).toEqual(["down", "up"]);
});

test("two clusters on one Redis hear nothing of each other", async () => {
  const { first, received } = await twoNodes();
  await using stranger = new RedisBusNetwork({ mode: "single", urls: [server.url], ports: () => [server.port] });
  const heard = new Recorder();
  const bus = stranger.join("node-1");
  await bus.start(heard);
  bus.follow(room);
  await stranger.settle();
  first.hint(hintOf(room, 1));
  await network.settle();
  await stranger.settle();
  expect([received.hints.length, heard.hints.length]).toEqual([1, 0]);
});
