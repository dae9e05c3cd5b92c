import { expect, test } from "vitest";
import { FakeServer } from "../test/fake-server.ts";
import { ManualTimers } from "../test/manual-timers.ts";
import { Recorder, recordStates, recordTexts } from "../test/recorder.ts";
import { connect, type ConnectOptions } from "./client.ts";
import type { RoomReset } from "./subscription.ts";

const quick = { backoff: { minMs: 1, maxMs: 4 } };

function connectTo(server: FakeServer, options: ConnectOptions = {}) {
  const client = connect({ url: server.url, token: "t", ...quick, ...options });
  return Object.assign(client, { [Symbol.dispose]: () => client.close() });
}

test("a join gives the latest page, then what follows", async () => {
  await using server = await FakeServer.start();
  server.say("room:1", "before");
  using client = connectTo(server);
  const room = client.room("room:1");
  const resets = new Recorder<RoomReset>();
  room.on("reset", resets.add);
  const texts = recordTexts(room);
  expect(await room.join()).toEqual({ epoch: "e1", seq: 1 });
  server.say("room:1", "after");
  expect(await texts.count(1)).toEqual(["after"]);
  expect(resets.values.map(({ reason, messages }) => [reason, messages.map(({ text }) => text)])).toEqual([
    ["joined", ["before"]],
  ]);
});

test("a second join of a joined room asks the server nothing", async () => {
  await using server = await FakeServer.start();
  using client = connectTo(server);
  const room = client.room("r");
  await Promise.all([room.join(), room.join()]);
  await room.join();
  expect(server.count("join_room")).toBe(1);
});

test("a refused join rejects with the server's code and is not repeated", async () => {
  await using server = await FakeServer.start();
  server.interfere = () => ({ code: "forbidden" });
  using client = connectTo(server);
  const room = client.room("r");
  const closed = new Recorder<string>();
  room.on("closed", ({ code }) => closed.add(code));
  await expect(room.join()).rejects.toMatchObject({ code: "forbidden", retry: "never" });
  expect(closed.values).toEqual(["forbidden"]);
  expect(server.count("join_room")).toBe(1);
});

test("a join that the server cannot decide now is repeated until it can", async () => {
  await using server = await FakeServer.start();
  server.interfere = () => (server.count("join_room") < 3 ? { code: "access_unavailable" } : undefined);
  using client = connectTo(server);
  await client.room("r").join();
  expect(server.count("join_room")).toBe(3);
});

test("[REC-1] a lost connection resumes at the positions reached, with nothing lost, repeated or asked for", async () => {
  await using server = await FakeServer.start();
  using client = connectTo(server);
  const states = recordStates(client);
  const room = client.room("r");
  const texts = recordTexts(room);
  await room.join();
  server.say("r", "one");
  await texts.count(1);
  server.append("@announcements", "announcement", ["hello", { id: "a", seq: 1, at: "now" }]);
  const heard = new Recorder<unknown>();
  client.on("announcement", ({ message }) => heard.add(message));
  await heard.count(1);

  server.dropConnections();
  server.say("r", "two", { deliver: false });
  server.append("@announcements", "announcement", ["again", { id: "b", seq: 2, at: "now" }], { deliver: false });
  await states.first(({ state }) => state === "waiting");
  expect(await texts.count(2)).toEqual(["one", "two"]);
  expect(await heard.count(2)).toEqual(["hello", "again"]);
  expect(server.auths[1]?.resume).toEqual({ r: { epoch: "e1", seq: 1 }, "@announcements": { epoch: "e1", seq: 1 } });
  expect(server.count("join_room")).toBe(1);
});

test("[REC-1] after the server's death and return a client has every message once", async () => {
  await using server = await FakeServer.start();
  using client = connectTo(server);
  const room = client.room("r");
  const texts = recordTexts(room);
  await room.join();
  server.say("r", "one");
  await texts.count(1);
  await server.kill();
  server.say("r", "two");
  room.send("three");
  await server.listen();
  expect(await texts.count(3)).toEqual(["one", "two", "three"]);
});

test("entries that the app named come with their data, in rooms and for the user", async () => {
  await using server = await FakeServer.start();
  using client = connectTo(server);
  const room = client.room("r");
  const events = new Recorder<unknown>();
  room.on("event", events.add);
  client.on("notification", events.add);
  await room.join();
  const meta = { id: "i", seq: 1, at: "now" };
  server.append("r", "message", [{ price: 1 }, meta]);
  server.append("@user:me", "invoice_paid", ["text", meta]);
  server.deliver("@user:me", 1);
  server.append("@user:me", "invoice_paid", [null, { ...meta, seq: 2 }]);
  expect(await events.count(3)).toEqual([
    { name: "message", data: { price: 1 }, ...meta },
    { name: "invoice_paid", data: "text", ...meta },
    { name: "invoice_paid", data: null, ...meta, seq: 2 },
  ]);
});

test("a missing notification is asked for with a new connection, once for each place", async () => {
  await using server = await FakeServer.start();
  using client = connectTo(server);
  const seen = new Recorder<number>();
  client.on("notification", ({ seq }) => seen.add(seq));
  await server.until(() => server.connections === 1);
  const notify = (deliver: boolean) => {
    const seq = server.auths.length;
    server.append("@user:me", "n", [0, { id: "i", seq, at: "" }], { deliver });
  };
  notify(true);
  notify(false);
  notify(true);
  expect((await seen.count(3)).length).toBe(3);
  expect(server.auths.map(({ resume }) => resume["@user:me"])).toEqual([undefined, { epoch: "e1", seq: 1 }]);
  notify(false);
  notify(true);
  expect((await seen.count(5)).length).toBe(5);
  expect(server.auths[2]?.resume["@user:me"]).toEqual({ epoch: "e1", seq: 3 });
});

test("[REC-1] a first announcement that was made while the client was away is not missed", async () => {
  await using server = await FakeServer.start();
  server.append("@announcements", "announcement", ["old", { id: "a", seq: 1, at: "" }]);
  using client = connectTo(server);
  const heard = new Recorder<unknown>();
  client.on("announcement", ({ message }) => heard.add(message));
  await client.room("r").join();
  server.dropConnections();
  server.append("@announcements", "announcement", ["new", { id: "b", seq: 2, at: "" }], { deliver: false });
  expect(await heard.count(1)).toEqual(["new"]);
});

test("[ACC-1] a room that the server closes delivers nothing more", async () => {
  await using server = await FakeServer.start();
  using client = connectTo(server);
  const room = client.room("r");
  const closed = new Recorder<string>();
  room.on("closed", ({ code }) => closed.add(code));
  const texts = recordTexts(room);
  await room.join();
  server.broadcast("room_closed", { roomId: "r", reason: "forbidden" });
  expect(await closed.count(1)).toEqual(["forbidden"]);
  server.say("r", "secret");
  expect((await client.room("other").join()).seq).toBe(0);
  expect(texts.values).toEqual([]);
});

test("nothing of a room is delivered after its leave", async () => {
  await using server = await FakeServer.start();
  using client = connectTo(server);
  const room = client.room("r");
  const texts = recordTexts(room);
  await room.join();
  const left = room.leave();
  server.say("r", "late");
  await left;
  expect(texts.values).toEqual([]);
  const joined = new Recorder<string>();
  room.on("joined", joined.add);
  server.broadcast("user_joined", { roomId: "r", userId: "bert" });
  await room.history();
  expect(joined.values).toEqual([]);
  server.dropConnections();
  await server.until(() => server.auths.length === 2);
  expect(server.auths[1]?.resume).not.toHaveProperty("r");
});

test("a leave that is refused for a while is asked for again, unless the room is joined again", async () => {
  await using server = await FakeServer.start();
  const timers = new ManualTimers();
  using client = connectTo(server, { timers });
  const room = client.room("r");
  const texts = recordTexts(room);
  await room.join();
  server.interfere = (event) => (event === "leave_room" ? { code: "store_unavailable" } : undefined);
  await room.leave();
  server.interfere = () => undefined;
  timers.advance(4);
  await server.until(() => server.count("leave_room") === 2);
  await room.join();
  server.interfere = (event) => (event === "leave_room" ? { code: "rate_limited", retryAfterMs: 50 } : undefined);
  await room.leave();
  await room.join();
  timers.advance(50);
  server.say("r", "still here");
  expect(await texts.count(1)).toEqual(["still here"]);
  await client.room("other").join();
  expect(server.count("leave_room")).toBe(3);
});

test("signals and presence reach the room", async () => {
  await using server = await FakeServer.start();
  using client = connectTo(server);
  const room = client.room("r");
  const seen = new Recorder<string>();
  room.on("joined", (userId) => seen.add(`joined ${userId}`));
  room.on("left", (userId) => seen.add(`left ${userId}`));
  room.on("typing", (userId) => seen.add(`typing ${userId}`));
  await room.join();
  server.broadcast("user_joined", { roomId: "r", userId: "ada" });
  server.broadcast("user_typing", { roomId: "r", userId: "ada" });
  server.broadcast("user_left", { roomId: "r", userId: "ada" });
  expect(await seen.count(3)).toEqual(["joined ada", "typing ada", "left ada"]);
  expect(await room.presence()).toMatchObject({ users: ["me"], count: 1 });
});

test("typing is told at most every 2 s", async () => {
  await using server = await FakeServer.start();
  const timers = new ManualTimers();
  using client = connectTo(server, { timers });
  const room = client.room("r");
  await room.join();
  room.typing();
  room.typing();
  timers.advance(2_000);
  room.typing();
  await room.presence();
  expect(server.count("typing")).toBe(2);
});

test("a request without a connection fails at once, and one that is not answered in time fails then", async () => {
  await using server = await FakeServer.start();
  const timers = new ManualTimers();
  using client = connectTo(server, { timers });
  const room = client.room("r");
  await expect(room.history()).rejects.toMatchObject({ code: "disconnected", retry: "later" });
  await room.join();
  server.interfere = () => "swallow";
  const history = room.history({ before: 5 });
  timers.advance(10_000);
  await expect(history).rejects.toMatchObject({ code: "timed_out", retry: "later" });
});

test("a closed client leaves no timer and no connection behind", async () => {
  await using server = await FakeServer.start();
  const timers = new ManualTimers();
  const client = connectTo(server, { timers });
  await client.room("r").join();
  server.interfere = () => "swallow";
  const history = client.room("r").history();
  client.close();
  await expect(history).rejects.toMatchObject({ code: "disconnected" });
  await server.until(() => server.connections === 0);
  expect(timers.waiting).toBe(0);
  expect(client.state).toMatchObject({ state: "closed", verdict: { code: "closed" } });
});

test("a join after the client has ended is refused for the same reason, and waits for nothing", async () => {
  await using server = await FakeServer.start();
  using client = connectTo(server);
  const room = client.room("r");
  const closed = new Recorder<string>();
  room.on("closed", ({ code }) => closed.add(code));
  client.close();
  await expect(room.join()).rejects.toMatchObject({ code: "closed" });
  expect(closed.values).toEqual(["closed"]);
});

test("a message that waits for a join which is refused goes out, and fails or not by itself", async () => {
  await using server = await FakeServer.start();
  server.interfere = () => ({ code: "forbidden" });
  using client = connectTo(server);
  const room = client.room("r");
  const joined = Promise.allSettled([room.join()]);
  const { outcome } = room.send("x");
  expect(await joined).toMatchObject([{ reason: { code: "forbidden" } }]);
  expect(await outcome).toMatchObject({ status: "failed", error: { code: "forbidden" } });
});

test("a message that waits for a join goes out when the room is left", async () => {
  await using server = await FakeServer.start();
  server.interfere = (event) => (event === "join_room" ? "swallow" : undefined);
  using client = connectTo(server);
  await recordStates(client).first(({ state }) => state === "connected");
  const room = client.room("r");
  const joined = Promise.allSettled([room.join()]);
  const { outcome } = room.send("x");
  await room.leave();
  expect(await joined).toMatchObject([{ reason: { code: "closed" } }]);
  expect(await outcome).toMatchObject({ status: "sent" });
});

test("a room that is left after a connection asked to resume it is left there, too", async () => {
  await using server = await FakeServer.start();
  using client = connectTo(server);
  const room = client.room("r");
  await room.join();
  server.admit = () => {
    void room.leave();
    return undefined;
  };
  server.dropConnections();
  await server.until(() => server.count("leave_room") === 1);
  expect(server.auths[1]?.resume).toHaveProperty("r");
});

test("[FEED-1] a text in an event of the app is no position, whatever it looks like", async () => {
  await using server = await FakeServer.start();
  using client = connectTo(server);
  const room = client.room("r");
  const texts = recordTexts(room);
  await room.join();
  server.broadcast("echo", "r:e1:1", null);
  server.say("r", "one");
  server.say("r", "two");
  expect(await texts.count(2)).toEqual(["one", "two"]);
});

test("[OUT-1] what a node owes when it goes is asked for again at the next one, at once", async () => {
  await using server = await FakeServer.start();
  server.interfere = (event) =>
    event === "send_message" && server.count("send_message") === 1 ? "swallow" : undefined;
  using client = connectTo(server, { requestTimeoutMs: 3_600_000 });
  const room = client.room("r");
  await room.join();
  const { outcome } = room.send("x");
  await server.until(() => server.count("send_message") === 1);
  server.broadcast("server_draining", { withinMs: 100 });
  const states = recordStates(client);
  const subscribed = new Recorder<true>();
  room.on("subscribed", () => subscribed.add(true));
  await subscribed.count(1);
  server.dropOldest();
  expect(await outcome).toMatchObject({ status: "sent" });
  expect(states.values.map(({ state }) => state)).toEqual(["connected"]);
});

test("an announcement that was erased is passed over, without a new connection", async () => {
  await using server = await FakeServer.start();
  using client = connectTo(server);
  const heard = new Recorder<unknown>();
  client.on("announcement", ({ message }) => heard.add(message));
  await recordStates(client).first(({ state }) => state === "connected");
  server.append("@announcements", "announcement", ["one", { id: "a", seq: 1, at: "now" }]);
  server.append("@announcements", "entry_erased", [{ roomId: "@announcements", seq: 2 }]);
  server.append("@announcements", "announcement", ["three", { id: "c", seq: 3, at: "now" }]);
  expect(await heard.count(2)).toEqual(["one", "three"]);
  expect(server.auths).toHaveLength(1);
});
