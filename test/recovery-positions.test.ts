import path from "node:path";
import { describe, expect, test } from "vitest";
import { repositoryRoot, spawnNode } from "./support/process.ts";
import { connectAs, lose, say, setUpRecovery } from "./support/recovery-world.ts";
import { SpawnedServer, spawnServer, tokenFor } from "./support/server.ts";
import { type Position, StockClient, transportOptions } from "./support/stock-client.ts";
import { createTemporaryFolder } from "./support/temporary-folder.ts";
import { noFaults } from "./support/transcript.ts";

const sayTo = (server: SpawnedServer, roomId: string, text: string) =>
  server.api("POST", `/rooms/${roomId}/messages`, { userId: "carol", text });

async function spawnWithRooms(rooms: readonly string[], environment: Record<string, string> = {}) {
  const server = await spawnServer({ environment });
  for (const room of rooms) await server.api("PUT", `/rooms/${room}`, { access: "public" });
  return server;
}

/** A stock client that presents its positions whenever it connects, as its page would do. */
async function connectWithPositions(server: SpawnedServer, userId: string): Promise<StockClient> {
  const token = await tokenFor(server, userId);
  const client: StockClient = new StockClient(server.url, {
    auth: (give) => give({ token, resume: client.positions }),
  });
  return client;
}

describe("after kill -9 and a restart", () => {
  test("[REC-1] [LOG-1] `auth.resume` brings what was missed in every room, once, with no further round trip", async () => {
    await using server = await spawnWithRooms(["a", "b"]);
    using alice = await connectWithPositions(server, "alice");
    for (const room of ["a", "b"]) await alice.join(room);
    await sayTo(server, "a", "before");
    await alice.until("the message", () => alice.textsOf("a").length === 1);
    await server.kill();
    await server.start();
    await sayTo(server, "b", "after");
    await alice.until("all", () => alice.textsOf("b").length === 1);
    await sayTo(server, "a", "at last");
    await alice.until("the last", () => alice.textsOf("a").includes("at last"));
    expect(alice.welcomes.map(({ recovered }) => recovered)).toEqual([false, false]);
    expect(alice.textsOf("a")).toEqual(["before", "at last"]);
    expect(alice.transcript("a").faults).toEqual(noFaults);
    expect(alice.transcript("b").faults).toEqual(noFaults);
    expect(alice.events.filter((event) => event === "room_gap")).toEqual([]);
  });

  test("[REC-1] `join_room` with a position brings what was missed, page after page, once", async () => {
    await using server = await spawnWithRooms(["a"], {
      PARLEY_LIMITS_USER_EVENTS_PER_SECOND: "100000",
      PARLEY_LIMITS_EVENTS_PER_SECOND: "100000",
      // Its session would bring her the same, without a join.
      PARLEY_RECOVERY_MAX_DISCONNECTION_DURATION_MS: "0",
    });
    const token = await tokenFor(server, "alice");
    using alice = new StockClient(server.url, { ...transportOptions.websocket, auth: { token } });
    await alice.join("a");
    await sayTo(server, "a", "before");
    await alice.until("the message", () => alice.textsOf("a").length === 1);
    const { a: position } = alice.positions;
    await server.kill();
    await server.start();
    // More than a page of the store, and more than a window.
    using bob = new StockClient(server.url, { ...transportOptions.websocket, auth: { token } });
    const texts = Array.from({ length: 1_200 }, (_, index) => `${index} ${"x".repeat(300)}`);
    await Promise.all(texts.map((text) => bob.send("a", text)));
    await alice.welcomed(2);
    await alice.join("a", position);
    await alice.until("all", () => alice.textsOf("a").length === 1_201);
    expect(alice.textsOf("a")).toEqual(["before", ...texts]);
    expect(alice.transcript("a").faults).toEqual(noFaults);
  });

  test("[FEED-1] `parley restore` begins another life: the position of the last one gets `room_gap` and the latest page", async () => {
    await using server = await spawnWithRooms(["a"]);
    using alice = await connectWithPositions(server, "alice");
    await alice.join("a");
    await sayTo(server, "a", "kept");
    await using backup = await createTemporaryFolder();
    const copy = path.join(backup.path, "copy.db");
    await runParley(server, ["backup", copy]);
    await sayTo(server, "a", "lost by the restore");
    await alice.until("both", () => alice.textsOf("a").length === 2);
    await server.kill();
    await using elsewhere = await createTemporaryFolder();
    const restored = path.join(elsewhere.path, "data");
    await runParley(server, ["restore", copy], restored);
    await using second = new SpawnedServer(
      server.config,
      server.folder,
      { PARLEY_STORE_PATH: restored, ...portsOf(server) },
      new AsyncDisposableStack(),
    );
    await second.start();
    await sayTo(second, "a", "after");
    await alice.until("the page", () => alice.transcript("a").gaps.length > 0 && alice.transcript("a").has(2));
    expect(alice.transcript("a").gaps).toEqual(["epoch"]);
    expect(alice.transcript("a").faults).toEqual(noFaults);
    expect(alice.lastPage.map(({ text }) => text)).toContain("kept");
  });
});

async function runParley(server: SpawnedServer, words: readonly string[], store = server.folder): Promise<void> {
  const main = path.join(repositoryRoot, "packages/server/src/main.ts");
  const environment = { PARLEY_STORE_PATH: store, PARLEY_AUTH_SECRET: server.config.auth.secret };
  await using child = await spawnNode([main, ...words], { folder: server.folder, environment });
  const { code } = await child.waitForExit();
  if (code !== 0) throw new Error(`parley ${words.join(" ")}: ${child.stderr}`);
}

function portsOf(server: SpawnedServer) {
  return {
    PARLEY_SERVER_PORT: new URL(server.url).port,
    PARLEY_INTERNAL_PORT: new URL(server.internalUrl).port,
  };
}

describe("a position that nothing can follow gets `room_gap`, then the latest page, then what comes:", () => {
  const cases: readonly {
    reason: string;
    settings: { retainEntriesMax?: number; catchUpMax?: number };
    position: (present: Position) => Position;
  }[] = [
    { reason: "epoch", settings: {}, position: ({ seq }) => ({ epoch: "another.life", seq }) },
    { reason: "floor", settings: { retainEntriesMax: 5 }, position: ({ epoch }) => ({ epoch, seq: 3 }) },
    { reason: "too_far", settings: { catchUpMax: 10 }, position: ({ epoch }) => ({ epoch, seq: 3 }) },
    { reason: "ahead", settings: {}, position: ({ epoch, seq }) => ({ epoch, seq: seq + 1 }) },
  ];

  async function setUpGap({ retainEntriesMax = 0, catchUpMax = 100_000 }: (typeof cases)[number]["settings"]) {
    const world = await setUpRecovery({ limits: { catchUpMax } });
    await world.server.operations.putRoom({ roomId: "a", access: "public", retainEntriesMax });
    for (let number = 1; number <= 20; number += 1) await say(world, "a", `${number}`);
    const { epoch, head } = await world.server.operations.room({ roomId: "a" });
    return { world, present: { epoch, seq: head } };
  }

  async function expectGap(world: Awaited<ReturnType<typeof setUpRecovery>>, client: StockClient, reason: string) {
    await client.until("the page", () => client.transcript("a").has(20));
    await say(world, "a", "next");
    await client.until("the next", () => client.textsOf("a").length > 0);
    const order = client.events.filter((event) => ["room_gap", "room_history", "new_message"].includes(event));
    expect(order).toEqual(["room_gap", "room_history", "new_message"]);
    expect(client.transcript("a").gaps).toEqual([reason]);
    expect(client.textsOf("a")).toEqual(["next"]);
    expect(client.lastPage.at(-1)).toMatchObject({ seq: 20, text: "20" });
    expect(client.transcript("a").faults).toEqual(noFaults);
  }

  test.each(cases)("[FEED-1] $reason, by `auth.resume`", async ({ reason, settings, position }) => {
    const { world, present } = await setUpGap(settings);
    await using _ = world;
    using alice = await connectAs(world, "alice", { auth: { resume: { a: position(present) } } });
    await expectGap(world, alice, reason);
    expect(alice.welcomes).toHaveLength(1);
  });

  test.each(cases)("[FEED-1] $reason, by `join_room`", async ({ reason, settings, position }) => {
    const { world, present } = await setUpGap(settings);
    await using _ = world;
    using alice = await connectAs(world, "alice");
    expect(await alice.request("join_room", { roomId: "a", after: position(present) })).toMatchObject({ ok: true });
    await expectGap(world, alice, reason);
  });

  test("[FEED-1] a room that was deleted and made again under its name has another epoch", async () => {
    await using world = await setUpRecovery();
    using alice = await connectAs(world, "alice");
    await alice.join("a");
    await say(world, "a", "in the first room");
    await alice.until("the message", () => alice.textsOf("a").length === 1);
    const { a: position } = alice.positions;
    await world.server.operations.deleteRoom({ roomId: "a" });
    await alice.until("the end", () => alice.events.includes("room_closed"));
    await world.server.operations.putRoom({ roomId: "a", access: "public" });
    await say(world, "a", "in the second room");
    await alice.join("a", position);
    await alice.until("the page", () => alice.transcript("a").gaps.length > 0 && alice.lastPage.length > 0);
    expect(alice.transcript("a").gaps).toEqual(["epoch"]);
    expect(alice.lastPage).toMatchObject([{ seq: 1, text: "in the second room" }]);
  });

  test("[REC-2] [FEED-1] retention passes a lost socket by: it recovers, is told of the gap there, and only there", async () => {
    await using world = await setUpRecovery();
    await world.server.operations.putRoom({ roomId: "a", access: "public", retainEntriesMax: 5 });
    using alice = await connectAs(world, "alice", transportOptions.websocket);
    for (const room of ["a", "b"]) await alice.join(room);
    for (const room of ["a", "b"]) await say(world, room, "before");
    await alice.until("both", () => alice.textsOf("a").length + alice.textsOf("b").length === 2);
    world.proxy.refuses = true;
    await lose(alice, () => world.proxy.cut());
    // Beyond what a feed keeps ready, so that the store is asked.
    for (let number = 0; number < 30; number += 1) await say(world, "a", `${number} ${"x".repeat(16_000)}`);
    await say(world, "b", "missed");
    world.proxy.refuses = false;
    await alice.until("all", () => alice.transcript("a").has(31) && alice.textsOf("b").length === 2);
    expect(alice.welcomes[1]?.recovered).toBe(true);
    expect(alice.transcript("a").gaps).toEqual(["floor"]);
    expect(alice.transcript("b").gaps).toEqual([]);
    expect(alice.textsOf("b")).toEqual(["before", "missed"]);
  });
});
