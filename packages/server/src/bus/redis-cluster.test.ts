import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually } from "../../../../test/support/eventually.ts";
import type { RedisServer } from "../../../../test/support/redis.ts";
import { RedisBusNetwork } from "../../../../test/support/redis-bus.ts";
import { RedisCluster } from "../../../../test/support/redis-cluster.ts";
import { type LogId, logId } from "../core/log.ts";
import { busContract, hintOf, Recorder } from "./bus.contract.ts";
import type { Bus } from "./bus.ts";
import { slotOf } from "./redis-channels.ts";

let cluster: RedisCluster;

beforeAll(async () => {
  cluster = await RedisCluster.start(3, true);
}, 60_000);

afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
});

function networkOn(servers: () => readonly RedisServer[]): RedisBusNetwork {
  return new RedisBusNetwork({
    mode: "cluster",
    // One that answers is enough.
    urls: ["redis://127.0.0.1:1", ...cluster.urls.slice(1, 2)],
    ports: () => servers().map(({ port }) => port),
  });
}

const rooms = Array.from({ length: 300 }, (_, n) => logId("default", `room-${n}`));

async function twoNodes(network: RedisBusNetwork): Promise<{ first: Bus; received: Recorder }> {
  const received = new Recorder();
  const first = network.join("node-1");
  const second = network.join("node-2");
  await first.start(new Recorder());
  await second.start(received);
  for (const log of rooms) second.follow(log);
  await network.settle();
  return { first, received };
}

/**
 * The rooms that the other node hears of, once it hears of all: a node that has not yet heard of a slot's new owner finds
 * it out by what it tells there in vain.
 */
async function heardRooms(network: RedisBusNetwork, first: Bus, received: Recorder): Promise<readonly LogId[]> {
  return eventually("every room to be heard of", async () => {
    received.hints.length = 0;
    for (const log of rooms) first.hint(hintOf(log, 1));
    await network.settle();
    const heard = received.hints.map(({ log }) => log).toSorted();
    return heard.length >= rooms.length ? heard : undefined;
  });
}

busContract("redis cluster", async () => networkOn(() => cluster.shards));

test("a slot that moves takes its channels with it", { timeout: 90_000 }, async () => {
  await using network = networkOn(() => cluster.shards);
  const { first, received } = await twoNodes(network);
  const [from, to] = cluster.shards;
  const [moved] = rooms.filter((log) => slotOf(network.channels.log(log)) < 5_000);
  if (from === undefined || to === undefined || moved === undefined) throw new Error("there is nothing to move");
  const slot = `${slotOf(network.channels.log(moved))}`;
  await moveSlot(slot, from, to);
  await network.settle();
  await eventually("the bus to be up", () => received.states.at(-1) === "up" || undefined);
  expect(await heardRooms(network, first, received)).toEqual(rooms.toSorted());
  await moveSlot(slot, to, from);
  await network.settle();
  expect(await heardRooms(network, first, received)).toEqual(rooms.toSorted());
});

/** As `redis-cli --cluster reshard` does, for a slot without keys. */
async function moveSlot(slot: string, from: RedisServer, to: RedisServer): Promise<void> {
  const [source, target] = [String(await from.command("CLUSTER", "MYID")), String(await to.command("CLUSTER", "MYID"))];
  // Why: only who imports a slot gets an epoch by which the others believe it.
  await to.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source);
  await from.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target);
  for (const server of [to, from]) await server.command("CLUSTER", "SETSLOT", slot, "NODE", target);
}

test("[FEED-2] the bus is down while nobody has a slot, also when the cluster goes on without", {
  timeout: 90_000,
}, async () => {
  await using own = await RedisCluster.start();
  await using network = new RedisBusNetwork({
    mode: "cluster",
    urls: own.urls,
    ports: () => own.shards.map(({ port }) => port),
  });
  const { first, received } = await twoNodes(network);
  const everywhere = (...words: string[]) => Promise.all(own.shards.map((server) => server.command(...words)));
  await everywhere("CONFIG", "SET", "cluster-require-full-coverage", "no");
  await everywhere("CLUSTER", "DELSLOTS", "0");
  await eventually("the bus to be down", () => received.states.at(-1) === "down" || undefined);
  await own.shards[0]?.command("CLUSTER", "ADDSLOTS", "0");
  await eventually("the bus to be up", () => received.states.at(-1) === "up" || undefined);
  expect(await heardRooms(network, first, received)).toEqual(rooms.toSorted());
});

test("[FEED-2] a master that gives its place to its replica and lives on is left", { timeout: 90_000 }, async () => {
  const { shards, replica } = cluster;
  const [master, ...others] = shards;
  if (master === undefined || replica === null) throw new Error("there is no such shard");
  let servers: readonly RedisServer[] = shards;
  await using network = networkOn(() => servers);
  const { first, received } = await twoNodes(network);
  // Each of the two nodes has two connections to a master, and one to whomever it asks where the masters are.
  const isUsed = async (server: RedisServer) =>
    String(await server.command("CLIENT", "LIST")).split("name=parley").length - 1 >= 4;
  for (const [from, to] of [
    [master, replica],
    [replica, master],
  ] as const) {
    expect(await isUsed(from)).toBe(true);
    await to.command("CLUSTER", "FAILOVER");
    await eventually("the former master to be left", async () => !(await isUsed(from)) || undefined);
    servers = [to, ...others];
    await eventually("the bus to be up", () => received.states.at(-1) === "up" || undefined);
    await network.settle();
    expect(await heardRooms(network, first, received)).toEqual(rooms.toSorted());
  }
});

test("[FEED-2] a shard that was killed comes back, or its replica in its place", { timeout: 90_000 }, async () => {
  const { shards, replica } = cluster;
  const [first, , last] = shards;
  if (first === undefined || last === undefined || replica === null) throw new Error("there is no such shard");
  let servers: readonly RedisServer[] = shards;
  await using network = networkOn(() => servers);
  const { first: node, received } = await twoNodes(network);
  await last.kill();
  await eventually("its loss to be told", () => received.states.at(-1) === "down" || undefined);
  await last.restart();
  await eventually("the bus to be up again", () => received.states.at(-1) === "up" || undefined);
  await network.settle();
  expect(await heardRooms(network, node, received)).toEqual(rooms.toSorted());

  await first.kill();
  await eventually("its loss to be told", () => received.states.at(-1) === "down" || undefined);
  servers = [replica, ...shards.slice(1)];
  await eventually("the bus to be up again", () => received.states.at(-1) === "up" || undefined);
  await network.settle();
  expect(await heardRooms(network, node, received)).toEqual(rooms.toSorted());
});
