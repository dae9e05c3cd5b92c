import { describe, expect, test } from "vitest";
import type { SimulatedClient } from "../../../../test/support/simulated-client.ts";
import { World, type WorldOptions } from "../../../../test/support/simulation.ts";
import { logId } from "./log.ts";
import type { ParleyNode } from "./node.ts";
import { createOperations } from "./server-api.ts";

const hintlessMs = 2_000;
const busDownMs = 300;
/** One way to the simulated store and back, twice: the journal, then the entries. */
const storeMs = 12;

interface Cluster {
  readonly world: World;
  readonly sender: ParleyNode;
  readonly reader: SimulatedClient;
}

/** A sender's node, and a client that reads `alpha` on another one. */
async function createCluster(options: WorldOptions = {}): Promise<Cluster> {
  const world = new World({ openRooms: ["alpha", "beta"], ...options });
  const sender = await world.startNode();
  const home = await world.startNode();
  const reader = world.addClient("reader");
  await world.until(reader.connect(home));
  await world.until(reader.join("alpha"));
  await world.clock.advance(3_000);
  return { world, sender, reader };
}

let sent = 0;

/** Commits one message, and gives when it was acknowledged. */
async function send({ world }: Cluster, node: ParleyNode, room = "alpha"): Promise<number> {
  const user = { tenant: "default", id: "writer" };
  await world.until(node.rooms.send(user, { roomId: room, text: "hello", clientId: `c${(sent += 1)}` }));
  return world.clock.now();
}

/** Milliseconds from `since` until the reader has entry `seq` of `alpha`. */
async function delayOf({ world, reader }: Cluster, seq: number, since: number): Promise<number> {
  await world.clock.advance(10_000);
  const delivery = reader.transcript.deliveries.find((entry) => entry.room === "alpha" && entry.seq === seq);
  expect(reader.transcript.faults).toEqual([]);
  if (delivery === undefined) throw new Error(`entry ${seq} was not delivered`);
  return delivery.at - since;
}

describe("a hint that does not come", () => {
  test("[FEED-2] lost: found out by the next digest", async () => {
    const cluster = await createCluster();
    cluster.world.network.faults.lost = 1;
    const committedAt = await send(cluster, cluster.sender);
    cluster.world.network.faults.lost = 0;
    const delay = await delayOf(cluster, 1, committedAt);
    expect(delay).toBeGreaterThan(0);
    expect(delay).toBeLessThanOrEqual(hintlessMs);
  });

  test("[FEED-2] lost with every digest and signal: found out by the journal", async () => {
    const cluster = await createCluster();
    cluster.world.network.faults.lost = 1;
    expect(await delayOf(cluster, 1, await send(cluster, cluster.sender))).toBeLessThanOrEqual(hintlessMs);
  });

  test("[FEED-2] repeated, late and out of order: delivered once, in order", async () => {
    const cluster = await createCluster({ seed: 7 });
    cluster.world.network.faults.repeated = 0.8;
    cluster.world.network.faults.delayMaxMs = 1_500;
    let last = 0;
    for (let count = 0; count < 20; count += 1) last = await send(cluster, cluster.sender);
    expect(await delayOf(cluster, 20, last)).toBeLessThanOrEqual(hintlessMs);
    expect(cluster.reader.transcript.deliveries.map(({ seq }) => seq)).toEqual(
      Array.from({ length: 20 }, (_, index) => index + 1),
    );
  });

  test("[FEED-2] the node died between commit and hint, at any moment of its digest's second", async () => {
    for (let offsetMs = 0; offsetMs < 1_000; offsetMs += 90) {
      const cluster = await createCluster();
      await cluster.world.clock.advance(offsetMs);
      cluster.world.cutBus(cluster.sender);
      const committedAt = await send(cluster, cluster.sender);
      cluster.world.kill(cluster.sender);
      expect(await delayOf(cluster, 1, committedAt), `${offsetMs} ms after`).toBeLessThanOrEqual(hintlessMs);
    }
  });

  test("[FEED-2] the node died so, just after the clock was set back", async () => {
    const cluster = await createCluster();
    cluster.world.clock.set(-3_600_000);
    cluster.world.cutBus(cluster.sender);
    const committedAt = await send(cluster, cluster.sender);
    cluster.world.kill(cluster.sender);
    expect(await delayOf(cluster, 1, committedAt)).toBeLessThanOrEqual(hintlessMs);
  });

  test("[FEED-2] the node was never heard of", async () => {
    const cluster = await createCluster();
    const unknown = await cluster.world.startNode();
    cluster.world.cutBus(unknown);
    const committedAt = await send(cluster, unknown);
    cluster.world.kill(unknown);
    expect(await delayOf(cluster, 1, committedAt)).toBeLessThanOrEqual(hintlessMs);
  });

  test("[FEED-2] the commit landed long after its node had died", async () => {
    const cluster = await createCluster();
    cluster.world.cutBus(cluster.sender);
    await cluster.world.clock.advance(8_000);
    expect(await delayOf(cluster, 1, await send(cluster, cluster.sender))).toBeLessThanOrEqual(hintlessMs);
  });

  test("[FEED-2] the bus is known to be down: the journal is read at once, and again and again", async () => {
    const cluster = await createCluster();
    cluster.world.network.setDown(true);
    await cluster.world.clock.advance(1_000);
    for (let seq = 1; seq <= 5; seq += 1) {
      await cluster.world.clock.advance(seq * 70);
      const committedAt = await send(cluster, cluster.sender);
      expect(await delayOf(cluster, seq, committedAt)).toBeLessThanOrEqual(busDownMs + storeMs);
    }
  });

  test("[FEED-2] the node was cut off for longer than the journal is kept: found out as soon as it is back", async () => {
    const cluster = await createCluster();
    const { world, reader, sender } = cluster;
    const { node: home } = reader;
    if (home === null) throw new Error("the reader has no node");
    world.network.setDown(true);
    world.cutStore(home, true);
    await send(cluster, sender);
    await world.until(createOperations(sender).notifyUser({ userId: "reader", event: "notice", data: {} }));
    await world.clock.advance(660_000);
    await world.until(world.store.prune(world.clock.now() - 600_000, 0));
    world.cutStore(home, false);
    const back = world.clock.now();
    expect(await delayOf(cluster, 1, back)).toBeLessThanOrEqual(hintlessMs);
    const notice = reader.transcript.deliveries.find((delivery) => delivery.room === "@user:reader");
    expect((notice?.at ?? Number.POSITIVE_INFINITY) - back).toBeLessThanOrEqual(hintlessMs);
  });
});

test("[FEED-3] a room that nobody follows any more is let go, also when the clock was set back", async () => {
  const { world, reader } = await createCluster();
  const home = reader.node;
  await world.until(reader.leave("alpha"));
  world.clock.set(-3_600_000);
  await world.clock.advance(3 * world.limits.feedLingerMs);
  expect(home?.feeds.get(logId("default", "alpha"))).toBeUndefined();
});

test("[FEED-3] what is written to rooms that nobody follows here costs a node no feed and no read of entries", async () => {
  const cluster = await createCluster();
  const { world, sender, reader } = cluster;
  const home = reader.node;
  if (home === null) throw new Error("the reader has no node");
  const reads = () => ["open", "readAfter", "readMessages"].map((name) => world.store.calls.get(name) ?? 0);
  const heads = () => world.store.calls.get("states") ?? 0;
  const idleFrom = heads();
  await world.clock.advance(10_000);
  const idle = heads() - idleFrom;
  const before = reads();
  const headsBefore = heads();
  const feeds = home.feeds.size;
  for (let count = 0; count < 500; count += 1) {
    world.background(
      sender.rooms.send({ tenant: "default", id: "writer" }, { roomId: `other-${count % 100}`, text: "x" }),
    );
    await world.clock.advance(10);
  }
  await world.clock.advance(5_000);
  expect(sender.sequencer.appendedTotal).toBe(500);
  expect(reads()).toEqual(before);
  // Each node reads the head of `@control` all the time, whatever is written.
  expect(heads() - headsBefore).toBeLessThanOrEqual(idle + 2);
  expect(home.feeds.size).toBe(feeds);
  expect(home.counts.deliveredTotal).toBe(0);
});

test("[FEED-2] a notification of another node is there by its hint, also to who had none before", async () => {
  const { world, sender, reader } = await createCluster();
  const notify = (number: number) =>
    world.until(createOperations(sender).notifyUser({ userId: "reader", event: "notice", data: { number } }));
  for (const number of [1, 2]) {
    await notify(number);
    const committedAt = world.clock.now();
    await world.clock.advance(10_000);
    const found = reader.transcript.deliveries.filter(({ room }) => room === "@user:reader").at(-1);
    expect(found?.seq).toBe(number);
    expect((found?.at ?? Number.POSITIVE_INFINITY) - committedAt).toBeLessThanOrEqual(2 * storeMs);
  }
});

test("[FEED-1] the store lost its last commits: whoever follows a room is told within a second, also while nobody sends", async () => {
  const { world, sender, reader } = await createCluster();
  await world.until(world.store.backup("before"));
  await send({ world, sender, reader }, sender);
  await world.clock.advance(1_000);
  expect(reader.transcript.deliveries.map(({ seq }) => seq)).toEqual([1]);
  world.store.restore("before");
  await world.clock.advance(1_000);
  expect(reader.transcript.gaps.filter(({ room }) => room === "alpha")).toMatchObject([{ reason: "epoch" }]);
  await send({ world, sender, reader }, sender);
  await world.clock.advance(1_000);
  expect(reader.transcript.deliveries.map(({ seq }) => seq)).toEqual([1, 1]);
  expect(reader.transcript.faults).toEqual([]);
});
