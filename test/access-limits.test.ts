import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ConfigOverrides } from "../packages/server/src/config.ts";
import { startServer, type TestServer, tokenFor } from "./support/server.ts";
import { UserClient } from "./support/user-client.ts";

let cleanup: AsyncDisposableStack;
beforeEach(() => {
  cleanup = new AsyncDisposableStack();
});
afterEach(() => cleanup.disposeAsync());

async function start(limits: ConfigOverrides["limits"]): Promise<TestServer> {
  const server = cleanup.use(await startServer({ overrides: { limits } }));
  await server.operations.putRoom({ roomId: "lobby", access: "public" });
  return server;
}

async function connect(server: TestServer, userId: string): Promise<UserClient> {
  return cleanup.use(await UserClient.connect(server.url, { token: await tokenFor(server, userId) }));
}

describe("limits", () => {
  test("[IN-1] rooms of a connection: one more is refused, a rejoin is not, and a leave makes room", async () => {
    const server = await start({ roomsPerConnectionMax: 3 });
    for (const roomId of ["a", "b", "c", "d"]) await server.operations.putRoom({ roomId, access: "public" });
    const alice = await connect(server, "alice");
    for (const roomId of ["a", "b", "c"]) expect(await alice.request("join_room", roomId)).toMatchObject({ ok: true });
    expect(await alice.request("join_room", "d")).toMatchObject({ error: { code: "too_many_rooms" } });
    expect(await alice.request("join_room", "b")).toMatchObject({ ok: true });
    expect(await alice.request("leave_room", "a")).toMatchObject({ ok: true });
    expect(await alice.request("join_room", "d")).toMatchObject({ ok: true });
    // Another tab has rooms of its own.
    expect(await (await connect(server, "alice")).request("join_room", "a")).toMatchObject({ ok: true });
  });

  test("[IN-1] rooms of a connection: joins that race do not get past it", async () => {
    const server = await start({ roomsPerConnectionMax: 3 });
    const names = Array.from({ length: 12 }, (_, index) => `room-${index}`);
    for (const roomId of names) await server.operations.putRoom({ roomId, access: "public" });
    const alice = await connect(server, "alice");
    const replies = await Promise.all(names.map((name) => alice.request("join_room", name)));
    expect(replies.filter(({ ok }) => ok)).toHaveLength(3);
  });

  test("[IN-1] rooms of a connection: what `resume` asks for beyond it is closed for that reason", async () => {
    const server = await start({ roomsPerConnectionMax: 2 });
    const names = ["a", "b", "c", "d"];
    for (const roomId of names) await server.operations.putRoom({ roomId, access: "public" });
    const token = await tokenFor(server, "alice");
    const { epoch } = await server.operations.room({ roomId: "a" });
    const resume = Object.fromEntries(names.map((name) => [name, { epoch, seq: 0 }]));
    const alice = cleanup.use(await UserClient.connect(server.url, { token, resume }));
    await alice.settle();
    expect(alice.all("room_closed")).toEqual([
      [{ roomId: "c", reason: "too_many_rooms" }],
      [{ roomId: "d", reason: "too_many_rooms" }],
    ]);
    expect(await alice.request("typing", { roomId: "b" })).toMatchObject({ ok: true });
  });

  test("[IN-1] events of an administrator's connection count as others do", async () => {
    const server = await start({ eventsPerSecond: 0.01, eventsBurst: 10 });
    const token = await tokenFor(server, "root", { roles: ["admin"] });
    const admin = cleanup.use(await UserClient.connect(`${server.url}/admin`, { token }));
    const replies = await Promise.all(
      Array.from({ length: 20 }, (_, index) => admin.request("broadcast_announcement", { number: index })),
    );
    const limited = replies.filter(({ error }) => error?.code === "rate_limited");
    expect(limited).toHaveLength(10);
    expect(replies.filter(({ ok }) => ok)).toHaveLength(10);
    for (const { error } of limited) expect(error).toMatchObject({ retryAfterMs: expect.any(Number) });
  });

  test("[IN-1] events of a connection: what is too much is refused with the time to wait, and harms nobody", async () => {
    const server = await start({ eventsPerSecond: 20, eventsBurst: 30 });
    const [alice, bob] = [await connect(server, "alice"), await connect(server, "bob")];
    for (const client of [alice, bob]) await client.request("join_room", "lobby");
    const replies = await Promise.all(
      Array.from({ length: 100 }, (_, index) => alice.request("send_message", { roomId: "lobby", text: `${index}` })),
    );
    const refused = replies.filter(({ ok }) => !ok);
    expect(refused.length).toBeGreaterThan(20);
    for (const { error } of refused) {
      expect(error).toMatchObject({ code: "rate_limited", retryAfterMs: expect.any(Number) });
    }
    const waitMs = Math.max(...refused.map(({ error }) => error?.retryAfterMs ?? 0));
    expect(waitMs).toBeGreaterThan(0);
    expect(waitMs).toBeLessThanOrEqual(1_000);
    expect(await bob.request("send_message", { roomId: "lobby", text: "from bob" })).toMatchObject({ ok: true });
    // It passes by itself, and nobody was cut.
    await expect
      .poll(async () => (await alice.request("send_message", { roomId: "lobby", text: "later" })).ok, { interval: 50 })
      .toBe(true);
    expect(alice.all("disconnect")).toEqual([]);
    await bob.settle();
    expect(bob.texts.length).toBe(replies.length - refused.length + 2);
  });

  test("[IN-1] events of a user: many tabs are no way around", async () => {
    const server = await start({ userEventsPerSecond: 0.01, userEventsBurst: 40 });
    const tabs = await Promise.all(Array.from({ length: 5 }, () => connect(server, "alice")));
    const bob = await connect(server, "bob");
    const replies = await Promise.all(
      tabs.flatMap((tab) => Array.from({ length: 20 }, () => tab.request("typing", { roomId: "lobby" }))),
    );
    const limited = replies.filter(({ error }) => error?.code === "rate_limited");
    expect(limited).toHaveLength(60);
    expect(await bob.request("join_room", "lobby")).toMatchObject({ ok: true });
  });

  test("[IN-1] bad events count as others do", async () => {
    const server = await start({ eventsPerSecond: 0.01, eventsBurst: 10 });
    const alice = await connect(server, "alice");
    const replies = await Promise.all(Array.from({ length: 20 }, () => alice.request("no such event")));
    const codes = replies.map(({ error }) => error?.code);
    expect(codes.filter((code) => code === "unknown_event")).toHaveLength(10);
    expect(codes.filter((code) => code === "rate_limited")).toHaveLength(10);
  });

  test("[IN-1] connections of a user: one more waits until another ends; other users notice nothing", async () => {
    const server = await start({ connectionsPerUserMax: 2 });
    const [one, two] = [await connect(server, "alice"), await connect(server, "alice")];
    const third = cleanup.use(new UserClient(server.url, { token: await tokenFor(server, "alice") }));
    await third.got("disconnect");
    expect(third.all("connect")).toEqual([]);
    // Refused for now, not for good.
    expect(third.all("connect_error").map(([, data]) => data)).not.toContainEqual(
      expect.objectContaining({ code: expect.any(String) }),
    );
    expect((await connect(server, "bob")).socket.connected).toBe(true);
    one.socket.disconnect();
    await third.got("connect");
    expect(await two.request("join_room", "lobby")).toMatchObject({ ok: true });
    expect(two.all("disconnect")).toEqual([]);
  });

  test("[IN-1] a packet that is too large ends that connection alone, which comes back", async () => {
    const server = await start({ payloadBytesMax: 200_000 });
    const [alice, bob] = [await connect(server, "alice"), await connect(server, "bob")];
    for (const client of [alice, bob]) await client.request("join_room", "lobby");
    alice.socket.emit("send_message", { roomId: "lobby", text: "x".repeat(300_000) });
    await alice.got("disconnect");
    await alice.got("connect", (recovered) => recovered === true);
    expect(await alice.request("send_message", { roomId: "lobby", text: "small" })).toMatchObject({ ok: true });
    await bob.got("new_message");
    expect(bob.texts).toEqual(["small"]);
    expect(bob.all("disconnect")).toEqual([]);
  });
});
