import { expect, test } from "vitest";
import { FakeServer } from "../test/fake-server.ts";
import { ManualTimers } from "../test/manual-timers.ts";
import { Recorder, recordTexts } from "../test/recorder.ts";
import { connect, type ConnectOptions } from "./client.ts";
import { RoomStore, type RoomView } from "./room-store.ts";

function openRoom(server: FakeServer, options: ConnectOptions = {}) {
  const timers = new ManualTimers();
  const client = connect({ url: server.url, token: "t", backoff: { minMs: 1, maxMs: 4 }, ...options });
  const store = new RoomStore(client.room("r"), timers);
  const views = new Recorder<RoomView>();
  const subscribe = (): (() => void) => store.subscribe(() => views.add(store.view()));
  return { client, timers, store, views, subscribe, [Symbol.dispose]: () => client.close() };
}

const textsOf = ({ messages }: RoomView): readonly string[] => messages.map(({ text }) => text);
const isJoined = ({ state, peopleCount }: RoomView): boolean => state === "joined" && peopleCount > 0;

test("shows messages in their present state, and who is there", async () => {
  await using server = await FakeServer.start();
  server.say("r", "before");
  using room = openRoom(server);
  expect(room.store.view()).toMatchObject({ state: "joining", messages: [], people: [] });
  room.subscribe();
  expect(await room.views.first(isJoined)).toMatchObject({ people: ["me"], peopleCount: 1, error: undefined });
  const edited = server.say("r", "edit me");
  const deleted = server.say("r", "delete me");
  const change = { id: "c", roomId: "r", userId: "someone" };
  server.append("r", "message_edited", [
    { ...change, seq: 4, messageSeq: edited, text: "edited", editedAt: "2030-01-01T00:00:00.000Z" },
  ]);
  server.append("r", "message_deleted", [
    { ...change, seq: 5, messageSeq: deleted, deletedAt: "2030-01-01T00:00:00.000Z" },
  ]);
  await room.views.first((view) => view.messages.some(({ deletedAt }) => deletedAt !== undefined));
  expect(textsOf(room.store.view())).toEqual(["before", "edited", ""]);
});

test("what is erased while it is shown goes away, and its place stays empty", async () => {
  await using server = await FakeServer.start();
  const erased = server.say("r", "erase me");
  using room = openRoom(server);
  room.subscribe();
  await room.views.first(isJoined);
  server.say("r", "stays");
  server.append("r", "entry_erased", [{ roomId: "r", seq: 3, entrySeq: erased }]);
  server.append("r", "entry_erased", [{ roomId: "r", seq: 4 }]);
  server.say("r", "last");
  await room.views.first((view) => textsOf(view).includes("last"));
  expect(textsOf(room.store.view())).toEqual(["stays", "last"]);
});

test("a message of one's own is among the outgoing ones until it is among the messages, never in both", async () => {
  await using server = await FakeServer.start();
  using room = openRoom(server);
  room.subscribe();
  await room.views.first(isJoined);
  const { outcome } = room.store.view().send("mine");
  expect(room.store.view().outgoing).toMatchObject([{ text: "mine", status: "sending" }]);
  await outcome;
  const shown = await room.views.first((view) => textsOf(view).includes("mine"));
  expect(shown.outgoing).toEqual([]);
  for (const view of room.views.values.slice(room.views.values.indexOf(shown)))
    expect(textsOf(view).length + view.outgoing.length).toBe(1);
});

test("a failed message stays until it is discarded or sent again", async () => {
  await using server = await FakeServer.start();
  using room = openRoom(server);
  room.subscribe();
  await room.views.first(isJoined);
  server.interfere = (event) => (event === "send_message" ? { code: "payload_too_large" } : undefined);
  const [one, two] = [room.store.view().send("one"), room.store.view().send("two")];
  await Promise.all([one.outcome, two.outcome]);
  expect(room.store.view().outgoing.map(({ status }) => status)).toEqual(["failed", "failed"]);
  expect(room.store.view().discard(one.clientId)).toBe(true);
  expect(room.store.view().discard(one.clientId)).toBe(false);
  server.interfere = () => undefined;
  await room.store.view().room.retry(two.clientId)?.outcome;
  const done = await room.views.first((view) => textsOf(view).includes("two"));
  expect(done.outgoing).toEqual([]);
});

test("a message that the outbox has no room for can be discarded, too", async () => {
  await using server = await FakeServer.start();
  using room = openRoom(server, { outbox: { itemsMax: 0 } });
  room.subscribe();
  const { clientId } = room.store.view().send("too much");
  expect(room.store.view().outgoing).toMatchObject([{ status: "failed", error: { code: "outbox_full" } }]);
  expect([room.store.view().discard(clientId), room.store.view().discard(clientId)]).toEqual([true, false]);
  expect(room.store.view().outgoing).toEqual([]);
});

test("of messages that the outbox had no room for the last ones stay", async () => {
  await using server = await FakeServer.start();
  using room = openRoom(server, { outbox: { itemsMax: 0 } });
  room.subscribe();
  for (let number = 1; number <= 2_001; number += 1) room.store.view().send(`${number}`);
  const { outgoing } = room.store.view();
  expect([outgoing.length, outgoing[0]?.text, outgoing.at(-1)?.text]).toEqual([2_000, "2", "2001"]);
});

test("whoever types is shown for a while, or until the message is there", async () => {
  await using server = await FakeServer.start();
  using room = openRoom(server);
  const stop = room.subscribe();
  await room.views.first(isJoined);
  for (const userId of ["bob", "someone"]) server.broadcast("user_typing", { roomId: "r", userId });
  await room.views.first(({ typing }) => typing.length === 2);
  server.say("r", "done typing");
  await room.views.first((view) => textsOf(view).length === 1);
  expect(room.store.view().typing).toEqual(["bob"]);
  room.timers.advance(3_500);
  expect(room.store.view().typing).toEqual([]);
  server.broadcast("user_typing", { roomId: "r", userId: "bob" });
  await expect.poll(() => room.store.view().typing).toEqual(["bob"]);
  stop();
  await server.until(() => server.count("leave_room") === 1);
  expect(room.timers.waiting).toBe(0);
});

test("a refusal closes the room, and a later join opens it", async () => {
  await using server = await FakeServer.start();
  server.interfere = () => ({ code: "forbidden" });
  using room = openRoom(server);
  room.subscribe();
  const closed = await room.views.first(({ state }) => state === "closed");
  expect(closed.error).toMatchObject({ code: "forbidden" });
  server.interfere = () => undefined;
  await room.store.view().room.join();
  expect(room.store.view()).toMatchObject({ state: "joined", error: undefined });
});

test("the room is left with its last subscriber, but not between two that follow each other at once", async () => {
  await using server = await FakeServer.start();
  using room = openRoom(server);
  const first = room.subscribe();
  await room.views.first(isJoined);
  first();
  const [second, third] = [room.subscribe(), room.subscribe()];
  second();
  server.say("r", "still here");
  await room.views.first((view) => textsOf(view).includes("still here"));
  expect([server.count("join_room"), server.count("leave_room")]).toEqual([1, 0]);
  third();
  await server.until(() => server.count("leave_room") === 1);
  expect(room.store.view()).toMatchObject({ state: "joining", messages: [] });
  room.subscribe();
  await expect.poll(() => textsOf(room.store.view())).toEqual(["still here"]);
});

test("a message that was committed before the latest page is not shown below it", async () => {
  await using server = await FakeServer.start();
  using room = openRoom(server);
  room.subscribe();
  const { client, store } = room;
  const later = { id: "m", roomId: "r", seq: 90, userId: "her", text: "", createdAt: "2030-01-01T00:00:00.000Z" };
  const own = { clientId: "c", roomId: "r", text: "mine", createdAt: later.createdAt };
  client.room("r").emit("outgoing", { ...own, status: "sending" });
  client.room("r").emit("reset", { reason: "too_far", messages: [later] });
  expect(store.view().outgoing).toHaveLength(1);
  client.room("r").emit("outgoing", { ...own, status: "sent", id: "o", seq: 7 });
  expect(store.view().outgoing).toEqual([]);
  client.room("r").emit("outgoing", { ...own, status: "sent", id: "o", seq: 91 });
  expect(store.view().outgoing).toHaveLength(1);
  client.room("r").emit("reset", { reason: "too_far", messages: [{ ...later, seq: 190 }] });
  expect(store.view().outgoing).toEqual([]);
});

test("a room that the app has joined before is shown from its latest page on", async () => {
  await using server = await FakeServer.start();
  server.say("r", "before");
  using room = openRoom(server);
  await room.client.room("r").join({ history: 0 });
  room.subscribe();
  await room.views.first((view) => isJoined(view) && view.messages.length === 1);
  server.say("r", "after");
  await room.views.first((view) => view.messages.length === 2);
  expect(textsOf(room.store.view())).toEqual(["before", "after"]);
});

test("who is there is asked again after a refusal that passes, and after no answer", async () => {
  await using server = await FakeServer.start();
  server.interfere = (event) => {
    if (event !== "presence" || server.count("presence") > 2) return undefined;
    return server.count("presence") === 1 ? { code: "rate_limited", retryAfterMs: 2 } : "swallow";
  };
  using room = openRoom(server, { requestTimeoutMs: 200 });
  room.subscribe();
  expect(await room.views.first(isJoined)).toMatchObject({ people: ["me"], peopleCount: 1 });
});

test("who is there is asked once at a time, and once more when some came meanwhile", async () => {
  await using server = await FakeServer.start();
  server.interfere = (event) => {
    if (event === "presence" && server.count("presence") === 1)
      for (const userId of ["a", "b", "c"]) server.broadcast("user_joined", { roomId: "r", userId });
    return undefined;
  };
  using room = openRoom(server);
  room.subscribe();
  await server.until(() => server.count("presence") === 2);
  await room.client.room("other").join();
  expect(server.count("presence")).toBe(2);
});

test("a room that the app has joined itself stays joined without a subscriber", async () => {
  await using server = await FakeServer.start();
  using room = openRoom(server);
  await room.client.room("r").join();
  const stop = room.subscribe();
  await room.views.first(isJoined);
  stop();
  const texts = recordTexts(room.client.room("r"));
  server.say("r", "for the app");
  expect(await texts.count(1)).toEqual(["for the app"]);
  expect(server.count("leave_room")).toBe(0);
});

test("a room that the app joins while it is shown stays joined, until the app leaves it", async () => {
  await using server = await FakeServer.start();
  using room = openRoom(server);
  const stop = room.subscribe();
  await room.views.first(isJoined);
  await room.client.room("r").join();
  stop();
  const texts = recordTexts(room.client.room("r"));
  server.say("r", "for the app");
  expect(await texts.count(1)).toEqual(["for the app"]);
  expect(server.count("leave_room")).toBe(0);
  await room.client.room("r").leave();
  room.subscribe()();
  await server.until(() => server.count("leave_room") === 2);
});

test("a room that the app leaves while it is shown is closed to its view, until it is joined again", async () => {
  await using server = await FakeServer.start();
  using room = openRoom(server);
  room.subscribe();
  await room.views.first(isJoined);
  const shown = room.client.room("r");
  await shown.leave();
  expect(room.store.view()).toMatchObject({ state: "closed", error: { code: "closed" }, people: [], peopleCount: 0 });
  server.say("r", "missed");
  await shown.join();
  await room.views.first((view) => isJoined(view) && textsOf(view).includes("missed"));
});

test("who joins again upon the leave is in the room", async () => {
  await using server = await FakeServer.start();
  using opened = openRoom(server);
  const room = opened.client.room("r");
  await room.join();
  const stop = room.on("closed", () => {
    stop();
    void room.join();
  });
  await room.leave();
  const texts = recordTexts(room);
  await server.until(() => server.count("join_room") === 2);
  server.say("r", "here again");
  expect(await texts.count(1)).toEqual(["here again"]);
});

test("a room that was closed to its view, and is joined once more for it, is left with it", async () => {
  await using server = await FakeServer.start();
  server.interfere = () => ({ code: "forbidden" });
  using room = openRoom(server);
  const stop = room.subscribe();
  await room.views.first(({ state }) => state === "closed");
  server.interfere = () => undefined;
  await room.client.room("r").join();
  stop();
  await server.until(() => server.count("leave_room") === 1);
  expect(server.count("join_room")).toBe(2);
});
