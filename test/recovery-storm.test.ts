import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { seededRandom } from "./support/random.ts";
import { connectAs, lose, type RecoveryWorld, say, setUpRecovery } from "./support/recovery-world.ts";
import { type StockClient, type StockTransport, transportOptions } from "./support/stock-client.ts";
import { noFaults } from "./support/transcript.ts";

const rooms = ["a", "b", "c"];

/** Says something in a random room again and again, until told to stop. Gives the texts by room, in order. */
function keepTalking(world: RecoveryWorld, random: () => number, among = rooms) {
  const said = new Map<string, string[]>(among.map((room) => [room, []]));
  let talking = true;
  const talk = async (): Promise<void> => {
    for (let number = 1; talking; number += 1) {
      const room = among[Math.floor(random() * among.length)] ?? "a";
      // Up to a few kilobytes, so that what is under way differs in size as well.
      const text = `${number} ${"x".repeat(Math.floor(random() ** 4 * 8_000))}`;
      said.get(room)?.push(text);
      await say(world, room, text);
    }
  };
  const done = talk();
  return {
    said,
    stop: async () => {
      talking = false;
      await done;
    },
  };
}

async function expectAllOnce(client: StockClient, said: ReadonlyMap<string, readonly string[]>): Promise<void> {
  for (const [room, texts] of said) {
    await client.until(`all of ${room}`, () => client.textsOf(room).length >= texts.length);
    expect(client.textsOf(room)).toEqual(texts);
    expect(client.transcript(room).faults).toEqual(noFaults);
  }
}

test("[REC-2] 1,000 reconnects at once, one after the other: each time recovered, and nothing lost or repeated", async () => {
  await using world = await setUpRecovery();
  using alice = await connectAs(world, "alice", { ...transportOptions.websocket, reconnection: false });
  for (const room of rooms) await alice.join(room);
  const talk = keepTalking(world, seededRandom(1));
  const { socket } = alice;
  // In the same turn in which it learns of the loss.
  socket.on("disconnect", () => socket.connect());
  for (let time = 1; time <= 1_000; time += 1) {
    const [link] = world.proxy.links;
    if (time % 2 === 0) link?.cut();
    else link?.abandon();
    await alice.welcomed(time + 1);
  }
  await talk.stop();
  await expectAllOnce(alice, talk.said);
  expect(alice.welcomes.filter(({ recovered }) => recovered)).toHaveLength(1_000);
  expect(new Set(alice.welcomes.map(({ id }) => id)).size).toBe(1);
  expect(world.server.operations.statistics()).toMatchObject({ connections: 1, detachedSessions: 0 });
}, 120_000);

describe.each<StockTransport>(["websocket", "polling", "upgrade"])("over %s", (transport) => {
  test.each([1, 2, 3])(
    "[REC-2] cut again and again at any moment, under load in three rooms (seed %i)",
    async (seed) => {
      // Short ones, because the stock client that loses its upgrade half-way stops polling, and finds out by its heartbeat.
      await using world = await setUpRecovery({ heartbeat: { pingIntervalMs: 500, pingTimeoutMs: 1_000 } });
      using alice = await connectAs(world, "alice", transportOptions[transport]);
      for (const room of rooms) await alice.join(room);
      const random = seededRandom(seed);
      const talk = keepTalking(world, seededRandom(seed + 100));
      for (let time = 0; time < 40; time += 1) {
        // Any moment: in the middle of the handshake, the recovery, the upgrade, or long after them.
        await delay(random() ** 2 * 80);
        for (const link of world.proxy.links) {
          const choice = random();
          if (choice < 0.4) link.cut();
          else if (choice < 0.8) link.abandon();
          else link.setPace("stalled");
        }
      }
      // However slow the machine is: it has come back several times.
      for (let times = alice.welcomes.length; times <= 3; times = alice.welcomes.length) {
        await lose(alice, () => world.proxy.cut());
        await alice.welcomed(times + 1);
      }
      // Stalled ones would wait for their heartbeat.
      world.proxy.cut();
      await talk.stop();
      await expectAllOnce(alice, talk.said);
      expect(alice.welcomes.slice(1).filter(({ recovered }) => !recovered)).toEqual([]);
      expect(alice.welcomes.length).toBeGreaterThan(3);
    },
    60_000,
  );
});

test("[REC-2] [FEED-1] joins and leaves between the cuts lose nothing either", async () => {
  await using world = await setUpRecovery();
  using alice = await connectAs(world, "alice", transportOptions.websocket);
  await alice.join("a");
  const random = seededRandom(5);
  const talk = keepTalking(world, seededRandom(6));
  for (let time = 0; time < 25; time += 1) {
    const join = alice.join("b").catch(() => undefined);
    if (random() < 0.5) await join;
    await lose(alice, () => world.proxy.cut());
    await alice.welcomed(time + 2);
  }
  await talk.stop();
  await alice.join("b");
  const head = talk.said.get("b")?.length ?? 0;
  await alice.until("all of b", () => alice.transcript("b").has(head));
  expect(alice.welcomes.slice(1).filter(({ recovered }) => !recovered)).toEqual([]);
  expect(alice.transcript("b").faults).toMatchObject({ missing: 0, outOfOrder: 0 });
  await expectAllOnce(alice, new Map([["a", talk.said.get("a") ?? []]]));
}, 60_000);

test("[FEED-1] [REC-1] clients that resume, then upgrade, while their room goes on get everything once, in order", async () => {
  await using world = await setUpRecovery();
  const { epoch } = await world.server.operations.room({ roomId: "a" });
  const talk = keepTalking(world, seededRandom(7), ["a"]);
  const auth = { resume: { a: { epoch, seq: 0 } } };
  for (let round = 0; round < 4; round += 1) {
    using crowd = new DisposableStack();
    const clients: StockClient[] = [];
    for (let index = 0; index < 10; index += 1) {
      const client = crowd.use(await connectAs(world, `user-${index}`, { auth }));
      client.transcript("a").continues(0);
      clients.push(client);
    }
    await Promise.all(clients.map((client) => client.welcomed(1).then(() => client.upgraded())));
    const head = await say(world, "a", "all are upgraded");
    await Promise.all(clients.map((client) => client.until("all", () => client.transcript("a").has(head))));
    expect(clients.map((client) => client.transcript("a").faults)).toEqual(clients.map(() => noFaults));
  }
  await talk.stop();
}, 60_000);
