import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { spawnServer, startServer, type TestServer, tokenFor } from "./support/server.ts";
import { field, UserClient } from "./support/user-client.ts";

let server: TestServer;
let cleanup: DisposableStack;
let rooms = 0;
let roomId: string;

beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server[Symbol.asyncDispose]());
beforeEach(async () => {
  cleanup = new DisposableStack();
  rooms += 1;
  roomId = `room-${rooms}`;
  await server.operations.putRoom({ roomId, access: "public" });
});
afterEach(() => cleanup.dispose());

async function connect(userId: string, url = server.url): Promise<UserClient> {
  return cleanup.use(await UserClient.connect(url, { token: await tokenFor(server, userId) }));
}

async function watch(): Promise<UserClient> {
  const watcher = await connect("watcher");
  await watcher.request("join_room", roomId);
  return watcher;
}

describe("a send that is repeated under its clientId", () => {
  test("[LOG-3] commits once, and every repeat gets the first one's id and seq", async () => {
    const [alice, watcher] = [await connect("alice"), await watch()];
    const message = { roomId, text: "hello", clientId: "c-1", data: { mood: "fine", tags: ["a", "b"] } };
    const first = await alice.request("send_message", message);
    expect(first).toMatchObject({ ok: true, seq: 1 });
    for (let round = 0; round < 3; round += 1) expect(await alice.request("send_message", message)).toEqual(first);
    const elsewhere = await connect("alice");
    expect(await elsewhere.request("send_message", message)).toEqual(first);
    expect(await alice.request("send_message", { ...message, clientId: "c-2" })).toMatchObject({ ok: true, seq: 2 });
    await watcher.got("new_message", (one) => field(one, "clientId") === "c-2");
    expect(watcher.all("new_message").map(([one]) => field(one, "clientId"))).toEqual(["c-1", "c-2"]);
  });

  test("[LOG-3] also when repeats race, on one connection and over several", async () => {
    const watcher = await watch();
    const tabs = await Promise.all(Array.from({ length: 4 }, () => connect("alice")));
    for (let round = 0; round < 10; round += 1) {
      const message = { roomId, text: `round ${round}`, clientId: `c-${round}` };
      const replies = await Promise.all(
        tabs.flatMap((tab) => [tab.request("send_message", message), tab.request("send_message", message)]),
      );
      for (const reply of replies) expect(reply).toEqual({ ok: true, id: replies[0]?.["id"], seq: round + 1 });
    }
    await watcher.got("new_message", (one) => field(one, "text") === "round 9");
    expect(watcher.texts).toEqual(Array.from({ length: 10 }, (_, round) => `round ${round}`));
  });

  test("[LOG-3] whose answer was lost with the connection", async () => {
    const [alice, watcher] = [await connect("alice"), await watch()];
    for (let round = 0; round < 10; round += 1) {
      const message = { roomId, text: `round ${round}`, clientId: `c-${round}` };
      alice.socket.emit("send_message", message, () => {});
      alice.forget();
      alice.cut();
      await alice.got("connect");
      expect(await alice.request("send_message", message)).toMatchObject({ ok: true, seq: round + 1 });
    }
    await watcher.got("new_message", (one) => field(one, "text") === "round 9");
    expect(watcher.texts).toHaveLength(10);
  });

  test("[LOG-3] and whose server was killed between", async () => {
    await using spawned = await spawnServer();
    await spawned.api("PUT", `/rooms/${roomId}`, { access: "public" });
    const alice = await connect("alice", spawned.url);
    const message = { roomId, text: "hello", clientId: "c-1" };
    const first = await alice.request("send_message", message);
    await spawned.kill();
    alice.forget();
    await spawned.start();
    await alice.got("connect");
    expect(await alice.request("send_message", message)).toEqual(first);
    expect(await alice.request("send_message", { ...message, text: "other" })).toMatchObject({
      error: { code: "conflict" },
    });
  });
});

describe("a clientId that was used", () => {
  test("[LOG-3] for another body is a conflict, which changes nothing and fails nobody else", async () => {
    const [alice, watcher] = [await connect("alice"), await watch()];
    const message = { roomId, text: "hello", clientId: "c-1", replyTo: "m-1", data: { a: 1 } };
    await alice.request("send_message", message);
    const others = [
      { ...message, text: "hello " },
      { ...message, data: { a: 2 } },
      { ...message, replyTo: "m-2" },
      { roomId, text: "hello", clientId: "c-1" },
    ];
    for (const other of others) {
      expect(await alice.request("send_message", other)).toMatchObject({ ok: false, error: { code: "conflict" } });
    }
    const batch = await Promise.all(
      Array.from({ length: 60 }, (_, index) =>
        alice.request("send_message", {
          roomId,
          text: `text ${index}`,
          clientId: index % 3 === 1 ? "c-1" : `d-${index}`,
        }),
      ),
    );
    expect(batch.filter((reply) => reply.error?.code === "conflict")).toHaveLength(20);
    const seqs = batch.flatMap((reply) => (reply.ok ? [Number(reply["seq"])] : []));
    expect(seqs).toEqual(Array.from({ length: 40 }, (_, index) => index + 2));
    await watcher.settle();
    expect(watcher.all("new_message").map(([one]) => field(one, "seq"))).toEqual([1, ...seqs]);
  });

  test("[LOG-3] is free for other users, and in other rooms", async () => {
    const [alice, bob] = [await connect("alice"), await connect("bob")];
    await server.operations.putRoom({ roomId: `${roomId}-2`, access: "public" });
    const send = (client: UserClient, room: string, text: string) =>
      client.request("send_message", { roomId: room, text, clientId: "same" });
    expect(await send(alice, roomId, "alice's")).toMatchObject({ ok: true, seq: 1 });
    expect(await send(bob, roomId, "bob's")).toMatchObject({ ok: true, seq: 2 });
    expect(await send(alice, `${roomId}-2`, "elsewhere")).toMatchObject({ ok: true, seq: 1 });
  });

  test("[LOG-3] by a send that was refused is free still", async () => {
    const alice = await connect("alice");
    const message = { roomId, text: "hello", clientId: "c-1" };
    const refused = { ...message, data: "x".repeat(70_000) };
    expect(await alice.request("send_message", refused)).toMatchObject({ error: { code: "payload_too_large" } });
    expect(await alice.request("send_message", { ...message, roomId: "nowhere" })).toMatchObject({ ok: false });
    expect(await alice.request("send_message", message)).toMatchObject({ ok: true, seq: 1 });
  });

  test.each(["x".repeat(64), "Ünï/çødé 💬", "__proto__", "constructor", "'; drop table entry; --"])(
    "[LOG-3] may be any name: %s",
    async (clientId) => {
      const alice = await connect("alice");
      const first = await alice.request("send_message", { roomId, text: "hello", clientId });
      expect(first).toMatchObject({ ok: true, seq: 1 });
      expect(await alice.request("send_message", { roomId, text: "hello", clientId })).toEqual(first);
    },
  );
});
