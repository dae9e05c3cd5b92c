import { expect, test } from "vitest";
import { FakeServer } from "../test/fake-server.ts";
import { ManualTimers } from "../test/manual-timers.ts";
import { Recorder, recordStates } from "../test/recorder.ts";
import { connect, type ConnectOptions } from "./client.ts";
import type { OutgoingMessage } from "./outbox.ts";
import type { OutboxStorage, UnsentMessage } from "./outbox-storage.ts";

const backoff = { minMs: 1_000, maxMs: 4_000 };
const room = "r";

function connectTo(server: FakeServer, options: ConnectOptions = {}) {
  const timers = new ManualTimers();
  const client = connect({ url: server.url, token: "t", backoff, timers, ...options });
  const outgoing = new Recorder<OutgoingMessage>();
  client.room(room).on("outgoing", outgoing.add);
  return { client, timers, outgoing, states: recordStates(client), [Symbol.dispose]: () => client.close() };
}

function memoryStorage(kept: UnsentMessage[] = []): OutboxStorage & { readonly messages: Map<string, UnsentMessage> } {
  const messages = new Map(kept.map((message) => [message.clientId, message]));
  return {
    messages,
    load: () => Promise.resolve([...messages.values()]),
    put: (message) => Promise.resolve(void messages.set(message.clientId, message)),
    remove: (clientId) => Promise.resolve(void messages.delete(clientId)),
  };
}

test("a message is sending, then sent with its place", async () => {
  await using server = await FakeServer.start();
  using sender = connectTo(server);
  const { clientId, outcome } = sender.client.room(room).send("hello", { data: { a: 1 }, replyTo: "m" });
  expect(sender.client.room(room).outgoing()).toMatchObject([{ clientId, text: "hello", status: "sending" }]);
  expect(await outcome).toEqual({ status: "sent", id: "r-1", seq: 1 });
  expect(sender.outgoing.values.map(({ status }) => status)).toEqual(["sending", "sent"]);
  expect(sender.client.room(room).outgoing()).toEqual([]);
  const [sent] = server.received;
  expect(sent).toEqual({
    event: "send_message",
    payload: { clientId, roomId: room, text: "hello", data: { a: 1 }, replyTo: "m" },
  });
});

test("messages wait for a connection and for the room to be joined, then go in order", async () => {
  await using server = await FakeServer.start();
  using sender = connectTo(server);
  const sendings = ["one", "two", "three"].map((text) => sender.client.room(room).send(text));
  await sender.client.room(room).join();
  await Promise.all(sendings.map(({ outcome }) => outcome));
  expect(server.texts(room)).toEqual(["one", "two", "three"]);
  expect(server.received.map(({ event }) => event)).toEqual([
    "join_room",
    "send_message",
    "send_message",
    "send_message",
  ]);
});

test("[LOG-3] a message whose acknowledgement is lost with its connection commits once", async () => {
  await using server = await FakeServer.start();
  server.interfere = () => "mute";
  using sender = connectTo(server);
  const first = sender.client.room(room).send("one");
  const second = sender.client.room(room).send("two");
  await server.until(() => server.count("send_message") === 1);
  server.interfere = () => undefined;
  server.dropConnections();
  await sender.states.first(({ state }) => state === "waiting");
  sender.client.retryNow();
  expect(await first.outcome).toMatchObject({ status: "sent", seq: 1 });
  expect(await second.outcome).toMatchObject({ status: "sent", seq: 2 });
  expect(server.texts(room)).toEqual(["one", "two"]);
});

test("[LOG-3] a message that is not acknowledged in time is sent again under its clientId", async () => {
  await using server = await FakeServer.start();
  server.interfere = () => (server.count("send_message") === 1 ? "mute" : undefined);
  using sender = connectTo(server);
  const { outcome } = sender.client.room(room).send("one");
  await server.until(() => server.count("send_message") === 1);
  sender.timers.advance(10_000 + backoff.maxMs);
  expect(await outcome).toMatchObject({ status: "sent", seq: 1 });
  expect(server.texts(room)).toEqual(["one"]);
});

test("a refusal that may pass is retried when the server says, and nothing of the room overtakes it", async () => {
  await using server = await FakeServer.start();
  server.interfere = (event) => {
    const refused = event === "send_message" && server.count(event) <= 2;
    return refused ? { code: "rate_limited", retryAfterMs: 60_000 } : undefined;
  };
  using sender = connectTo(server);
  const { outcome } = sender.client.room(room).send("one");
  void sender.client.room(room).send("two");
  for (const tries of [1, 2]) {
    await server.until(() => server.count("send_message") === tries);
    // The answer is on its way: what was asked after it is answered after it.
    await sender.client.room(room).presence();
    sender.timers.advance(59_999);
    expect(server.count("send_message")).toBe(tries);
    sender.timers.advance(1);
  }
  expect(await outcome).toMatchObject({ status: "sent", seq: 1 });
  await server.until(() => server.texts(room).length === 2);
  expect(server.texts(room)).toEqual(["one", "two"]);
});

test("a refusal for good fails the message, holds no other up, and is kept for a retry", async () => {
  await using server = await FakeServer.start();
  server.interfere = () => (server.count("send_message") === 1 ? { code: "forbidden" } : undefined);
  using sender = connectTo(server);
  const handle = sender.client.room(room);
  const refused = handle.send("one");
  const other = handle.send("two");
  expect(await refused.outcome).toMatchObject({ status: "failed", error: { code: "forbidden", retry: "never" } });
  expect(await other.outcome).toMatchObject({ status: "sent" });
  expect(handle.outgoing()).toMatchObject([{ clientId: refused.clientId, status: "failed" }]);
  expect(await handle.retry(refused.clientId)?.outcome).toMatchObject({ status: "sent", seq: 2 });
  expect(handle.retry(refused.clientId)).toBeUndefined();
  expect(server.texts(room)).toEqual(["two", "one"]);
});

test("a failed message can be dropped, one that is sending cannot", async () => {
  await using server = await FakeServer.start();
  server.interfere = () => ({ code: "forbidden" });
  using sender = connectTo(server);
  const handle = sender.client.room(room);
  const { clientId, outcome } = handle.send("one");
  expect(handle.discard(clientId)).toBe(false);
  await outcome;
  expect([handle.discard(clientId), handle.discard(clientId)]).toEqual([true, false]);
  expect(handle.outgoing()).toEqual([]);
});

test("a full outbox refuses by number and by bytes, and takes more once messages have gone", async () => {
  await using server = await FakeServer.start();
  using sender = connectTo(server, { outbox: { itemsMax: 2, bytesMax: 10 } });
  const handle = sender.client.room(room);
  const first = handle.send("äää");
  const tooBig = handle.send("fivee");
  const second = handle.send("four");
  const tooMany = handle.send("");
  for (const { outcome } of [tooBig, tooMany]) {
    expect(await outcome).toMatchObject({ status: "failed", error: { code: "outbox_full" } });
  }
  await Promise.all([first.outcome, second.outcome]);
  expect(await handle.send("fivee").outcome).toMatchObject({ status: "sent", seq: 3 });
});

test("[LOG-3] stored messages are sent by the next client, before its own, under their clientIds", async () => {
  await using server = await FakeServer.start();
  const storage = memoryStorage();
  {
    server.interfere = () => "mute";
    using before = connectTo(server, { storage });
    void before.client.room(room).send("one");
    const second = before.client.room(room).send("two");
    await server.until(() => server.count("send_message") === 1);
    before.client.close();
    expect(await second.outcome).toMatchObject({ status: "failed", error: { code: "closed" } });
  }
  expect([...storage.messages.values()].map(({ text }) => text)).toEqual(["one", "two"]);
  server.interfere = () => undefined;
  using after = connectTo(server, { storage });
  await after.client.room(room).send("three").outcome;
  expect(server.texts(room)).toEqual(["one", "two", "three"]);
  expect(storage.messages.size).toBe(0);
});

test("a storage that fails is reported and stops nothing", async () => {
  await using server = await FakeServer.start();
  const broken = () => Promise.reject(new Error("full"));
  using sender = connectTo(server, { storage: { load: broken, put: broken, remove: broken } });
  const errors = new Recorder<string>();
  sender.client.on("error", ({ code }) => errors.add(code));
  expect(await sender.client.room(room).send("one").outcome).toMatchObject({ status: "sent" });
  expect(await errors.count(3)).toEqual(["storage_failed", "storage_failed", "storage_failed"]);
});

test("nothing is sent after the end", async () => {
  await using server = await FakeServer.start();
  using sender = connectTo(server);
  sender.client.close();
  expect(await sender.client.room(room).send("late").outcome).toMatchObject({
    status: "failed",
    error: { code: "closed" },
  });
});

test("a message that is sent while another of its room is under way waits for it", async () => {
  await using server = await FakeServer.start();
  server.interfere = () => "mute";
  using sender = connectTo(server);
  const handle = sender.client.room(room);
  void handle.send("one");
  await server.until(() => server.count("send_message") === 1);
  void handle.send("two");
  const asked = Promise.allSettled([handle.presence()]);
  await server.until(() => server.count("presence") === 1);
  expect(server.count("send_message")).toBe(1);
  sender.client.close();
  await asked;
});

test("each message has its own waits, and the end leaves none", async () => {
  await using server = await FakeServer.start();
  const refused = new Set([1, 2, 4, 5]);
  server.interfere = (event) =>
    event === "send_message" && refused.has(server.count(event)) ? { code: "store_unavailable" } : undefined;
  using sender = connectTo(server);
  const handle = sender.client.room(room);
  const { outcome } = handle.send("one");
  void handle.send("two");
  const waits = [
    [1, 750],
    [2, 1_500],
    [4, 750],
  ] as const;
  for (const [tries, waitMs] of waits) {
    await server.until(() => server.count("send_message") === tries);
    await handle.presence();
    sender.timers.advance(waitMs);
  }
  expect(await outcome).toMatchObject({ status: "sent" });
  await server.until(() => server.count("send_message") === 5);
  await handle.presence();
  expect(sender.timers.waiting).toBe(1);
  sender.client.close();
  expect(sender.timers.waiting).toBe(0);
  const [failed] = handle.outgoing();
  expect(failed?.status).toBe("failed");
  expect(handle.retry(failed?.clientId ?? "")).toBeUndefined();
});

test("[LOG-3] what a slow storage gives back goes out first, in its order, and nothing twice", async () => {
  await using server = await FakeServer.start();
  const loading = Promise.withResolvers<void>();
  const kept = (clientId: string, text: string) => ({
    clientId,
    roomId: room,
    text,
    createdAt: "2030-01-01T00:00:00Z",
  });
  const storage = memoryStorage([kept("0002", "two"), kept("0001", "one")]);
  const load = async () => {
    await loading.promise;
    return [...storage.messages.values()];
  };
  using sender = connectTo(server, { storage: { ...storage, load } });
  await sender.states.first(({ state }) => state === "connected");
  const { outcome } = sender.client.room(room).send("three");
  await sender.client.room(room).presence();
  expect(server.count("send_message")).toBe(0);
  loading.resolve();
  expect(await outcome).toMatchObject({ status: "sent", seq: 3 });
  expect(server.texts(room)).toEqual(["one", "two", "three"]);
  expect(server.count("send_message")).toBe(3);
  expect(storage.messages.size).toBe(0);
});
