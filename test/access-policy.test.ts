import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type AccessFunction, RefusalError } from "../packages/server/src/index.ts";
import type { ConfigOverrides } from "../packages/server/src/config.ts";
import { eventually } from "./support/eventually.ts";
import { startServer, type TestServer, tokenFor, type TokenOptions } from "./support/server.ts";
import { UserClient } from "./support/user-client.ts";

let cleanup: AsyncDisposableStack;
beforeEach(() => {
  cleanup = new AsyncDisposableStack();
});
afterEach(() => cleanup.disposeAsync());

async function start(access: AccessFunction, overrides: ConfigOverrides = {}): Promise<TestServer> {
  return cleanup.use(await startServer({ access, overrides }));
}

async function connect(server: TestServer, userId: string, options?: TokenOptions): Promise<UserClient> {
  return cleanup.use(await UserClient.connect(server.url, { token: await tokenFor(server, userId, options) }));
}

const unavailable = { ok: false, error: { code: "access_unavailable", retryAfterMs: expect.any(Number) } };

describe("the app's own access function", () => {
  test("[ACC-1] decides what is read and what is sent", async () => {
    const server = await start(({ user, roomId }) => {
      if (roomId === "both") return true;
      if (roomId === "neither") return false;
      if (roomId === "read") return { read: true };
      // Without the right to read nothing else is given.
      if (roomId === "send only") return { send: true };
      return Promise.resolve({ read: user.roles.includes("staff"), send: user.roles.includes("staff") });
    });
    const alice = await connect(server, "alice");
    const can = async (client: UserClient, roomId: string) => [
      (await client.request("join_room", roomId)).ok,
      (await client.request("send_message", { roomId, text: "hello" })).ok,
    ];
    expect(await can(alice, "both")).toEqual([true, true]);
    expect(await can(alice, "read")).toEqual([true, false]);
    expect(await can(alice, "send only")).toEqual([false, false]);
    expect(await can(alice, "neither")).toEqual([false, false]);
    expect(await can(alice, "staff room")).toEqual([false, false]);
    expect(await can(await connect(server, "sam", { roles: ["staff"] }), "staff room")).toEqual([true, true]);
  });

  test("[ACC-1] is asked for the roles of this very token, whatever another of the same user may do", async () => {
    const server = await start(({ user }) => user.roles.includes("staff"));
    const staff = await connect(server, "sam", { roles: ["staff"] });
    expect(await staff.request("join_room", "office")).toMatchObject({ ok: true });
    const plain = await connect(server, "sam");
    expect(await plain.request("join_room", "office")).toMatchObject({ error: { code: "forbidden" } });
    expect(await staff.request("send_message", { roomId: "office", text: "still here" })).toMatchObject({ ok: true });
  });

  test("[ACC-1] one that throws, gives nonsense or nothing refuses for now, is logged, and is asked again", async () => {
    const fails: AccessFunction = () => {
      throw new Error("the app's database is away");
    };
    let answer = fails;
    const server = await start((question) => answer(question));
    const alice = await connect(server, "alice");
    const answers: AccessFunction[] = [
      fails,
      () => Promise.reject(new RefusalError("internal", "away")),
      // As an app in JavaScript may answer.
      () => JSON.parse("[]").at(0),
      () => JSON.parse("null"),
      () => JSON.parse('"yes"'),
      () => JSON.parse("1"),
    ];
    for (const next of answers) {
      answer = next;
      expect(await alice.request("join_room", "lobby")).toMatchObject(unavailable);
      expect(await alice.request("send_message", { roomId: "lobby", text: "hi" })).toMatchObject(unavailable);
      expect(await alice.request("room_history", { roomId: "lobby" })).toMatchObject(unavailable);
    }
    expect(server.lines.filter((line) => line.includes('"access_failed"')).length).toBeGreaterThanOrEqual(6);
    expect(server.lines.some((line) => line.includes("the app's database is away"))).toBe(true);
    answer = () => true;
    expect(await alice.request("join_room", "lobby")).toMatchObject({ ok: true });
  });

  test("[ACC-1] one that never answers refuses after its time, and keeps nobody else waiting", async () => {
    const server = await start(({ user }) => (user.id === "mallory" ? new Promise(() => {}) : true), {
      access: { accessTimeoutMs: 200 },
    });
    const [alice, mallory] = [await connect(server, "alice"), await connect(server, "mallory")];
    const late = mallory.request("join_room", "lobby");
    const order: string[] = [];
    await Promise.all([
      late.then(() => order.push("mallory")),
      alice.request("join_room", "lobby").then((reply) => order.push(`alice ${String(reply.ok)}`)),
    ]);
    expect(order).toEqual(["alice true", "mallory"]);
    expect(await late).toMatchObject(unavailable);
  });

  test("[ACC-1] one that fails for one user is no other user's refusal, also in the same turn", async () => {
    const server = await start(({ user }) => {
      if (user.id.startsWith("bad")) throw new Error("no such user");
      return true;
    });
    const clients = await Promise.all(["good-1", "bad-1", "good-2", "bad-2"].map((id) => connect(server, id)));
    const replies = await Promise.all(clients.map((client) => client.request("join_room", "lobby")));
    expect(replies.map(({ ok }) => ok)).toEqual([true, false, true, false]);
  });

  test("[ACC-1] its answers hold for a while; `access.changed` ends them at once", async () => {
    const allowed = new Set(["alice", "bob"]);
    let asked = 0;
    const server = await start(({ user }) => {
      asked += 1;
      return allowed.has(user.id);
    });
    const [alice, bob] = [await connect(server, "alice"), await connect(server, "bob")];
    for (const client of [alice, bob]) {
      for (const roomId of ["lobby", "office"]) await client.request("join_room", roomId);
    }
    const askedThen = asked;
    await bob.request("send_message", { roomId: "lobby", text: "one" });
    await bob.request("typing", { roomId: "lobby" });
    expect(asked).toBe(askedThen);

    allowed.delete("bob");
    await server.operations.accessChanged({ userId: "bob", roomId: "lobby" });
    await alice.request("send_message", { roomId: "lobby", text: "not for bob" });
    expect((await bob.got("room_closed")).args[0]).toEqual({ roomId: "lobby", reason: "forbidden" });
    expect(await bob.request("send_message", { roomId: "lobby", text: "two" })).toMatchObject({
      error: { code: "forbidden" },
    });
    await server.operations.accessChanged({ userId: "bob" });
    await eventually("the second room", () => (bob.all("room_closed").length === 2 ? true : undefined));
    await bob.settle();
    expect(bob.texts).toEqual(["one"]);
    expect(alice.all("room_closed")).toEqual([]);
  });

  test.each([{ history: 10 }, { history: 0 }])(
    "[ACC-1] an answer that was on its way when `access.changed` came opens nothing: %j",
    async (page) => {
      const waiting: ((answer: boolean) => void)[] = [];
      const server = await start(({ user }) => {
        if (user.id === "alice") return true;
        return new Promise<boolean>((resolve) => waiting.push(resolve));
      });
      const [alice, bob] = [await connect(server, "alice"), await connect(server, "bob")];
      await alice.request("join_room", "lobby");
      const joining = bob.request("join_room", { roomId: "lobby", ...page });
      const stale = await eventually("the question", () => waiting.shift());
      await server.operations.accessChanged({ userId: "bob" });
      stale(true);
      (await eventually("the next question", () => waiting.shift()))(false);
      const { ok } = await joining;
      if (ok) await bob.got("room_closed");
      await alice.request("send_message", { roomId: "lobby", text: "not for bob" });
      await alice.got("new_message");
      await bob.settle();
      expect(bob.texts).toEqual([]);
      expect(JSON.stringify(bob.received)).not.toContain("not for bob");
    },
  );

  test("[ACC-1] a right that is confirmed by `access.changed` costs no entry", async () => {
    const server = await start(() => true);
    const [alice, bob] = [await connect(server, "alice"), await connect(server, "bob")];
    for (const client of [alice, bob]) await client.request("join_room", "lobby");
    const texts = Array.from({ length: 60 }, (_, number) => `message ${number}`);
    for (const [number, text] of texts.entries()) {
      const sent = alice.request("send_message", { roomId: "lobby", text });
      if (number % 10 === 5) await server.operations.accessChanged({ userId: "bob" });
      await sent;
    }
    await bob.got("new_message", (message) => JSON.stringify(message).includes("message 59"));
    expect(bob.texts).toEqual(texts);
    expect(bob.all("room_closed")).toEqual([]);
  });

  test("[ACC-1] a policy that fails while it is asked again delivers nothing, and then what was missed", async () => {
    let answer: "true" | "fails" | "false" = "true";
    const server = await start(({ user }) => {
      if (user.id === "alice") return true;
      if (answer === "fails") throw new Error("the app's database is away");
      return answer === "true";
    });
    const [alice, bob] = [await connect(server, "alice"), await connect(server, "bob")];
    for (const client of [alice, bob]) await client.request("join_room", "lobby");
    answer = "fails";
    await server.operations.accessChanged({ userId: "bob" });
    await eventually("a failure", () => server.lines.find((line) => line.includes("access_failed")));
    await alice.request("send_message", { roomId: "lobby", text: "meanwhile" });
    await bob.settle();
    expect(bob.texts).toEqual([]);
    answer = "true";
    await bob.got("new_message");
    expect(bob.texts).toEqual(["meanwhile"]);
  });

  test("[ACC-1] a fresh token with other roles is asked about at once", async () => {
    const server = await start(({ user }) => user.roles.includes("staff"));
    const sam = await connect(server, "sam", { roles: ["staff"] });
    const tina = await connect(server, "tina", { roles: ["staff"] });
    for (const client of [sam, tina]) await client.request("join_room", "office");
    const token = await tokenFor(server, "sam", { roles: [] });
    expect(await sam.request("refresh_token", { token })).toMatchObject({ ok: true });
    expect(await sam.request("send_message", { roomId: "office", text: "hello" })).toMatchObject({
      error: { code: "forbidden" },
    });
    await sam.got("room_closed");
    await tina.request("send_message", { roomId: "office", text: "staff only" });
    await sam.settle();
    expect(sam.texts).toEqual([]);
  });
});
