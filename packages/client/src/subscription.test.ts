import { expect, test } from "vitest";
import { FakeServer } from "../test/fake-server.ts";
import { Recorder, recordStates, recordTexts } from "../test/recorder.ts";
import { connect } from "./client.ts";
import type { RoomReset } from "./subscription.ts";

function connectTo(server: FakeServer) {
  const client = connect({ url: server.url, token: "t", backoff: { minMs: 1, maxMs: 4 } });
  return Object.assign(client, { [Symbol.dispose]: () => client.close() });
}

test("[FEED-1] repeated entries are dropped, and missing ones are asked for", async () => {
  await using server = await FakeServer.start();
  using client = connectTo(server);
  const room = client.room("r");
  const texts = recordTexts(room);
  await room.join();
  server.say("r", "one");
  server.deliver("r", 1);
  server.say("r", "two", { deliver: false });
  server.say("r", "three");
  server.deliver("r", 2);
  expect(await texts.count(3)).toEqual(["one", "two", "three"]);
  await server.until(() => server.count("join_room") === 2);
  expect(server.received.at(-1)?.payload).toEqual({ roomId: "r", after: { epoch: "e1", seq: 1 } });
});

test("a gap that the server cannot close ends in the latest page", async () => {
  await using server = await FakeServer.start();
  using client = connectTo(server);
  const room = client.room("r");
  const resets = new Recorder<number>();
  room.on("reset", ({ messages }) => resets.add(messages.length));
  await room.join();
  server.broadcast("new_message", {}, "r:e1:9");
  await server.until(() => server.count("join_room") === 2);
  server.broadcast("new_message", {}, "r:e1:9");
  await server.until(() => server.count("join_room") === 3);
  expect(await resets.count(2)).toEqual([0, 0]);
  expect(server.received.at(-1)?.payload).toEqual({ roomId: "r" });
});

test("[FEED-1] a room whose log has another life starts over with the latest page", async () => {
  await using server = await FakeServer.start();
  using client = connectTo(server);
  const room = client.room("r");
  const resets = new Recorder<RoomReset>();
  const gaps = new Recorder<string>();
  room.on("reset", resets.add);
  room.on("gap", ({ reason }) => gaps.add(reason));
  const texts = recordTexts(room);
  await room.join();
  server.say("r", "one");
  await texts.count(1);
  server.epoch = "e2";
  server.dropConnections();
  const [, second] = await resets.count(2);
  expect(second).toMatchObject({ reason: "epoch", messages: [{ text: "one" }] });
  expect(gaps.values).toEqual(["epoch"]);
  server.say("r", "two");
  expect(await texts.count(2)).toEqual(["one", "two"]);
});

test("[FEED-1] missing entries whose connection was lost as they were asked for are asked for on the next one", async () => {
  await using server = await FakeServer.start();
  using client = connectTo(server);
  const room = client.room("r");
  const texts = recordTexts(room);
  await room.join();
  server.interfere = (event) => (event === "join_room" ? "swallow" : undefined);
  server.say("r", "one", { deliver: false });
  server.say("r", "two");
  await server.until(() => server.count("join_room") === 2);
  server.interfere = () => undefined;
  server.dropConnections();
  expect(await texts.count(2)).toEqual(["one", "two"]);
  server.say("r", "three", { deliver: false });
  server.say("r", "four");
  expect(await texts.count(4)).toEqual(["one", "two", "three", "four"]);
});

test("the answer to a join that was given up says nothing of the next one", async () => {
  await using server = await FakeServer.start();
  using client = connectTo(server);
  const room = client.room("r");
  await recordStates(client).first(({ state }) => state === "connected");
  const ends = async (first: "forbidden" | undefined) => {
    const before = server.count("join_room");
    const answers = [first === undefined ? undefined : { code: first }, "swallow" as const];
    server.interfere = (event) => (event === "join_room" ? answers[server.count("join_room") - before - 1] : undefined);
    const joins = [room.join(), room.leave()];
    const refused = new Recorder<unknown>();
    const stops = [room.on("closed", refused.add), room.on("subscribed", () => refused.add("subscribed"))];
    const settled = Promise.allSettled([...joins, room.join()]);
    await room.presence();
    for (const stop of stops) stop();
    await room.leave();
    await settled;
    return refused.values;
  };
  expect(await ends("forbidden")).toEqual([]);
  expect(await ends(undefined)).toEqual([]);
});

test("an event of a newer contract moves the position, and is no event of the app", async () => {
  await using server = await FakeServer.start();
  using client = connectTo(server);
  const room = client.room("r");
  const events = new Recorder<unknown>();
  room.on("event", events.add);
  const texts = recordTexts(room);
  await room.join();
  server.append("r", "poll_opened", [{ question: "?" }]);
  server.say("r", "two");
  expect(await texts.count(1)).toEqual(["two"]);
  expect(events.values).toEqual([]);
  expect(server.count("join_room")).toBe(1);
});

test("[REC-1] a client in more rooms than one connection may resume joins the others anew", async () => {
  await using server = await FakeServer.start();
  using client = connectTo(server);
  const rooms = Array.from({ length: 1_001 }, (_, index) => client.room(`r${index}`));
  await Promise.all(rooms.map((room) => room.join()));
  const last = recordTexts(client.room("r1000"));
  server.dropConnections();
  server.say("r1000", "meanwhile", { deliver: false });
  expect(await last.count(1)).toEqual(["meanwhile"]);
  expect(Object.keys(server.auths[1]?.resume ?? {})).toHaveLength(1_000);
});
