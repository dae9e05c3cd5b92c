import { connect, type ConnectOptions, ParleyError } from "@parley/client";
import { expect, test } from "vitest";
import { FakeServer } from "../../../../packages/client/test/fake-server.ts";
import { ChatSession, type ChatUser } from "./chat-session.ts";

const user: ChatUser = { userId: "me", roomId: "r", getToken: () => Promise.resolve("t") };

function openSession(server: FakeServer, options: ConnectOptions = {}) {
  const client = connect({ url: server.url, token: "t", backoff: { minMs: 1, maxMs: 4 }, ...options });
  const session = new ChatSession(user, client);
  session.open();
  return { client, session, [Symbol.dispose]: () => session.close() };
}

test("a message that is erased while it is shown goes away", () => {
  const client = connect({ url: "http://127.0.0.1:1", getToken: () => new Promise<string>(() => undefined) });
  const session = new ChatSession(user, client);
  session.open();
  const room = client.room("r");
  const [one, two] = [1, 2].map((seq) => {
    return { id: `m${seq}`, roomId: "r", seq, userId: "her", text: "", createdAt: "2030-01-01T00:00:00.000Z" };
  });
  room.emit("reset", { reason: "joined", messages: [one, two].filter((message) => message !== undefined) });
  room.emit("erased", { roomId: "r", seq: 3, entrySeq: 1 });
  expect(session.snapshot().timeline.messages.map(({ seq }) => seq)).toEqual([2]);
  session.close();
});

test("nobody is shown in a room that is closed", async () => {
  await using server = await FakeServer.start();
  using chat = openSession(server);
  await expect.poll(() => chat.session.snapshot().peopleCount).toBe(1);
  chat.client.room("r").subscription.refused(new ParleyError("forbidden", "not any more"));
  expect(chat.session.snapshot()).toMatchObject({ people: [], peopleCount: 0, roomError: { code: "forbidden" } });
});

test("who is here is asked again when the server refuses it for a while", async () => {
  await using server = await FakeServer.start();
  server.interfere = (event) =>
    event === "presence" && server.count("presence") < 3 ? { code: "rate_limited", retryAfterMs: 1 } : undefined;
  using chat = openSession(server);
  await expect.poll(() => chat.session.snapshot().peopleCount).toBe(1);
});

test("a message that the outbox had no room for can be sent again once there is some, or discarded", async () => {
  await using server = await FakeServer.start();
  server.interfere = (event) => (event === "send_message" ? "swallow" : undefined);
  using chat = openSession(server, { outbox: { itemsMax: 1 }, requestTimeoutMs: 200 });
  const { session } = chat;
  const outgoing = () => session.snapshot().timeline.outgoing;
  for (const text of ["first", "second", "third"]) session.send(text);
  expect(outgoing().map(({ status }) => status)).toEqual(["sending", "failed", "failed"]);
  const [, second, third] = outgoing().map(({ clientId }) => clientId);
  session.discard(third ?? "");
  server.interfere = () => undefined;
  await expect.poll(() => session.snapshot().timeline.messages.map(({ text }) => text)).toEqual(["first"]);
  session.retry(second ?? "");
  await expect.poll(() => session.snapshot().timeline.messages.map(({ text }) => text)).toEqual(["first", "second"]);
  expect(outgoing()).toEqual([]);
});
