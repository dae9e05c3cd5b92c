import { describe, expect, test } from "vitest";
import { connectAs, lose, say, setUpRecovery } from "./support/recovery-world.ts";
import { type SpawnedServer, spawnServer, tokenFor } from "./support/server.ts";
import { StockClient, type StockTransport, transportOptions } from "./support/stock-client.ts";
import { TcpProxy } from "./support/tcp-proxy.ts";
import { noFaults } from "./support/transcript.ts";

const transports: readonly StockTransport[] = ["websocket", "polling", "upgrade"];

describe.each(transports)("over %s", (transport) => {
  const options = transportOptions[transport];

  test("[REC-2] a socket that was cut comes back as itself, in its rooms, with what it missed, once", async () => {
    await using world = await setUpRecovery();
    using alice = await connectAs(world, "alice", options);
    for (const room of ["a", "b"]) await alice.join(room);
    await say(world, "a", "before");
    await alice.until("the message", () => alice.textsOf("a").length === 1);
    world.proxy.refuses = true;
    await lose(alice, () => world.proxy.cut());
    await say(world, "a", "missed 1");
    await say(world, "b", "missed 2");
    await say(world, "c", "not joined");
    world.proxy.refuses = false;
    await alice.welcomed(2);
    await say(world, "a", "after");
    await alice.until("all", () => alice.textsOf("a").length >= 3 && alice.textsOf("b").length >= 1);
    const [first, second] = alice.welcomes;
    expect(second).toEqual({ id: first?.id, recovered: true });
    expect(alice.textsOf("a")).toEqual(["before", "missed 1", "after"]);
    expect(alice.textsOf("b")).toEqual(["missed 2"]);
    expect(alice.textsOf("c")).toEqual([]);
    expect(alice.transcript("a").faults).toEqual(noFaults);
  });

  test("[REC-2] it comes back before the server noticed the loss: the old connection gives way, nobody is told of a leave", async () => {
    await using world = await setUpRecovery({ presence: { leaveGraceMs: 500 } });
    using alice = await connectAs(world, "alice", options);
    using bob = await connectAs(world, "bob", options, world.server.url);
    const left: unknown[] = [];
    bob.socket.on("user_left", (who) => left.push(who));
    for (const client of [alice, bob]) await client.join("a");
    for (let time = 1; time <= 5; time += 1) {
      await lose(alice, () => world.proxy.abandon());
      await say(world, "a", `missed ${time}`);
      await alice.welcomed(time + 1);
    }
    await say(world, "a", "the last");
    for (const client of [alice, bob]) await client.until("all", () => client.textsOf("a").includes("the last"));
    expect(alice.welcomes.map(({ recovered }) => recovered)).toEqual([false, true, true, true, true, true]);
    expect(new Set(alice.welcomes.map(({ id }) => id)).size).toBe(1);
    expect(alice.textsOf("a")).toEqual([1, 2, 3, 4, 5].map((time) => `missed ${time}`).concat("the last"));
    expect(alice.transcript("a").faults).toEqual(noFaults);
    expect(world.server.operations.statistics().connections).toBe(2);
    await alice.request("leave_room", "a");
    await bob.until("the leave", () => left.length > 0);
    expect(left).toEqual([{ roomId: "a", userId: "alice" }]);
  });

  test("[REC-2] a socket that was cut before its first page came gets it when it is back, once", async () => {
    await using world = await setUpRecovery();
    using alice = await connectAs(world, "alice", options);
    await say(world, "a", "in the page");
    await alice.welcomed(1);
    if (transport === "upgrade") await alice.upgraded();
    const pages: number[] = [];
    alice.socket.on("room_history", (messages: readonly unknown[]) => pages.push(messages.length));
    for (const link of world.proxy.links) link.setPace("stalled");
    alice.transcript("a").starts();
    alice.socket.emit("join_room", "a");
    await world.until(() => world.server.operations.statistics().subscribers === 2);
    await lose(alice, () => world.proxy.cut());
    await alice.until("the page", () => pages.length > 0);
    await say(world, "a", "after");
    await alice.until("the message", () => alice.textsOf("a").length > 0);
    expect(alice.welcomes.at(-1)).toMatchObject({ recovered: true });
    expect(pages).toEqual([1]);
    expect(alice.transcript("a").faults).toEqual(noFaults);
  });
});

test("[REC-2] who was away too long begins anew, and is told so; what it remembers of its last life does no harm", async () => {
  await using world = await setUpRecovery({ recovery: { maxDisconnectionDurationMs: 1 } });
  using alice = await connectAs(world, "alice", transportOptions.websocket);
  await alice.join("a");
  for (const text of ["1", "2", "3"]) await say(world, "a", text);
  await alice.until("all", () => alice.textsOf("a").length === 3);
  world.proxy.refuses = true;
  await lose(alice, () => world.proxy.cut());
  await world.until(() => world.server.operations.statistics().detachedSessions === 0);
  const { epoch = "" } = alice.positions["a"] ?? {};
  world.proxy.refuses = false;
  await alice.welcomed(2);
  const [first, second] = alice.welcomes;
  expect(second?.recovered).toBe(false);
  expect(second?.id).not.toBe(first?.id);
  await alice.until("the marker", () => alice.events.includes("parley:position"));
  // In its new life it asks for everything again, loses it on the way, and comes back in time.
  for (const link of world.proxy.links) link.setPace("stalled");
  alice.socket.emit("join_room", { roomId: "a", after: { epoch, seq: 0 } });
  await world.until(() => world.server.operations.statistics().deliveredTotal === 6);
  world.proxy.cut();
  await alice.welcomed(3);
  expect(alice.welcomes[2]).toEqual({ id: second?.id, recovered: true });
  await alice.until("all again", () => alice.textsOf("a").length === 6);
  expect(alice.textsOf("a")).toEqual(["1", "2", "3", "1", "2", "3"]);
});

test("[REC-2] recovery may be turned off, by the server and by the client", async () => {
  await using off = await setUpRecovery({ recovery: { maxDisconnectionDurationMs: 0 } });
  using alice = await connectAs(off, "alice", transportOptions.websocket);
  await using on = await setUpRecovery();
  using bob = await connectAs(on, "bob", { ...transportOptions.websocket, auth: { recovery: false } });
  for (const { proxy, client } of [
    { proxy: off.proxy, client: alice },
    { proxy: on.proxy, client: bob },
  ]) {
    await client.welcomed(1);
    proxy.cut();
    await client.welcomed(2);
    expect(client.welcomes.map(({ recovered }) => recovered)).toEqual([false, false]);
    expect(new Set(client.welcomes.map(({ id }) => id)).size).toBe(2);
  }
});

test("[REC-2] a client without recovery gets exactly an event's own arguments", async () => {
  await using world = await setUpRecovery();
  using alice = await connectAs(world, "alice", { ...transportOptions.websocket, auth: { recovery: false } });
  const calls: [string, ...unknown[]][] = [];
  alice.socket.onAny((event: string, ...args: unknown[]) => calls.push([event, ...args]));
  await alice.request("join_room", "a");
  await say(world, "a", "hello");
  await world.server.operations.publish({ roomId: "a", event: "scored", data: { goals: 1 } });
  await world.server.operations.notifyUser({ userId: "alice", event: "invoice_paid", data: "yes" });
  await world.server.operations.announce({ message: "soon" });
  await alice.until("all", () => calls.length >= 5);
  const [history, ...others] = calls;
  expect(history).toEqual(["room_history", []]);
  const meta = { id: expect.any(String), seq: expect.any(Number), at: expect.any(String) };
  expect(others).toHaveLength(4);
  expect(others).toEqual(
    expect.arrayContaining([
      ["new_message", expect.objectContaining({ roomId: "a", text: "hello", seq: 1 })],
      ["scored", { goals: 1 }, meta],
      ["invoice_paid", "yes", meta],
      ["announcement", "soon", meta],
    ]),
  );
});

test("[REC-3] a session is its user's alone, and gives no room that its user may not read any more", async () => {
  await using world = await setUpRecovery();
  await world.server.operations.putRoom({ roomId: "closed", access: "members" });
  await world.server.operations.setMembership({ roomId: "closed", userId: "alice", role: "member" });
  using alice = await connectAs(world, "alice", transportOptions.websocket);
  for (const room of ["a", "closed"]) await alice.join(room);
  const pid: unknown = Reflect.get(alice.socket, "_pid");
  using mallory = await connectAs(world, "mallory", { ...transportOptions.websocket, auth: { pid } });
  await mallory.welcomed(1);
  expect(mallory.welcomes[0]).toEqual({ id: expect.not.stringMatching(alice.socket.id ?? ""), recovered: false });
  world.proxy.refuses = true;
  await lose(alice, () => world.proxy.cut());
  await world.server.operations.setMembership({ roomId: "closed", userId: "alice", role: null });
  await say(world, "closed", "secret");
  await say(world, "a", "open");
  world.proxy.refuses = false;
  await alice.welcomed(2);
  await alice.until("both", () => alice.textsOf("a").length === 1 && alice.events.includes("room_closed"));
  expect(alice.welcomes[1]?.recovered).toBe(true);
  expect(alice.textsOf("closed")).toEqual([]);
  await say(world, "closed", "another secret");
  await say(world, "a", "the end");
  await alice.until("the end", () => alice.textsOf("a").includes("the end"));
  expect(alice.textsOf("closed")).toEqual([]);
});

describe.each(transports)("over %s, a node of its own that ends and starts again", (transport) => {
  const options = transportOptions[transport];

  async function send(server: SpawnedServer, room: string, text: string): Promise<void> {
    await server.api("POST", `/rooms/${room}/messages`, { userId: "carol", text });
  }

  async function startServer(): Promise<SpawnedServer> {
    const server = await spawnServer();
    for (const room of ["a", "b", "c"]) await server.api("PUT", `/rooms/${room}`, { access: "public" });
    return server;
  }

  /** In room `a` with its page and a message, in room `b` from where it stands, and not in room `c` any more. */
  async function connectAlice(server: SpawnedServer, proxy: TcpProxy): Promise<StockClient> {
    const alice = new StockClient(proxy.url, { ...options, auth: { token: await tokenFor(server, "alice") } });
    await alice.join("c");
    await alice.join("a");
    await alice.request("join_room", { roomId: "b", history: 0 });
    alice.transcript("b").continues(0);
    await alice.request("leave_room", "c");
    await send(server, "a", "before");
    await alice.until("the message", () => alice.textsOf("a").length === 1);
    return alice;
  }

  test.each(["SIGKILL", "SIGTERM"] as const)(
    "[REC-2] by %s: the client comes back as itself, in its rooms, with what it missed, once",
    async (signal) => {
      await using server = await startServer();
      await using proxy = await TcpProxy.before(server.url);
      using alice = await connectAlice(server, proxy);
      proxy.refuses = true;
      if (signal === "SIGKILL") await server.kill();
      else await server.stop();
      await server.start();
      for (const room of ["a", "b", "c"]) await send(server, room, "missed");
      proxy.refuses = false;
      await alice.welcomed(2);
      for (const room of ["a", "b", "c"]) await send(server, room, "after");
      await alice.until("all", () => ["a", "b"].every((room) => alice.textsOf(room).includes("after")));
      const [first, second] = alice.welcomes;
      expect(second).toEqual({ id: first?.id, recovered: true });
      expect(alice.textsOf("a")).toEqual(["before", "missed", "after"]);
      expect(alice.textsOf("b")).toEqual(["missed", "after"]);
      expect(alice.textsOf("c")).toEqual([]);
      for (const room of ["a", "b"]) expect(alice.transcript(room).faults).toEqual(noFaults);
    },
    60_000,
  );
});

test("[REC-3] after a kill, too, a session is its user's alone, and gives no room that its user may not read any more", async () => {
  await using server = await spawnServer();
  await server.api("PUT", "/rooms/a", { access: "public" });
  await server.api("PUT", "/rooms/closed", { access: "members" });
  await server.api("PUT", "/rooms/closed/members/alice", { role: "member" });
  await using proxy = await TcpProxy.before(server.url);
  const websocket = transportOptions.websocket;
  using alice = new StockClient(proxy.url, { ...websocket, auth: { token: await tokenFor(server, "alice") } });
  for (const room of ["a", "closed"]) await alice.join(room);
  const pid: unknown = Reflect.get(alice.socket, "_pid");
  proxy.refuses = true;
  await server.kill();
  await server.start();
  await server.api("DELETE", "/rooms/closed/members/alice");
  using mallory = new StockClient(server.url, {
    ...websocket,
    auth: { token: await tokenFor(server, "mallory"), pid },
  });
  await mallory.welcomed(1);
  const [first] = alice.welcomes;
  expect(mallory.welcomes[0]?.recovered).toBe(false);
  expect(mallory.welcomes[0]?.id).not.toBe(first?.id);
  proxy.refuses = false;
  await alice.welcomed(2);
  expect(alice.welcomes[1]?.recovered).toBe(true);
  await alice.until("the closing", () => alice.events.includes("room_closed"));
  for (const room of ["closed", "a"])
    await server.api("POST", `/rooms/${room}/messages`, { userId: "carol", text: "hello" });
  await alice.until("the message", () => alice.textsOf("a").length === 1);
  expect(alice.textsOf("closed")).toEqual([]);
}, 60_000);
