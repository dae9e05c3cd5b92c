import { expect, test } from "vitest";
import type { ParleyNode } from "../packages/server/src/core/node.ts";
import type { SimulatedClient } from "./support/simulated-client.ts";
import { World } from "./support/simulation.ts";

const roomId = "team";

interface Scene {
  readonly world: World;
  readonly node: ParleyNode;
  readonly alice: SimulatedClient;
}

async function open(seed: number): Promise<Scene> {
  const world = new World({ seed, openRooms: [], storeLatencyMaxMs: 20 });
  const node = await world.until(world.startNode());
  const operations = world.operations(node);
  await world.until(operations.putRoom({ roomId }));
  await world.until(operations.setMembership({ roomId, userId: "alice", role: "member" }));
  for (let number = 1; number <= 20; number += 1) await world.until(send(node, world, `before ${number}`));
  const alice = world.addClient("alice", { bytesPerMs: world.pick([0.2, 1, 1_000]) });
  await world.until(alice.connect(node));
  return { world, node, alice };
}

function send(node: ParleyNode, world: World, text: string) {
  return world.operations(node).sendMessage({ roomId, userId: "bob", text: text.padEnd(200) });
}

/** Messages that are sent together with the removal. */
const sentAlong = 5;

type Begin = () => Promise<unknown>;

/** What makes the client a subscriber, each after waits of its own: prepared, and then begun. */
const ways: Readonly<Record<string, (scene: Scene) => Promise<Begin>>> = {
  "a join":
    async ({ alice }) =>
    () =>
      alice.join(roomId),
  "a join without a page":
    async ({ alice }) =>
    () =>
      alice.join(roomId, "page", 0),
  "a second join": async ({ world, alice }) => {
    await world.until(alice.join(roomId));
    return () => alice.join(roomId);
  },
  "a recovery": async ({ world, node, alice }) => {
    await world.until(alice.join(roomId));
    alice.drop(true);
    await world.until(send(node, world, "meanwhile"));
    return () => alice.connect(node, "session");
  },
  "a return by positions": async ({ world, node, alice }) => {
    await world.until(alice.join(roomId));
    alice.drop(true);
    return () => alice.connect(node, "positions");
  },
  "a right that is confirmed": async ({ world, node, alice }) => {
    await world.until(alice.join(roomId));
    return () => world.operations(node).accessChanged({ userId: "alice", roomId });
  },
};

/** How the right is lost. Gives the place from which on nothing may arrive. */
const losses: Readonly<Record<string, (scene: Scene) => Promise<number>>> = {
  "the membership ends": async ({ world, node }) => {
    const removal = world.operations(node).setMembership({ roomId, userId: "alice", role: null });
    world.background(
      Promise.all(Array.from({ length: sentAlong }, (_, number) => send(node, world, `with it ${number}`))),
    );
    const { seq } = await world.until(removal);
    for (let number = 0; number < 5; number += 1) await world.until(send(node, world, `after ${number}`));
    return seq;
  },
  "the room is deleted": async ({ world, node }) => {
    await world.until(world.operations(node).deleteRoom({ roomId }));
    await world.until(world.operations(node).putRoom({ roomId }));
    for (let number = 0; number < 5; number += 1) await world.until(send(node, world, `after ${number}`));
    return Number.POSITIVE_INFINITY;
  },
};

const cases = Object.keys(ways).flatMap((way) => Object.keys(losses).map((loss) => [way, loss] as const));

test.each(cases)("[ACC-1] %s that is under way when %s brings nothing later", async (way, loss) => {
  const faults: string[] = [];
  for (let seed = 1; seed <= 60; seed += 1) {
    const scene = await open(seed);
    const { world, node, alice } = scene;
    const begin = await ways[way]?.(scene);
    world.background(begin?.());
    await world.clock.advance(seed % 45);
    const from = (await losses[loss]?.(scene)) ?? 0;
    await world.clock.advance(20_000);
    const { deliveries, pages } = alice.transcript;
    // Why further: a page may have been read just after the commit, before the node heard of it.
    const late = [...deliveries, ...pages.filter(({ seq }) => seq > from + sentAlong)].filter(
      (one) => one.room === roomId && one.seq >= from,
    );
    faults.push(...late.map((one) => `seed ${seed}: ${one.event} ${one.seq} came late`));
    const followers = node.feeds.get(`default/${roomId}`)?.subscribers.length ?? 0;
    if (followers > 0) faults.push(`seed ${seed}: she still follows`);
    await world.stop();
  }
  expect(faults).toEqual([]);
});
