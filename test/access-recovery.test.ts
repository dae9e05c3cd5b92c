import * as fc from "fast-check";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startServer, type TestServer, tokenFor } from "./support/server.ts";
import { field, UserClient } from "./support/user-client.ts";

let server: TestServer;
let cleanup: DisposableStack;
let rooms = 0;

beforeAll(async () => {
  server = await startServer({ overrides: { limits: { roomsPerConnectionMax: 5 } } });
});
afterAll(() => server[Symbol.asyncDispose]());
beforeEach(() => {
  cleanup = new DisposableStack();
});
afterEach(() => cleanup.dispose());

async function connect(userId: string, auth: object = {}): Promise<UserClient> {
  return cleanup.use(await UserClient.connect(server.url, { token: await tokenFor(server, userId), ...auth }));
}

async function createRoom(...members: readonly string[]): Promise<string> {
  rooms += 1;
  const roomId = `room-${rooms}`;
  await server.operations.putRoom({ roomId });
  for (const userId of members) await server.operations.setMembership({ roomId, userId, role: "member" });
  return roomId;
}

function send(roomId: string, text: string) {
  return server.operations.sendMessage({ roomId, userId: "server", text });
}

/** What a stock client would present when it came back. */
function sessionOf({ socket }: UserClient): { readonly pid: string; readonly offset: string } {
  return { pid: String(Reflect.get(socket, "_pid")), offset: String(Reflect.get(socket, "_lastOffset")) };
}

/** Loses its connection, and stays away while `meanwhile` goes on. Gives what it gets on return. */
async function away(client: UserClient, meanwhile: () => Promise<unknown>): Promise<UserClient> {
  client.socket.io.reconnection(false);
  client.cut();
  await client.got("disconnect");
  client.forget();
  await meanwhile();
  client.socket.io.reconnection(true);
  client.socket.connect();
  return client;
}

describe("recovery by the stock client", () => {
  test("[REC-3] brings back the rooms that it may still read, and closes the others", async () => {
    const [kept, lost] = [await createRoom("alice"), await createRoom("alice")];
    const alice = await connect("alice");
    for (const roomId of [kept, lost]) await alice.request("join_room", roomId);
    await away(alice, async () => {
      await send(lost, "before the removal");
      await server.operations.setMembership({ roomId: lost, userId: "alice", role: null });
      await send(lost, "a secret");
      await send(kept, "what alice missed");
    });
    expect((await alice.got("connect")).args).toEqual([true]);
    expect((await alice.got("room_closed")).args[0]).toEqual({ roomId: lost, reason: "forbidden" });
    await alice.got("new_message");
    await send(lost, "another secret");
    await alice.settle();
    expect(alice.texts).toEqual(["what alice missed"]);
    expect(await alice.request("room_history", { roomId: lost })).toMatchObject({ error: { code: "forbidden" } });
  });

  test("[REC-3] a deleted room does not come back", async () => {
    const roomId = await createRoom("alice");
    const alice = await connect("alice");
    await alice.request("join_room", roomId);
    await away(alice, async () => {
      await send(roomId, "the last words");
      await server.operations.deleteRoom({ roomId });
    });
    await alice.got("room_closed", (closed) => field(closed, "roomId") === roomId);
    await alice.settle();
    expect(alice.texts).toEqual([]);
  });

  test("[REC-3] another user's session is nobody's but that user's", async () => {
    const roomId = await createRoom("alice");
    const alice = await connect("alice");
    await alice.request("join_room", roomId);
    await send(roomId, "one");
    await alice.got("new_message");
    const stolen = sessionOf(alice);
    for (const present of [stolen, { pid: stolen.pid }]) {
      const mallory = await connect("mallory", present);
      expect(mallory.socket.recovered).toBe(false);
      expect(mallory.socket.id).not.toBe(alice.socket.id);
      await send(roomId, "a secret");
      await mallory.settle();
      expect(JSON.stringify(mallory.received)).not.toContain("secret");
      expect(await mallory.request("send_message", { roomId, text: "hi" })).toMatchObject({
        error: { code: "forbidden" },
      });
    }
    // Alice has not noticed, and still goes on with it.
    const { id } = alice.socket;
    await away(alice, () => send(roomId, "while alice was away"));
    expect((await alice.got("connect")).args).toEqual([true]);
    expect(alice.socket.id).toBe(id);
    await alice.got("new_message");
    expect(alice.texts).toEqual(["while alice was away"]);
  });

  test("[REC-3] also while that user is away", async () => {
    const roomId = await createRoom("alice");
    const alice = await connect("alice");
    await alice.request("join_room", roomId);
    const stolen = sessionOf(alice);
    await away(alice, async () => {
      const mallory = await connect("mallory", stolen);
      expect(mallory.socket.recovered).toBe(false);
      await send(roomId, "for alice");
      await mallory.settle();
      expect(mallory.texts).toEqual([]);
    });
    expect((await alice.got("connect")).args).toEqual([true]);
    await alice.got("new_message");
    expect(alice.texts).toEqual(["for alice"]);
  });

  test("[REC-3] a revoked token recovers nothing, nor does the next one", async () => {
    const roomId = await createRoom("bella");
    const bella = await connect("bella");
    await bella.request("join_room", roomId);
    await away(bella, () => server.operations.revokeUser({ userId: "bella" }));
    expect((await bella.got("connect_error")).args[1]).toMatchObject({ code: "token_revoked" });
    expect(bella.socket.active).toBe(false);
    expect(bella.received.map(({ event }) => event)).toEqual(["connect_error"]);
  });

  test("[REC-3] an offset of any wrong form loses nothing, and shows nothing of others", async () => {
    const [mine, secret] = [await createRoom("carl"), await createRoom("dora")];
    await server.operations.notifyUser({ userId: "dora", event: "invoice_paid", data: "dora's" });
    const dora = await connect("dora");
    await dora.request("join_room", secret);
    await send(secret, "a secret");
    await dora.got("new_message");
    const { epoch } = await server.operations.room({ roomId: secret });
    const { epoch: mineEpoch } = await server.operations.room({ roomId: mine });
    const carl = await connect("carl");
    await carl.request("join_room", mine);
    const wrong: fc.Arbitrary<string> = fc.oneof(
      fc.string({ maxLength: 512 }),
      fc.string({ unit: "binary", maxLength: 300 }),
      fc.constantFrom(
        "",
        ":",
        "::",
        sessionOf(dora).offset,
        `${secret}:${epoch}:0`,
        `${mine}:${epoch}:1`,
        `${mine}:${mineEpoch}:999999999999999`,
        `${mine}:${mineEpoch}:-1`,
        `${mine}:${mineEpoch}:1e3`,
        `${mine}:${mineEpoch}:0x10`,
        `${mine}:${mineEpoch}:1/999`,
        `${mine}:${mineEpoch}:NaN`,
        `@user:dora:${epoch}:0`,
        "@announcements:x:0",
        "__proto__:x:1",
      ),
    );
    let number = 0;
    await fc.assert(
      fc.asyncProperty(wrong, async (offset) => {
        number += 1;
        const text = `message ${number}`;
        await away(carl, async () => {
          await send(mine, text);
          Reflect.set(carl.socket, "_lastOffset", offset);
        });
        expect((await carl.got("connect")).args).toEqual([true]);
        // Live, or in the page of one who may not have got the first.
        await carl.got(/^(new_message|room_history)$/, (payload) => JSON.stringify(payload).includes(`"${text}"`));
      }),
      { numRuns: 40 },
    );
    await carl.settle();
    expect(JSON.stringify(carl.received)).not.toMatch(/secret|dora/);
  });

  test("[REC-3] what is no text at all is refused, and the session stays for its own client", async () => {
    const roomId = await createRoom("emma");
    const emma = await connect("emma");
    await emma.request("join_room", roomId);
    const { pid } = sessionOf(emma);
    const token = await tokenFor(server, "emma");
    for (const bad of [{ pid, offset: 7 }, { pid, offset: {} }, { pid: 7 }, { pid: [pid] }, { pid: "x".repeat(65) }]) {
      const client = cleanup.use(new UserClient(server.url, { token, ...bad }));
      expect((await client.got("connect_error")).args[1]).toMatchObject({ code: "bad_request" });
    }
    await away(emma, () => send(roomId, "for emma"));
    expect((await emma.got("connect")).args).toEqual([true]);
  });
});

describe("auth.resume", () => {
  test("[REC-3] brings what was missed of the rooms that may still be read, and closes the others", async () => {
    const [kept, lost, never] = [await createRoom("alice"), await createRoom("alice"), await createRoom("bob")];
    const resume: Record<string, object> = {};
    for (const roomId of [kept, lost, never]) {
      const { seq } = await send(roomId, "seen");
      resume[roomId] = { epoch: (await server.operations.room({ roomId })).epoch, seq };
      await send(roomId, `missed in ${roomId}`);
    }
    resume["no-such-room"] = { epoch: "x.y", seq: 1 };
    await server.operations.setMembership({ roomId: lost, userId: "alice", role: null });
    const alice = await connect("alice", { resume });
    // Read from the store, so that it comes when it comes.
    await alice.got("new_message");
    await alice.settle();
    expect(alice.texts).toEqual([`missed in ${kept}`]);
    const closed = alice.all("room_closed").map(([room]) => field(room, "roomId"));
    expect(new Set(closed)).toEqual(new Set(["no-such-room", lost, never]));
    for (const roomId of [lost, never]) {
      expect(await alice.request("typing", { roomId })).toMatchObject({ error: { code: "forbidden" } });
    }
  });

  test("[REC-3] of a position that cannot be continued says so, and gives the latest page", async () => {
    const roomId = await createRoom("alice");
    const { seq } = await send(roomId, "hello");
    const { epoch } = await server.operations.room({ roomId });
    const reasons = {
      ahead: { epoch, seq: seq + 100 },
      epoch: { epoch: "another.life", seq },
    };
    for (const [reason, position] of Object.entries(reasons)) {
      const alice = await connect("alice", { resume: { [roomId]: position } });
      expect((await alice.got("room_gap")).args[0]).toMatchObject({ roomId, reason });
      expect((await alice.got("room_history")).args[0]).toMatchObject([{ text: "hello" }]);
    }
  });

  test("[REC-3] opens none of the server's own logs, but the user's inbox", async () => {
    await server.operations.notifyUser({ userId: "bob", event: "invoice_paid", data: "bob's" });
    await server.operations.notifyUser({ userId: "zora", event: "invoice_paid", data: "zora's" });
    const start = { epoch: "x.y", seq: 0 };
    const zora = await connect("zora", { resume: { "@user:bob": start, "@control": start, "@user:zora": start } });
    await zora.got("invoice_paid");
    await zora.settle();
    expect(zora.all("invoice_paid").map(([data]) => data)).toEqual(["zora's"]);
  });

  test("[REC-3] joins no more rooms than a connection may have, and closes the rest", async () => {
    const roomIds = await Promise.all(Array.from({ length: 8 }, () => createRoom("frank")));
    const resume = Object.fromEntries(roomIds.map((roomId) => [roomId, { epoch: "x.y", seq: 0 }]));
    const frank = await connect("frank", { resume });
    await expect.poll(() => frank.all("room_gap").length).toBe(5);
    await frank.settle();
    expect(frank.all("room_gap")).toHaveLength(5);
    expect(frank.all("room_closed")).toHaveLength(3);
  });

  test("[IN-1] of any wrong form is refused, or ignored, and the app's own policy hears no such name", async () => {
    const asked: string[] = [];
    await using own = await startServer({
      access: ({ roomId }) => {
        asked.push(roomId);
        return true;
      },
    });
    const token = await tokenFor(own, "gina");
    const position = { epoch: "x.y", seq: 0 };
    const many = Object.fromEntries(Array.from({ length: 1_001 }, (_, index) => [`room-${index}`, position]));
    const wrong: readonly unknown[] = [
      7,
      "room",
      [],
      { room: 7 },
      { room: {} },
      { room: { epoch: "x.y" } },
      { room: { epoch: "x.y", seq: -1 } },
      { room: { epoch: "x.y", seq: 1.5 } },
      { room: { epoch: "x:y", seq: 1 } },
      { room: { epoch: "", seq: 1 } },
      { room: { ...position, more: 1 } },
      { "": position },
      { ["x".repeat(137)]: position },
      many,
    ];
    for (const resume of wrong) {
      const client = cleanup.use(new UserClient(own.url, { token, resume }));
      expect((await client.got(/^connect(_error)?$/)).args[1]).toMatchObject({ code: "bad_request" });
    }
    const names = ["line\nbreak", "nul\u0000", "\u001b[31m", "\ud800", "x".repeat(129), "@mine", "__proto__", "fine"];
    const resume = Object.fromEntries(names.map((name) => [name, position]));
    const client = cleanup.use(await UserClient.connect(own.url, { token, resume }));
    await client.settle();
    expect(asked.filter((name) => name !== "__proto__")).toEqual(["fine"]);
  });
});
