import { queryObjects } from "node:v8";
import { expect, test } from "vitest";
import { World } from "../../../../test/support/simulation.ts";
import { Feed } from "./feed.ts";
import type { ParleyNode } from "./node.ts";
import { Session } from "./session.ts";
import { Subscriber } from "./subscriber.ts";

/** Objects that anything still holds; the collector runs first. */
function held(): { sessions: number; subscribers: number; feeds: number } {
  const count = { format: "count" } as const;
  return {
    sessions: queryObjects(Session, count),
    subscribers: queryObjects(Subscriber, count),
    feeds: queryObjects(Feed, count),
  };
}

/** Timers that wait when no call of the store is under way, as one is now and then. */
async function timersAtRest(world: World): Promise<number> {
  let fewest = world.clock.waiting;
  for (let ms = 0; ms < 20; ms += 1) {
    await world.clock.advance(1);
    fewest = Math.min(fewest, world.clock.waiting);
  }
  return fewest;
}

/** Clients join rooms, send, read, type, lose connections and come back; then all go for good. */
async function comeAndGo(world: World, node: ParleyNode, round: number): Promise<void> {
  for (let count = 0; count < 30; count += 1) world.addClient(`user-${round}-${count % 20}`);
  for (const client of world.clients) await world.until(client.connect(node));
  for (const [index, client] of world.clients.entries()) {
    await world.until(client.join(`room-${index % 5}`));
    world.background(client.typing(`room-${index % 5}`));
    const message = { roomId: `room-${index % 5}`, text: "hello", clientId: `c-${round}-${index}` };
    world.background(node.rooms.send({ tenant: "default", id: client.user.id }, message));
    world.background(
      world.operations(node).notifyUser({ userId: client.user.id, event: "notice", data: { number: index } }),
    );
    if (index % 3 === 0) await world.until(client.leave(`room-${index % 5}`));
    // Whose loss nobody notices comes back to its session.
    if (index % 4 === 0) client.drop(index % 3 === 0);
  }
  await world.clock.advance(1_000);
  for (const [index, client] of world.clients.entries())
    if (client.connection === null) await world.until(client.connect(node, index % 3 === 0 ? "positions" : "session"));
  await world.clock.advance(1_000);
  for (const [index, client] of world.clients.entries())
    if (index % 2 === 0) client.goodbye();
    else client.drop(index % 4 === 1);
  // Who just went away is waited for, as long as a session is kept.
  for (const { session, connection } of world.clients)
    if (session !== null && session.connection !== null && connection === null)
      node.disconnected(session, session.connection, false);
  expect(world.clients.flatMap(({ transcript }) => transcript.faults)).toEqual([]);
  world.clients.length = 0;
  await world.clock.advance(world.limits.maxDisconnectionDurationMs + 2 * world.limits.feedLingerMs + 60_000);
}

test("a node that its clients have left for good holds nothing of them", async () => {
  const world = new World({ openRooms: ["room-0", "room-1", "room-2", "room-3", "room-4"] });
  const node = await world.startNode();
  await world.clock.advance(60_000);
  await comeAndGo(world, node, 0);
  const before = { ...held(), timers: await timersAtRest(world) };
  // The feed is that of lost rights, which every node follows.
  expect(before).toMatchObject({ sessions: 0, subscribers: 0, feeds: 1 });
  for (const round of [1, 2]) {
    await comeAndGo(world, node, round);
    expect({ ...held(), timers: await timersAtRest(world) }).toEqual(before);
    expect(await world.until(Promise.resolve(node.presence.in("default/room-0")))).toMatchObject({ count: 0 });
  }
  await world.stop();
  // What the store was asked at that moment is still answered.
  await world.clock.advance(1_000);
  expect(world.clock.waiting).toBe(0);
}, 60_000);
