import { describe, expect, test } from "vitest";
import type { SimulatedClient } from "../../../../test/support/simulated-client.ts";
import { World, type WorldOptions } from "../../../../test/support/simulation.ts";
import type { LogId } from "./log.ts";
import type { ParleyNode } from "./node.ts";

const alpha: LogId = "default/alpha";
/** Time within which presence is right again after a node was killed. */
const killedMs = 5_000;

interface Cluster {
  readonly world: World;
  readonly one: ParleyNode;
  readonly two: ParleyNode;
  /** Sit in `alpha` on either node, and see what is told. */
  readonly ann: SimulatedClient;
  readonly ben: SimulatedClient;
}

async function createCluster(options: WorldOptions = {}): Promise<Cluster> {
  const world = new World(options);
  const one = await world.startNode();
  const two = await world.startNode();
  const ann = await enter(world, one, "ann");
  const ben = await enter(world, two, "ben");
  await world.clock.advance(4_000);
  for (const { transcript } of [ann, ben]) transcript.signals.length = 0;
  return { world, one, two, ann, ben };
}

async function enter(world: World, node: ParleyNode, userId: string, room = "alpha"): Promise<SimulatedClient> {
  const client = world.addClient(userId);
  await world.until(client.connect(node));
  await world.until(client.join(room));
  return client;
}

async function usersAt({ world }: Cluster, node: ParleyNode, log = alpha): Promise<readonly string[]> {
  const { users, count } = await world.until(Promise.resolve(node.presence.in(log)));
  expect(count).toBe(users.length);
  return users.toSorted();
}

/** What a client was told of others, as `joined name` and `left name`. */
function told({ transcript }: SimulatedClient): string[] {
  return transcript.signals.map(({ event, userId }) => `${event.replace("user_", "")} ${userId}`);
}

describe("users on several nodes", () => {
  test("[PRES-1] are in the room on every node, also on one where nobody follows it", async () => {
    const cluster = await createCluster();
    const { world, one, two } = cluster;
    const three = await world.startNode();
    for (const node of [one, two, three]) expect(await usersAt(cluster, node)).toEqual(["ann", "ben"]);
    await world.clock.advance(20_000);
    expect(three.presence.followed).toBe(0);
    await world.stop();
  });

  test("[PRES-1] in a storm of arrivals each is told of once, many of them in one write, within a second more", async () => {
    const { world, one, ann } = await createCluster({ limits: { presenceListMax: 1_000 } });
    const names = Array.from({ length: 300 }, (_, index) => `cat-${index}`);
    const cats = names.map((name) => world.addClient(name));
    await world.until(Promise.all(cats.map((cat) => cat.connect(one))));
    const writesBefore = ann.connection?.writes ?? 0;
    const four = 4;
    for (let from = 0; from < cats.length; from += four)
      await world.until(Promise.all(cats.slice(from, from + four).map((cat) => cat.join("alpha"))));
    await world.clock.advance(2_000);
    expect(told(ann).toSorted()).toEqual(names.map((name) => `joined ${name}`).toSorted());
    expect((ann.connection?.writes ?? 0) - writesBefore).toBeLessThan(names.length / four - 20);
    await world.stop();
  });

  test("[PRES-1] who comes and goes is told of once, on every node, to the others", async () => {
    const cluster = await createCluster();
    const { world, two, ann, ben } = cluster;
    const cat = await enter(world, two, "cat");
    await world.clock.advance(1_500);
    expect([told(ann), told(ben)]).toEqual([["joined cat"], ["joined cat"]]);
    await world.until(cat.leave("alpha"));
    await world.clock.advance(3_000);
    expect([told(ann), told(ben)]).toEqual([
      ["joined cat", "left cat"],
      ["joined cat", "left cat"],
    ]);
    expect(told(cat)).toEqual([]);
    await world.stop();
  });

  test("[PRES-1] many tabs of a user on several nodes are one presence", async () => {
    const cluster = await createCluster();
    const { world, one, two, ann, ben } = cluster;
    const tabs = [await enter(world, one, "cat"), await enter(world, two, "cat"), await enter(world, two, "cat")];
    await world.clock.advance(3_000);
    for (const node of [one, two]) expect(await usersAt(cluster, node)).toEqual(["ann", "ben", "cat"]);
    for (const tab of tabs.slice(1)) await world.until(tab.leave("alpha"));
    await world.clock.advance(10_000);
    expect([told(ann), told(ben)]).toEqual([["joined cat"], ["joined cat"]]);
    for (const node of [one, two]) expect(await usersAt(cluster, node)).toEqual(["ann", "ben", "cat"]);
    await world.stop();
  });

  test("[PRES-1] those who come as their node begins to follow the room are told of, unless they were elsewhere", async () => {
    const cluster = await createCluster();
    const { world, ann } = cluster;
    const three = await world.startNode();
    const [first, again, second] = [
      await enter(world, three, "first"),
      await enter(world, three, "ben"),
      await enter(world, three, "second"),
    ];
    await world.clock.advance(4_000);
    expect(told(ann).toSorted()).toEqual(["joined first", "joined second"]);
    expect([told(first), told(again), told(second)]).toEqual([["joined second"], ["joined second"], []]);
    await world.stop();
  });
});

describe("a return", () => {
  test.each([
    ["with its positions", "positions"],
    ["to its session", "session"],
  ] as const)("[PRES-1] on another node %s within the grace is no leave, and no arrival", async (_, by) => {
    for (let awayMs = 0; awayMs < 5_000; awayMs += 310) {
      const cluster = await createCluster({ seed: awayMs + 1 });
      const { world, one, two, ann, ben } = cluster;
      const cat = await enter(world, one, "cat");
      await world.clock.advance(3_000);
      cat.drop(true);
      await world.clock.advance(awayMs);
      await world.until(cat.connect(two, by));
      await world.clock.advance(15_000);
      expect([told(ann), told(ben)], `${awayMs} ms away`).toEqual([["joined cat"], ["joined cat"]]);
      for (const node of [one, two]) expect(await usersAt(cluster, node)).toEqual(["ann", "ben", "cat"]);
      await world.stop();
    }
  });

  test("[PRES-1] after the grace is a leave and an arrival", async () => {
    const cluster = await createCluster();
    const { world, one, two, ann, ben } = cluster;
    const cat = await enter(world, one, "cat");
    await world.clock.advance(3_000);
    cat.drop(true);
    await world.clock.advance(9_000);
    await world.until(cat.connect(two, "positions"));
    await world.clock.advance(3_000);
    const all = ["joined cat", "left cat", "joined cat"];
    expect([told(ann), told(ben)]).toEqual([all, all]);
    await world.stop();
  });

  test("[PRES-1] from a node that was killed, before its lease has ended, is no leave", async () => {
    const cluster = await createCluster();
    const { world, one, ann, ben } = cluster;
    const three = await world.startNode();
    const cat = await enter(world, three, "cat");
    await world.clock.advance(3_000);
    world.kill(three);
    await world.clock.advance(2_500);
    await world.until(cat.connect(one, "positions"));
    await world.clock.advance(10_000);
    expect([told(ann), told(ben)]).toEqual([["joined cat"], ["joined cat"]]);
    await world.stop();
  });
});

describe("a node that is gone", () => {
  test("[PRES-1] killed, at any moment: presence is right within 5 s, and who was there is told of", async () => {
    for (let offsetMs = 0; offsetMs < 1_000; offsetMs += 130) {
      const cluster = await createCluster({ seed: offsetMs + 1 });
      const { world, one, two, ben } = cluster;
      await world.clock.advance(offsetMs);
      world.kill(one);
      await world.clock.advance(killedMs);
      expect(await usersAt(cluster, two), `${offsetMs} ms after`).toEqual(["ben"]);
      expect(told(ben)).toEqual(["left ann"]);
      await world.stop();
    }
  });

  test("[PRES-1] killed while the bus is down: the lease says so", async () => {
    const cluster = await createCluster();
    const { world, one, two } = cluster;
    world.network.setDown(true);
    await world.clock.advance(10_000);
    expect(await usersAt(cluster, two)).toEqual(["ann", "ben"]);
    world.kill(one);
    await world.clock.advance(killedMs);
    expect(await usersAt(cluster, two)).toEqual(["ben"]);
    await world.stop();
  });

  test("[PRES-1] stopped in order: its users have time to come back elsewhere", async () => {
    const cluster = await createCluster();
    const { world, one, two, ann, ben } = cluster;
    ann.drop(true);
    world.nodes.splice(world.nodes.indexOf(one), 1);
    await world.until(one.stop());
    await world.clock.advance(1_500);
    await world.until(ann.connect(two, "positions"));
    await world.clock.advance(10_000);
    expect(told(ben)).toEqual([]);
    expect(await usersAt(cluster, two)).toEqual(["ann", "ben"]);
    await world.stop();
  });
});

describe("a node that comes back", () => {
  test("[PRES-1] after its lease had ended: its users are there again within 5 s", async () => {
    for (let offsetMs = 0; offsetMs < 15_000; offsetMs += 1_700) {
      const cluster = await createCluster({ seed: offsetMs + 1 });
      const { world, one, two, ann } = cluster;
      await world.clock.advance(offsetMs);
      world.cutStore(two, true);
      world.network.faults.lost = 1;
      await world.clock.advance(10_000);
      expect(told(ann)).toEqual(["left ben"]);
      world.cutStore(two, false);
      world.network.faults.lost = 0;
      await world.clock.advance(5_000);
      expect(await usersAt(cluster, one), `${offsetMs} ms after`).toEqual(["ann", "ben"]);
      expect(told(ann)).toEqual(["left ben", "joined ben"]);
      await world.stop();
    }
  });

  test("[PRES-1] after it stood still for long: who is elsewhere has not left", async () => {
    const cluster = await createCluster();
    const { world, one, two, ann, ben } = cluster;
    await world.clock.stall(40_000);
    await world.clock.advance(5_000);
    for (const node of [one, two]) expect(await usersAt(cluster, node)).toEqual(["ann", "ben"]);
    expect([told(ann), told(ben)]).toEqual([[], []]);
    await world.stop();
  });
});

describe("signals that do not come", () => {
  test("[PRES-1] of arrivals and leaves: all is right again within 16 s", async () => {
    const cluster = await createCluster();
    const { world, one, two } = cluster;
    const cat = await enter(world, two, "cat");
    await world.clock.advance(3_000);
    world.network.faults.lost = 1;
    await enter(world, two, "dan");
    await world.until(cat.leave("alpha"));
    await world.clock.advance(3_000);
    expect(await usersAt(cluster, one)).toEqual(["ann", "ben", "cat"]);
    world.network.faults.lost = 0;
    await world.clock.advance(16_000);
    expect(await usersAt(cluster, one)).toEqual(["ann", "ben", "dan"]);
    await world.stop();
  });

  test("[PRES-1] of the last who left: all is right again within 16 s", async () => {
    const cluster = await createCluster();
    const { world, two, one, ben } = cluster;
    world.network.faults.lost = 1;
    await world.until(ben.leave("alpha"));
    await world.clock.advance(3_000);
    world.network.faults.lost = 0;
    await world.clock.advance(16_000);
    expect(await usersAt(cluster, one)).toEqual(["ann"]);
    expect(await usersAt(cluster, two)).toEqual(["ann"]);
    await world.stop();
  });

  test("[PRES-1] of a whole node for long: who was said to have left is said to be there when it is heard again", async () => {
    const cluster = await createCluster();
    const { world, one, ann, ben } = cluster;
    world.network.faults.lost = 1;
    await world.clock.advance(40_000);
    expect([told(ann), told(ben)]).toEqual([["left ben"], ["left ann"]]);
    world.network.faults.lost = 0;
    await world.clock.advance(16_000);
    expect(await usersAt(cluster, one)).toEqual(["ann", "ben"]);
    expect([told(ann), told(ben)]).toEqual([
      ["left ben", "joined ben"],
      ["left ann", "joined ann"],
    ]);
    await world.stop();
  });

  test("[PRES-1] of an arrival: the next one that does come tells that it is missing", async () => {
    const cluster = await createCluster();
    const { world, one, two } = cluster;
    world.network.faults.lost = 1;
    await enter(world, two, "cat");
    await world.clock.advance(1_500);
    world.network.faults.lost = 0;
    await enter(world, two, "dan");
    await world.clock.advance(2_000);
    expect(await usersAt(cluster, one)).toEqual(["ann", "ben", "cat", "dan"]);
    await world.stop();
  });

  test("[PRES-1] for as long as the bus is down: all is right again a second after", async () => {
    const cluster = await createCluster({ openRooms: ["alpha", "other"] });
    const { world, one, two, ann, ben } = cluster;
    world.network.setDown(true);
    const cat = await enter(world, two, "cat");
    await world.until(ben.leave("alpha"));
    const eve = await enter(world, two, "eve", "other");
    const reader = await enter(world, one, "reader", "other");
    await world.until(eve.leave("other"));
    await world.clock.advance(90_000);
    world.network.setDown(false);
    await world.clock.advance(1_000);
    expect(await usersAt(cluster, one)).toEqual(["ann", "cat"]);
    expect(await usersAt(cluster, one, "default/other")).toEqual(["reader"]);
    await world.until(reader.leave("other"));
    await world.until(cat.leave("alpha"));
    await world.clock.advance(3_000);
    expect(told(ann).at(-1)).toBe("left cat");
    await world.stop();
  });

  test("[PRES-1] late, repeated and out of order: all is right in the end, and who stayed has not left", async () => {
    const cluster = await createCluster({ seed: 5 });
    const { world, one, two, ann } = cluster;
    Object.assign(world.network.faults, { lost: 0.3, repeated: 0.5, delayMaxMs: 1_200 });
    const cat = await enter(world, two, "cat");
    for (let round = 0; round < 10; round += 1) {
      await world.until(cat.leave("alpha"));
      await world.clock.advance(700);
      await world.until(cat.join("alpha"));
      await world.clock.advance(700);
    }
    Object.assign(world.network.faults, { lost: 0, repeated: 0, delayMaxMs: 1 });
    await world.clock.advance(20_000);
    for (const node of [one, two]) expect(await usersAt(cluster, node)).toEqual(["ann", "ben", "cat"]);
    expect(told(ann)).not.toContain("left ben");
    await world.stop();
  });
});

describe("what presence costs", () => {
  test("[PRES-1] a room of 2,000 users: they are counted, and a few signals say so", async () => {
    const cluster = await createCluster();
    const { world, one, two, ann } = cluster;
    const before = world.network.carried.signal;
    for (let number = 0; number < 1_000; number += 1) {
      one.presence.entered(alpha, `a${number}`);
      two.presence.entered(alpha, `b${number}`);
      await world.clock.advance(10);
    }
    await world.clock.advance(2_000);
    for (const node of [one, two]) {
      const { users, count } = await world.until(Promise.resolve(node.presence.in(alpha)));
      expect([users.length, count]).toEqual([world.limits.presenceListMax, 2_002]);
    }
    // One a second and node, and what the whole is said in now and then.
    expect(world.network.carried.signal - before).toBeLessThanOrEqual(2 * 16);
    // Those who came before the room was crowded.
    expect(told(ann).length).toBeLessThanOrEqual(world.limits.presenceListMax);
    const silentFrom = told(ann).length;
    for (let number = 0; number < 1_000; number += 1) {
      one.presence.left(alpha, `a${number}`, true);
      two.presence.left(alpha, `b${number}`, true);
    }
    await world.clock.advance(4_000);
    expect(await usersAt(cluster, one)).toEqual(["ann", "ben"]);
    expect(told(ann).length).toBe(silentFrom);
    await world.stop();
  });

  test("[PRES-1] 20,000 who come and go before the room has settled do not hold up the node", {
    timeout: 10_000,
  }, async () => {
    const { world, one, two } = await createCluster({ openRooms: ["alpha", "other"] });
    const other: LogId = "default/other";
    const reader = await enter(world, one, "reader", "other");
    for (let number = 0; number < 20_000; number += 1) one.presence.entered(other, `user-${number}`);
    for (let number = 0; number < 20_000; number += 1) one.presence.left(other, `user-${number}`, true);
    one.presence.entered(other, "last");
    await world.clock.advance(2_000);
    expect(told(reader)).toEqual(["joined last"]);
    expect((await world.until(Promise.resolve(two.presence.in(other)))).users).toEqual(["reader", "last"]);
    await world.stop();
  });

  test("[PRES-1] a crowd that types is heard of a few times a second", async () => {
    const { world, one, ann, ben } = await createCluster({ limits: { presenceListMax: 4 } });
    const others: SimulatedClient[] = [];
    for (let number = 0; number < 6; number += 1) others.push(await enter(world, one, `user-${number}`));
    await world.clock.advance(3_000);
    const before = world.network.carried.signal;
    const typing = () => ann.transcript.signals.filter(({ event }) => event === "user_typing").length;
    for (let round = 0; round < 20; round += 1) {
      for (const client of others) await client.typing("alpha");
      await world.clock.advance(45);
    }
    expect(typing()).toBeGreaterThan(5);
    expect(typing()).toBeLessThanOrEqual(20);
    expect(world.network.carried.signal - before).toBeLessThanOrEqual(30);
    expect(ben.transcript.signals.some(({ event }) => event === "user_typing")).toBe(true);
    await world.stop();
  });

  test("[PRES-1] a node that begins to follow thousands of rooms asks for them at a pace, and then knows them", async () => {
    const { world, one, two } = await createCluster({ limits: { feedLingerMs: 60_000 } });
    const logs = Array.from({ length: 3_000 }, (_, number): LogId => `default/room-${number}`);
    for (const log of logs) {
      two.presence.entered(log, "ben");
      world.background(Promise.resolve(two.feeds.open(log)));
    }
    await world.clock.advance(4_000);
    let before = world.network.carried.signal;
    for (const log of logs) world.background(Promise.resolve(one.feeds.open(log)));
    const seconds: number[] = [];
    for (let second = 0; second < 4; second += 1) {
      await world.clock.advance(1_000);
      seconds.push(world.network.carried.signal - before);
      before = world.network.carried.signal;
    }
    expect(Math.max(...seconds)).toBeLessThanOrEqual(3_000);
    const known = await Promise.all(logs.map(async (log) => (await one.presence.in(log)).users.join()));
    expect(new Set(known)).toEqual(new Set(["ben"]));
    await world.stop();
  });

  test("[PRES-1] leaves nothing behind when a room's feed goes", async () => {
    const { world, one, two, ann, ben } = await createCluster();
    expect([one.presence.followed, two.presence.followed]).toEqual([1, 1]);
    for (const client of [ann, ben]) await world.until(client.leave("alpha"));
    await world.clock.advance(60_000);
    expect([one.presence.followed, two.presence.followed]).toEqual([0, 0]);
    const before = world.network.carried.signal;
    await world.clock.advance(60_000);
    expect(world.network.carried.signal).toBe(before);
    await world.stop();
  });
});
