import { SignJWT } from "jose";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { eventually } from "./support/eventually.ts";
import { RawWebSocket } from "./support/raw-client.ts";
import { startServer, type TestServer, tokenFor, type TokenOptions } from "./support/server.ts";
import { UserClient } from "./support/user-client.ts";

let server: TestServer;
let cleanup: AsyncDisposableStack;

beforeAll(async () => {
  server = await startServer({ overrides: { auth: { clockToleranceSeconds: 0, expiringNoticeMs: 60_000 } } });
  await server.operations.putRoom({ roomId: "lobby", access: "public" });
});
afterAll(() => server[Symbol.asyncDispose]());
beforeEach(() => {
  cleanup = new AsyncDisposableStack();
});
afterEach(() => cleanup.disposeAsync());

async function connect(userId: string, options?: TokenOptions, path = ""): Promise<UserClient> {
  const token = await tokenFor(server, userId, options);
  return cleanup.use(await UserClient.connect(`${server.url}${path}`, { token }));
}

/** What the next try to connect with this token gets. */
async function verdictOf(token: unknown, path = ""): Promise<unknown> {
  const client = cleanup.use(new UserClient(`${server.url}${path}`, { token }));
  const { event, args } = await client.got(/^connect(_error)?$/);
  return event === "connect" ? "connected" : args[1];
}

describe("a token that ends", () => {
  test("[ACC-2] its client is told before, cut when it ends, and refused afterwards", async () => {
    const client = await connect("erin", { expiresInSeconds: 2 });
    await client.request("join_room", "lobby");
    const [notice] = (await client.got("token_expiring")).args;
    expect(notice).toMatchObject({ expiresAt: expect.stringMatching(/^\d{4}-.*Z$/), inMs: expect.any(Number) });
    expect((await client.got("error")).args[0]).toMatchObject({ code: "token_expired" });
    await client.got("disconnect");
    const [, data] = (await client.got("connect_error")).args;
    expect(data).toMatchObject({ code: "token_expired" });
    expect(client.socket.active).toBe(false);
  });

  test("[ACC-2] a fresh one sent in time keeps the connection, beyond the end of the first", async () => {
    const client = await connect("fred", { expiresInSeconds: 2 });
    await client.request("join_room", "lobby");
    await client.got("token_expiring");
    const fresh = await client.request("refresh_token", {
      token: await tokenFor(server, "fred", { expiresInSeconds: 3_600 }),
    });
    expect(fresh).toMatchObject({ ok: true, expiresAt: expect.stringMatching(/Z$/) });
    // Another token of the same age ends meanwhile.
    const other = await connect("greta", { expiresInSeconds: 3 });
    await other.got("disconnect");
    expect(await client.request("send_message", { roomId: "lobby", text: "still here" })).toMatchObject({ ok: true });
    await client.settle();
    expect(client.all("disconnect")).toEqual([]);
    expect(client.all("token_expiring")).toHaveLength(1);
  });

  test("[ACC-2] a client that comes back with a fresh one goes on where it was", async () => {
    const token = await tokenFor(server, "henry", { expiresInSeconds: 2 });
    const client = cleanup.use(await UserClient.connect(server.url, { token }));
    await client.request("join_room", "lobby");
    await client.settle();
    client.socket.auth = { token: await tokenFor(server, "henry") };
    await client.got("disconnect");
    await server.operations.sendMessage({ roomId: "lobby", userId: "iris", text: "for henry" });
    await client.got("connect", (recovered) => recovered === true);
    await client.got("new_message");
    expect(client.texts).toEqual(["for henry"]);
  });

  test("[ACC-2] what is no fresh token of this user is refused, and changes nothing", async () => {
    const client = await connect("ida", { expiresInSeconds: 60 });
    const refused = async (token: unknown) => (await client.request("refresh_token", { token })).error?.code;
    expect(await refused(await tokenFor(server, "john"))).toBe("forbidden");
    expect(await refused(await tokenFor(server, "ida", { expiresInSeconds: -10 }))).toBe("token_expired");
    expect(await refused("no token at all")).toBe("unauthorized");
    const unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJpZGEiLCJleHAiOjk5OTk5OTk5OTl9.";
    expect(await refused(unsigned)).toBe("unauthorized");
    for (const bad of ["", 7, null, { token: "x" }, "x".repeat(20_000)]) expect(await refused(bad)).toBe("bad_request");
    expect(await client.request("join_room", "lobby")).toMatchObject({ ok: true });
  });

  test("[ACC-2] an administrator's ends the connection to /admin", async () => {
    const admin = await connect("root", { roles: ["admin"], expiresInSeconds: 2 }, "/admin");
    expect(await admin.request("statistics")).toMatchObject({ ok: true });
    await admin.got("disconnect");
    expect((await admin.got("connect_error")).args[1]).toMatchObject({ code: "token_expired" });
  });
});

describe("a CONNECT that is refused", () => {
  const refusals = () => server.lines.filter((line) => line.includes('"connect_refused"'));

  test("[ACC-2] is logged with its code, and without the token", async () => {
    const before = refusals().length;
    const ended = await tokenFor(server, "olga", { expiresInSeconds: -10 });
    expect(await verdictOf(ended)).toMatchObject({ code: "token_expired" });
    expect(await verdictOf(await tokenFor(server, "olga"), "/admin")).toMatchObject({ code: "forbidden" });
    const lines = await eventually("both lines", () => (refusals().length >= before + 2 ? refusals() : undefined));
    expect(lines.slice(before).map((line) => JSON.parse(line))).toMatchObject([
      { level: "info", namespace: "/", code: "token_expired", forGood: true },
      { level: "info", namespace: "/admin", code: "forbidden", forGood: true },
    ]);
    expect(lines.join("")).not.toContain(ended.slice(0, 20));
  });

  test("also when the client has gone before the verdict", async () => {
    const before = refusals().length;
    await using socket = await RawWebSocket.open(Number(new URL(server.url).port));
    socket.send('40{"token":"none"}');
    socket.socket.end();
    const lines = await eventually("the line", () => (refusals().length > before ? refusals() : undefined));
    expect(JSON.parse(lines[before] ?? "")).toMatchObject({ code: "unauthorized" });
  });
});

describe("a token that is revoked", () => {
  test("[ACC-2] ends every connection of the user at once; the next connect is refused, a later token is not", async () => {
    const [tab, phone] = [await connect("kim"), await connect("kim")];
    const bystander = await connect("lea");
    for (const client of [tab, phone, bystander]) await client.request("join_room", "lobby");
    const revoked = await tokenFor(server, "kim");
    expect(await server.operations.revokeUser({ userId: "kim" })).toBe(2);
    await server.operations.sendMessage({ roomId: "lobby", userId: "lea", text: "not for kim" });
    for (const client of [tab, phone]) {
      expect((await client.got("connect_error")).args[1]).toMatchObject({ code: "token_revoked" });
      expect(client.socket.active).toBe(false);
      expect(client.texts).not.toContain("not for kim");
    }
    expect(await verdictOf(revoked)).toMatchObject({ code: "token_revoked" });
    expect(await verdictOf(await laterToken("kim"))).toBe("connected");
    await bystander.settle();
    expect(bystander.all("disconnect")).toEqual([]);
  });

  test("[ACC-2] refreshes nothing", async () => {
    const revoked = await tokenFor(server, "mia");
    await server.operations.revokeUser({ userId: "mia" });
    const client = cleanup.use(await UserClient.connect(server.url, { token: await laterToken("mia") }));
    expect(await client.request("refresh_token", { token: revoked })).toMatchObject({
      error: { code: "token_revoked" },
    });
    expect(await client.request("join_room", "lobby")).toMatchObject({ ok: true });
  });

  test("[ACC-2] a ban refuses later tokens, too, until it is lifted", async () => {
    const client = await connect("otto");
    await server.operations.revokeUser({ userId: "otto", banned: true });
    expect((await client.got("connect_error")).args[1]).toMatchObject({ code: "banned" });
    expect(await verdictOf(await laterToken("otto"))).toMatchObject({ code: "banned" });
    await server.operations.revokeUser({ userId: "otto", banned: false });
    expect(await verdictOf(await laterToken("otto"))).toBe("connected");
  });

  test("[ACC-2] ends an administrator's connection to /admin", async () => {
    const admin = await connect("paula", { roles: ["admin"] }, "/admin");
    expect(await server.operations.revokeUser({ userId: "paula" })).toBe(1);
    expect((await admin.got("connect_error")).args[1]).toMatchObject({ code: "token_revoked" });
  });

  test("[ACC-2] also for those who are just being let in", async () => {
    const token = await tokenFor(server, "quinn");
    const clients: UserClient[] = [];
    for (let round = 0; round < 15; round += 1) {
      clients.push(cleanup.use(new UserClient(server.url, { token })));
    }
    await clients[0]?.got(/^connect(_error)?$/);
    await server.operations.revokeUser({ userId: "quinn" });
    for (const client of clients) {
      expect((await client.got("connect_error")).args[1]).toMatchObject({ code: "token_revoked" });
      expect(client.socket.connected).toBe(false);
    }
  });

  test("[ACC-2] a user who is disconnected, and not revoked, comes back by itself", async () => {
    const client = await connect("rosa");
    await client.request("join_room", "lobby");
    expect(await server.operations.disconnectUser({ userId: "rosa" })).toBe(1);
    await client.got("disconnect");
    await client.got("connect", (recovered) => recovered === true);
    expect(await client.request("send_message", { roomId: "lobby", text: "back again" })).toMatchObject({ ok: true });
  });
});

describe("a token that is none", () => {
  test("[ACC-2] is refused for good, on every namespace, with what to change", async () => {
    const key = new TextEncoder().encode("kP3vX9qLw7Zr2TnB8sYd5Gh1JmC6fAe4");
    const claims = { sub: "eve", role: "admin" };
    const sign = (change: (jwt: SignJWT) => SignJWT, secret = key) =>
      change(new SignJWT(claims).setProtectedHeader({ alg: "HS256" }).setExpirationTime("1h")).sign(secret);
    const tokens: readonly unknown[] = [
      undefined,
      "",
      "x",
      "Bearer abc",
      await sign((jwt) => jwt, new TextEncoder().encode("another secret of 32 bytes, at least")),
      await sign((jwt) => jwt.setNotBefore("1h")),
      await sign((jwt) => jwt.setIssuedAt(Math.floor(Date.now() / 1_000) + 3_600)),
      await new SignJWT(claims).setProtectedHeader({ alg: "HS256" }).sign(key),
      await new SignJWT({ ...claims, sub: "@user:eve\n" })
        .setProtectedHeader({ alg: "HS256" })
        .setExpirationTime("1h")
        .sign(key),
    ];
    for (const token of tokens) {
      for (const path of ["", "/admin"]) {
        expect(await verdictOf(token, path)).toMatchObject({ code: "unauthorized", message: expect.any(String) });
      }
    }
    expect(await verdictOf("x".repeat(16_384))).toMatchObject({ code: "unauthorized" });
    for (const token of [7, {}, [], null, "x".repeat(16_385)]) {
      expect(await verdictOf(token)).toMatchObject({ code: expect.stringMatching(/^(bad_request|unauthorized)$/) });
    }
  });
});

/** One that was issued after the revocation: in a second of its own. */
async function laterToken(userId: string): Promise<string> {
  const issuedAt = Math.floor(Date.now() / 1_000) + 1;
  const token = new SignJWT({ sub: userId })
    .setProtectedHeader({ alg: "HS256" })
    .setIssuedAt(issuedAt)
    .setExpirationTime(issuedAt + 3_600)
    .sign(new TextEncoder().encode("kP3vX9qLw7Zr2TnB8sYd5Gh1JmC6fAe4"));
  // The server takes no token from the future.
  await expect.poll(() => Date.now(), { interval: 20, timeout: 5_000 }).toBeGreaterThanOrEqual(issuedAt * 1_000);
  return token;
}
