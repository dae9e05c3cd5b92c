import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startServer, type TestServer, tokenFor } from "./support/server.ts";
import { field, UserClient } from "./support/user-client.ts";

let server: TestServer;
let cleanup: DisposableStack;
let rooms = 0;

beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server[Symbol.asyncDispose]());
beforeEach(() => {
  cleanup = new DisposableStack();
});
afterEach(() => cleanup.dispose());

async function connect(userId: string): Promise<UserClient> {
  return cleanup.use(await UserClient.connect(server.url, { token: await tokenFor(server, userId) }));
}

/** A room of members alone, with these. */
async function createRoom(members: Readonly<Record<string, "owner" | "member" | "reader">>): Promise<string> {
  rooms += 1;
  const roomId = `room-${rooms}`;
  await server.operations.putRoom({ roomId });
  for (const [userId, role] of Object.entries(members)) {
    await server.operations.setMembership({ roomId, userId, role });
  }
  return roomId;
}

/** Everything of a room that one could learn or do. */
const requests: Readonly<Record<string, (roomId: string) => unknown>> = {
  join_room: (roomId) => roomId,
  send_message: (roomId) => ({ roomId, text: "let me in" }),
  typing: (roomId) => ({ roomId }),
  room_history: (roomId) => ({ roomId }),
  presence: (roomId) => ({ roomId }),
};
const forbidden = { ok: false, error: { code: "forbidden", message: expect.any(String) } };

describe("without a right to the room", () => {
  test.each(Object.keys(requests))("[ACC-1] %s is refused, and the members notice nothing", async (event) => {
    const roomId = await createRoom({ alice: "member" });
    const [alice, mallory] = [await connect("alice"), await connect("mallory")];
    await alice.request("join_room", roomId);
    await alice.request("send_message", { roomId, text: "a secret" });
    await alice.settle();
    alice.forget();

    const payload = requests[event]?.(roomId);
    const refusal = await mallory.request(event, payload);
    expect(refusal).toEqual(forbidden);
    // A room that is not there looks the same: what exists is not told.
    const elsewhere = await mallory.request(event, requests[event]?.("no-such-room"));
    expect(JSON.stringify(elsewhere).replaceAll("no-such-room", roomId)).toBe(JSON.stringify(refusal));
    mallory.socket.emit(event, payload);
    await mallory.got("error", (error) => expect.objectContaining({ code: "forbidden" }).asymmetricMatch(error));

    await alice.request("send_message", { roomId, text: "another" });
    await alice.settle();
    await mallory.settle();
    expect(alice.received.map((one) => one.event)).toEqual(["new_message"]);
    expect(mallory.received.map((one) => one.event)).toEqual(["connect", "error"]);
    expect(JSON.stringify(mallory.received)).not.toContain("secret");
  });

  test("[ACC-1] join with a position, or with no page, opens nothing either", async () => {
    const roomId = await createRoom({ alice: "member" });
    const alice = await connect("alice");
    const joined = await alice.request("join_room", roomId);
    const mallory = await connect("mallory");
    for (const more of [{ after: { epoch: joined["epoch"], seq: 0 } }, { history: 0 }]) {
      expect(await mallory.request("join_room", { roomId, ...more })).toEqual(forbidden);
    }
  });

  test.each(["@user:alice", "@announcements", "@control", "@"])(
    "[ACC-1] the server's own log %s is no room",
    async (roomId) => {
      const mallory = await connect("mallory");
      for (const [event, payload] of Object.entries(requests)) {
        expect(await mallory.request(event, payload(roomId))).toMatchObject({ error: { code: "bad_request" } });
      }
    },
  );
});

describe("a reader", () => {
  test("[ACC-1] reads, and may neither send nor type", async () => {
    const roomId = await createRoom({ alice: "member", rita: "reader" });
    const [alice, rita] = [await connect("alice"), await connect("rita")];
    for (const client of [alice, rita]) expect(await client.request("join_room", roomId)).toMatchObject({ ok: true });
    await alice.request("send_message", { roomId, text: "hello" });
    await rita.got("new_message");
    expect(await rita.request("room_history", { roomId })).toMatchObject({ ok: true, messages: [{ text: "hello" }] });
    expect(await rita.request("presence", { roomId })).toMatchObject({ ok: true, count: 2 });
    for (const event of ["send_message", "typing"]) {
      expect(await rita.request(event, requests[event]?.(roomId))).toEqual(forbidden);
    }
    await alice.settle();
    expect(alice.all("user_typing")).toEqual([]);
    expect(alice.texts).toEqual(["hello"]);
  });

  test("[ACC-1] becomes a member, and a member a reader, without joining again", async () => {
    const roomId = await createRoom({ rita: "reader" });
    const rita = await connect("rita");
    await rita.request("join_room", roomId);
    await server.operations.setMembership({ roomId, userId: "rita", role: "member" });
    expect(await rita.request("send_message", { roomId, text: "at last" })).toMatchObject({ ok: true });
    await server.operations.setMembership({ roomId, userId: "rita", role: "reader" });
    expect(await rita.request("send_message", { roomId, text: "too late" })).toEqual(forbidden);
    await rita.settle();
    expect(rita.texts).toEqual(["at last"]);
    expect(rita.all("room_closed")).toEqual([]);
  });
});

describe("a member who is removed", () => {
  test("[ACC-1] is told, gets nothing later, and is refused everything", async () => {
    const roomId = await createRoom({ alice: "member", bob: "member" });
    const [alice, bob, bobElsewhere] = [await connect("alice"), await connect("bob"), await connect("bob")];
    for (const client of [alice, bob, bobElsewhere]) await client.request("join_room", roomId);
    await alice.request("send_message", { roomId, text: "for all" });
    await server.operations.setMembership({ roomId, userId: "bob", role: null });
    await alice.request("send_message", { roomId, text: "not for bob" });
    for (const client of [bob, bobElsewhere]) {
      expect((await client.got("room_closed")).args[0]).toEqual({ roomId, reason: "forbidden" });
      await client.settle();
      expect(client.texts).toEqual(["for all"]);
      for (const [event, payload] of Object.entries(requests)) {
        expect(await client.request(event, payload(roomId))).toEqual(forbidden);
      }
      expect(JSON.stringify(client.received)).not.toContain("not for bob");
    }
    await alice.got("membership_changed", (change) =>
      expect.objectContaining({ userId: "bob", role: null }).asymmetricMatch(change),
    );
    await alice.got("user_left", (who) => expect.objectContaining({ userId: "bob" }).asymmetricMatch(who));
  });

  test("[ACC-1] whatever is sent at the very moment, what follows the removal does not reach him", async () => {
    const roomId = await createRoom({ alice: "member", bob: "member" });
    const [alice, bob] = [await connect("alice"), await connect("bob")];
    for (const client of [alice, bob]) await client.request("join_room", roomId);
    const sends = Array.from({ length: 40 }, (_, number) =>
      alice.request("send_message", { roomId, text: `message ${number}` }),
    );
    const removal = server.operations.setMembership({ roomId, userId: "bob", role: null });
    const more = Array.from({ length: 40 }, (_, number) =>
      alice.request("send_message", { roomId, text: `later ${number}` }),
    );
    const { seq } = await removal;
    await Promise.all([...sends, ...more]);
    await alice.request("send_message", { roomId, text: "afterwards" });
    await bob.got("room_closed");
    await bob.settle();
    const after = (client: UserClient) =>
      client.all("new_message").filter(([message]) => Number(field(message, "seq")) > seq);
    await alice.settle();
    expect(after(alice).length).toBeGreaterThan(0);
    expect(after(bob)).toEqual([]);
  });

  test("[ACC-1] comes back with the right, and gets the room as it is then", async () => {
    const roomId = await createRoom({ alice: "member", bob: "member" });
    const [alice, bob] = [await connect("alice"), await connect("bob")];
    await bob.request("join_room", roomId);
    await server.operations.setMembership({ roomId, userId: "bob", role: null });
    await bob.got("room_closed");
    await alice.request("send_message", { roomId, text: "while bob was out" });
    await server.operations.setMembership({ roomId, userId: "bob", role: "member" });
    await bob.settle();
    expect(bob.texts).toEqual([]);
    expect(await bob.request("join_room", roomId)).toMatchObject({ ok: true });
    await alice.request("send_message", { roomId, text: "welcome back" });
    await bob.got("new_message");
    expect(bob.texts).toEqual(["welcome back"]);
  });
});

describe("a room", () => {
  test("[ACC-1] that is made members only closes for others, and stays open for its members", async () => {
    const roomId = await createRoom({ alice: "member" });
    await server.operations.putRoom({ roomId, access: "public" });
    const [alice, guest] = [await connect("alice"), await connect("guest")];
    for (const client of [alice, guest]) expect(await client.request("join_room", roomId)).toMatchObject({ ok: true });
    await server.operations.putRoom({ roomId, access: "members" });
    expect((await guest.got("room_closed")).args[0]).toEqual({ roomId, reason: "forbidden" });
    await alice.request("send_message", { roomId, text: "among us" });
    await alice.got("new_message");
    await guest.settle();
    expect(guest.texts).toEqual([]);
    expect(alice.all("room_closed")).toEqual([]);
  });

  test("[ACC-1] that is deleted closes for all, and is no more", async () => {
    const roomId = await createRoom({ alice: "owner", bob: "member" });
    const [alice, bob] = [await connect("alice"), await connect("bob")];
    for (const client of [alice, bob]) await client.request("join_room", roomId);
    await alice.request("send_message", { roomId, text: "the last words" });
    await server.operations.deleteRoom({ roomId });
    for (const client of [alice, bob]) {
      expect((await client.got("room_closed")).args[0]).toEqual({ roomId, reason: "deleted" });
      for (const [event, payload] of Object.entries(requests)) {
        expect(await client.request(event, payload(roomId))).toEqual(forbidden);
      }
    }
    // A new room of the same name has nothing of the old one.
    await server.operations.putRoom({ roomId });
    expect(await alice.request("join_room", roomId)).toEqual(forbidden);
    await server.operations.setMembership({ roomId, userId: "alice", role: "member" });
    expect(await alice.request("room_history", { roomId })).toMatchObject({ ok: true, messages: [] });
    await alice.settle();
    expect(alice.all("new_message")).toHaveLength(1);
  });

  test("[ACC-1] that was left brings nothing after the acknowledgement", async () => {
    const roomId = await createRoom({ alice: "member", bob: "member" });
    const [alice, bob] = [await connect("alice"), await connect("bob")];
    await bob.request("join_room", roomId);
    const sends = Array.from({ length: 20 }, (_, number) =>
      alice.request("send_message", { roomId, text: `message ${number}` }),
    );
    await bob.got("new_message");
    await bob.request("leave_room", roomId);
    const count = bob.texts.length;
    await Promise.all(sends);
    await bob.settle();
    expect(bob.texts).toHaveLength(count);
  });
});

describe("notices", () => {
  test("[ACC-1] reach their user alone, also when the name looks like another's", async () => {
    const names = ["nora", "nora:2", "Nora", "nora ", "user:nora", "@user:nora"];
    const clients = await Promise.all(names.map((name) => connect(name)));
    for (const name of names) await server.operations.notifyUser({ userId: name, event: "for_you", data: name });
    for (const [index, client] of clients.entries()) {
      await client.got("for_you");
      await client.settle();
      expect(client.all("for_you").map(([data]) => data)).toEqual([names[index]]);
    }
  });
});
