import { type Client, connect } from "@parley/client";
import { expect, test } from "vitest";
import { eventually } from "./support/eventually.ts";
import { type RecoveryWorld, say, setUpRecovery } from "./support/recovery-world.ts";
import { tokenFor } from "./support/server.ts";

async function connectSdk(world: RecoveryWorld, userId: string, url = world.proxy.url) {
  const token = await tokenFor(world.server, userId);
  const client: Client = connect({
    url,
    token,
    transports: ["websocket"],
    backoff: { minMs: 5, maxMs: 20 },
  });
  let connections = 0;
  client.on("state", ({ state }) => {
    if (state === "connected") connections += 1;
  });
  return { client, connections: () => connections, [Symbol.dispose]: () => client.close() };
}

test("[REC-1] an SDK client that comes back again and again before the losses are noticed is let in each time, and misses nothing", async () => {
  await using world = await setUpRecovery({ presence: { leaveGraceMs: 2_000 } });
  using alice = await connectSdk(world, "alice");
  using bob = await connectSdk(world, "bob", world.server.url);
  const left: string[] = [];
  bob.client.room("a").on("left", (userId) => left.push(userId));
  await bob.client.room("a").join();
  const room = alice.client.room("a");
  const texts: string[] = [];
  room.on("message", ({ text }) => texts.push(text));
  await room.join();
  const times = world.server.config.limits.connectionsPerUserMax + 10;
  const said: string[] = [];
  for (let time = 1; time <= times; time += 1) {
    await eventually("a connection", () => alice.connections() === time || undefined);
    world.proxy.abandon();
    said.push(`missed ${time}`);
    await say(world, "a", `missed ${time}`);
  }
  await eventually("all", () => texts.length >= said.length || undefined);
  expect(texts).toEqual(said);
  // Each new connection took the place of the one before, and nothing of that one is kept.
  expect(world.server.operations.statistics()).toMatchObject({ connections: 2, detachedSessions: 0 });
  expect(left).toEqual([]);
});
