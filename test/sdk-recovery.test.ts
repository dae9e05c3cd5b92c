import { type Client, connect, type ConnectOptions, type Message, type SendOutcome } from "@parley/client";
import { describe, expect, test, vi } from "vitest";
import { DevelopmentServer } from "./support/development-server.ts";

// Each test starts a node of its own, some a few times.
vi.setConfig({ testTimeout: 90_000, hookTimeout: 60_000 });
const eventually = <Value>(get: () => Value) => expect.poll(get, { timeout: 30_000 });

const roomId = "room-123";
// Quick, because a test waits for each try.
const backoff = { minMs: 20, maxMs: 200 };

async function connectAs(server: DevelopmentServer, userId: string, options: ConnectOptions = {}) {
  const client = connect({ url: server.publicUrl, token: await server.token(userId), backoff, ...options });
  return Object.assign(client, { [Symbol.dispose]: () => client.close() });
}

/** Every message of the room that the client is given, pages included, each as often as it was given. */
function collect(client: Client): Message[] {
  const messages: Message[] = [];
  client.room(roomId).on("reset", ({ messages: page }) => messages.push(...page));
  client.room(roomId).on("message", (message) => messages.push(message));
  return messages;
}

function next<Value>(subscribe: (listener: (value: Value) => void) => unknown): Promise<Value> {
  return new Promise((resolve) => subscribe(resolve));
}

async function sendAll(client: Client, texts: readonly string[]): Promise<readonly SendOutcome[]> {
  return Promise.all(texts.map((text) => client.room(roomId).send(text).outcome));
}

const numbered = (prefix: string, count: number) => Array.from({ length: count }, (_, index) => `${prefix} ${index}`);

describe.each([["websocket"], ["polling"]] as const)("over %s", (transport) => {
  test("[LOG-1] [REC-1] a node is killed again and again: every message is sent once, and arrives once, in order", async () => {
    await using server = await DevelopmentServer.start();
    using alice = await connectAs(server, "alice", { transports: [transport] });
    using bob = await connectAs(server, "bob", { transports: [transport] });
    const received = collect(alice);
    await Promise.all([alice.room(roomId).join(), bob.room(roomId).join()]);
    const texts: string[] = [];
    const outcomes: Promise<readonly SendOutcome[]>[] = [];
    for (let kill = 0; kill < 4; kill += 1) {
      const batch = numbered(`life ${kill}`, 25);
      texts.push(...batch);
      outcomes.push(sendAll(bob, batch));
      // Some of the batch has arrived, some is on its way.
      await eventually(() => received.length).toBeGreaterThan(kill * 25 + 3);
      await server.kill();
      await server.start();
    }
    const settled = (await Promise.all(outcomes)).flat();
    expect(settled.filter(({ status }) => status !== "sent")).toEqual([]);
    await eventually(() => received.length).toBe(texts.length);
    expect(received.map(({ text }) => text)).toEqual(texts);
    expect(received.map(({ seq }) => seq)).toEqual(texts.map((_, index) => index + 1));
  });
});

test("[LOG-3] a message that was written while the node was dead is sent once when it is back", async () => {
  await using server = await DevelopmentServer.start();
  using alice = await connectAs(server, "alice");
  await alice.room(roomId).join();
  await server.kill();
  const { clientId, outcome } = alice.room(roomId).send("written in the dark");
  await server.start();
  expect(await outcome).toMatchObject({ status: "sent", seq: 1 });
  const { messages } = await alice.room(roomId).history();
  expect(messages).toMatchObject([{ text: "written in the dark", clientId, userId: "alice" }]);
});

test("[FEED-1] a client that missed more than a page catches up without a gap", async () => {
  await using server = await DevelopmentServer.start();
  // It comes back when it is told to.
  using alice = await connectAs(server, "alice", { backoff: { minMs: 60_000, maxMs: 60_000 } });
  const received = collect(alice);
  await alice.room(roomId).join();
  await server.fill(roomId, ["first"]);
  await eventually(() => received.length).toBe(1);
  await server.kill();
  await server.start();
  await server.fill(roomId, numbered("missed", 700));
  alice.retryNow();
  await eventually(() => received.length).toBe(701);
  expect(received.map(({ seq }) => seq)).toEqual(Array.from({ length: 701 }, (_, index) => index + 1));
});

test("history is read page by page to its beginning", async () => {
  await using server = await DevelopmentServer.start();
  using alice = await connectAs(server, "alice");
  const room = alice.room(roomId);
  await room.join();
  const texts = numbered("message", 120);
  await server.fill(roomId, texts);
  const pages: Message[][] = [];
  let before: number | undefined;
  for (let more = true; more; ) {
    const page = await room.history(before === undefined ? { limit: 50 } : { before, limit: 50 });
    pages.unshift([...page.messages]);
    before = page.messages[0]?.seq;
    more = page.more;
  }
  expect(pages.map(({ length }) => length)).toEqual([20, 50, 50]);
  expect(pages.flat().map(({ text }) => text)).toEqual(texts);
});

test("[ACC-1] a room without a right to it is refused with a code, and so is a send", async () => {
  await using server = await DevelopmentServer.start();
  using alice = await connectAs(server, "alice");
  await expect(alice.room("somewhere-else").join()).rejects.toMatchObject({ code: "forbidden" });
  expect(await alice.room("somewhere-else").send("hello").outcome).toMatchObject({
    status: "failed",
    error: { code: "forbidden" },
  });
});

test("[REC-3] a token that no server signed ends the client", async () => {
  await using server = await DevelopmentServer.start();
  const client = connect({ url: server.publicUrl, token: "not.a.token", backoff });
  const verdict = await next<string>((listener) =>
    client.on("state", (state) => {
      if (state.state === "closed") listener(state.verdict.code);
    }),
  );
  expect(verdict).toBe("unauthorized");
});

test("what the app tells a user comes once, also when the user was away", async () => {
  await using server = await DevelopmentServer.start();
  await server.post("/users/alice/notify", { event: "invoice_paid", data: { amount: 129 } });
  using alice = await connectAs(server, "alice");
  const first = await next<object>((listener) => alice.on("notification", listener));
  expect(first).toMatchObject({ name: "invoice_paid", data: { amount: 129 }, seq: 1 });
  const second = next<object>((listener) => alice.on("notification", listener));
  await server.kill();
  await server.start();
  await server.post("/users/alice/notify", { event: "invoice_paid", data: "again" });
  expect(await second).toMatchObject({ name: "invoice_paid", data: "again", seq: 2 });
});

test("[REC-1] an announcement that was made while a client was away is not missed, though it had heard none before", async () => {
  await using server = await DevelopmentServer.start();
  using alice = await connectAs(server, "alice", { backoff: { minMs: 60_000, maxMs: 60_000 } });
  const heard = next<object>((listener) => alice.on("announcement", listener));
  await alice.room(roomId).join();
  await server.kill();
  await server.start();
  await server.post("/announce", { message: "maintenance at noon" });
  alice.retryNow();
  expect(await heard).toMatchObject({ message: "maintenance at noon", seq: 1 });
});

test("who comes, types and leaves is told, and the app's own events arrive", async () => {
  await using server = await DevelopmentServer.start();
  using alice = await connectAs(server, "alice");
  const room = alice.room(roomId);
  await room.join();
  const joined = next<string>((listener) => room.on("joined", listener));
  const typing = next<string>((listener) => room.on("typing", listener));
  const left = next<string>((listener) => room.on("left", listener));
  const event = next<object>((listener) => room.on("event", listener));
  using bob = await connectAs(server, "bob");
  await bob.room(roomId).join();
  bob.room(roomId).typing();
  expect(await joined).toBe("bob");
  expect(await typing).toBe("bob");
  expect((await room.presence()).users.toSorted()).toEqual(["alice", "bob"]);
  await bob.room(roomId).leave();
  expect(await left).toBe("bob");
  await server.post(`/rooms/${roomId}/publish`, { event: "message", data: { any: "name" } });
  expect(await event).toMatchObject({ name: "message", data: { any: "name" } });
});
