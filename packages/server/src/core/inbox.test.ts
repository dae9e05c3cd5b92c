import { expect, test } from "vitest";
import { World } from "../../../../test/support/simulation.ts";
import { inboxOf } from "./log.ts";

test("[REC-1] a position that could not be saved is saved later, without another answer of the client", async () => {
  const world = new World();
  const node = await world.startNode();
  const client = world.addClient("user");
  await world.until(client.connect(node));
  await world.until(world.operations(node).notifyUser({ userId: "user", event: "notice", data: { number: 1 } }));
  await world.clock.advance(100);
  world.store.setDown(true);
  await world.clock.advance(5 * world.limits.inboxSaveMs);
  world.store.setDown(false);
  await world.clock.advance(2 * world.limits.inboxSaveMs);
  const [inbox] = await world.until(world.store.inboxes([inboxOf("default", "user")]));
  expect(inbox?.position?.seq).toBe(1);
  expect(client.transcript.notices).toEqual(new Map([[1, 1]]));
});

test("a stopped node saves what has arrived, and nothing later", async () => {
  const world = new World();
  const node = await world.startNode();
  const client = world.addClient("user");
  await world.until(client.connect(node));
  await world.until(world.operations(node).notifyUser({ userId: "user", event: "notice", data: { number: 1 } }));
  await world.clock.advance(100);
  await world.until(node.stop());
  const [inbox] = await world.until(world.store.inboxes([inboxOf("default", "user")]));
  expect(inbox?.position?.seq).toBe(1);
  const saves = world.store.calls.get("saveInboxPositions");
  await world.clock.advance(10 * world.limits.inboxSaveMs);
  expect(world.store.calls.get("saveInboxPositions")).toBe(saves);
});

test("what came to an inbox while the store was away is not asked for when its user has gone", async () => {
  const world = new World();
  const node = await world.startNode();
  const client = world.addClient("user");
  await world.until(client.connect(node));
  world.store.setDown(true);
  const log = inboxOf("default", "user");
  node.feeds.hinted({ log, epoch: "epoch", from: 1, to: 1, events: null });
  await world.clock.advance(10 * world.limits.storeRetryMs);
  client.drop(true);
  const stopped = node.stop();
  await world.clock.advance(60_000);
  await stopped;
  expect(world.clock.waiting).toBe(0);
});

test("[REC-1] a notification that is committed while a client finds its place in the inbox reaches it", async () => {
  const world = new World();
  const node = await world.startNode();
  const client = world.addClient("user");
  const notify = (number: number) =>
    world.until(world.operations(node).notifyUser({ userId: "user", event: "notice", data: { number } }));
  const placed = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  const inboxes = world.store.inboxes.bind(world.store);
  world.store.inboxes = async (logs) => {
    const states = await inboxes(logs);
    asked.resolve();
    await placed.promise;
    return states;
  };
  const connecting = client.connect(node);
  await world.until(asked.promise);
  await notify(1);
  placed.resolve();
  await world.until(connecting);
  await world.clock.advance(1_000);
  expect(client.transcript.notices).toEqual(new Map([[1, 1]]));
});
