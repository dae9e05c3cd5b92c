import { connect, connectAdmin, type ConnectOptions } from "@parley/client";
import { expect, test, vi } from "vitest";
import { DevelopmentServer } from "./support/development-server.ts";

// Each test starts a node of its own, some a few times.
vi.setConfig({ testTimeout: 90_000, hookTimeout: 60_000 });
const eventually = <Value>(get: () => Value) => expect.poll(get, { timeout: 30_000 });

// Quick, because a test waits for each try.
const backoff = { minMs: 20, maxMs: 200 };

async function connectAs(server: DevelopmentServer, userId: string, options: ConnectOptions = {}) {
  const client = connect({ url: server.publicUrl, token: await server.token(userId), backoff, ...options });
  const states: string[] = [];
  client.on("state", ({ state }) => states.push(state));
  return Object.assign(client, { states, [Symbol.dispose]: () => client.close() });
}

function next<Value>(subscribe: (listener: (value: Value) => void) => unknown): Promise<Value> {
  return new Promise((resolve) => subscribe(resolve));
}

test("[ACC-1] whoever loses a membership is told that the room is closed, and gets nothing more of it", async () => {
  await using server = await DevelopmentServer.start();
  await server.call("PUT", "/rooms/team", { access: "members" });
  await server.call("PUT", "/rooms/team/members/alice", { role: "member" });
  using alice = await connectAs(server, "alice");
  const room = alice.room("team");
  const texts: string[] = [];
  room.on("message", ({ text }) => texts.push(text));
  const closed = next<{ readonly code: string }>((listener) => room.on("closed", listener));
  await room.join();
  await server.post("/rooms/team/messages", { userId: "bob", text: "for members" });
  await eventually(() => texts).toEqual(["for members"]);
  await server.call("DELETE", "/rooms/team/members/alice");
  expect(await closed).toMatchObject({ code: "forbidden" });
  await server.post("/rooms/team/messages", { userId: "bob", text: "not for alice" });
  await expect(room.join()).rejects.toMatchObject({ code: "forbidden" });
  expect(texts).toEqual(["for members"]);
});

test("[REC-3] a right that was lost while the client was away is not resumed", async () => {
  await using server = await DevelopmentServer.start();
  await server.call("PUT", "/rooms/team", { access: "members" });
  await server.call("PUT", "/rooms/team/members/alice", { role: "member" });
  // It comes back when it is told to.
  using alice = await connectAs(server, "alice", { backoff: { minMs: 60_000, maxMs: 60_000 } });
  const room = alice.room("team");
  const texts: string[] = [];
  room.on("message", ({ text }) => texts.push(text));
  const closed = next<{ readonly code: string }>((listener) => room.on("closed", listener));
  await room.join();
  await server.kill();
  await server.start();
  await server.call("DELETE", "/rooms/team/members/alice");
  await server.post("/rooms/team/messages", { userId: "bob", text: "not for alice" });
  alice.retryNow();
  expect(await closed).toMatchObject({ code: "forbidden" });
  expect(texts).toEqual([]);
});

test("a client that the server disconnects comes back by itself, a banned one does not", async () => {
  await using server = await DevelopmentServer.start();
  using alice = await connectAs(server, "alice");
  await alice.room("room-123").join();
  await server.post("/users/alice/disconnect");
  await eventually(() => alice.states).toEqual(["connected", "waiting", "connecting", "connected"]);
  await server.post("/users/alice/revoke", { banned: true });
  await eventually(() => alice.state).toMatchObject({ state: "closed", verdict: { code: "banned" } });
  expect(alice.states.filter((state) => state === "connected").length).toBe(2);
});

test("[ACC-2] a token that is about to expire is replaced, and the connection outlives it", async () => {
  await using server = await DevelopmentServer.start();
  const tokens = [await server.mintToken("alice", "2s"), await server.mintToken("alice", "1h")];
  const expiresAtMs = Date.now() + 2_000;
  let asked = 0;
  using alice = await connectAs(server, "alice", {
    getToken: () => {
      asked += 1;
      return Promise.resolve(tokens.shift() ?? "none");
    },
  });
  await alice.room("room-123").join();
  await eventually(() => asked).toBe(2);
  // The node looks for ended tokens once a second.
  await eventually(() => Date.now() > expiresAtMs + 1_500).toBe(true);
  expect(await alice.room("room-123").send("still here").outcome).toMatchObject({ status: "sent" });
  expect(alice.states).toEqual(["connected"]);
});

test("[ACC-2] an expired token ends the connection, and a fresh one begins it anew", async () => {
  await using server = await DevelopmentServer.start();
  const long = await server.mintToken("alice", "1h");
  const short = await server.mintToken("alice", "3s");
  // The app has no new token while the old one lasts.
  let calls = 0;
  const getToken = (): Promise<string> => {
    calls += 1;
    if (calls === 1) return Promise.resolve(short);
    return calls === 2 ? new Promise(() => undefined) : Promise.resolve(long);
  };
  using alice = await connectAs(server, "alice", { getToken });
  await alice.room("room-123").join();
  await eventually(() => alice.states).toEqual(["connected", "connecting", "connected"]);
  expect(await alice.room("room-123").send("back again").outcome).toMatchObject({ status: "sent" });
});

test("an administrator announces over the console's namespace; a user's token is refused there", async () => {
  await using server = await DevelopmentServer.start();
  using alice = await connectAs(server, "alice");
  await alice.room("room-123").join();
  const heard = next<object>((listener) => alice.on("announcement", listener));
  const url = new URL(server.adminLink);
  const response = await fetch(`${url.origin}/admin/session`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ticket: new URLSearchParams(url.hash.slice(1)).get("ticket") }),
  });
  const session: unknown = await response.json();
  expect(session).toHaveProperty("token");
  const token = typeof session === "object" && session !== null && "token" in session ? String(session.token) : "";
  const admin = connectAdmin({ url: url.origin, token });
  await eventually(() => admin.state.state).toBe("connected");
  expect(await admin.statistics()).toMatchObject({ users: 1 });
  await admin.announce({ text: "maintenance at noon" });
  expect(await heard).toMatchObject({ message: { text: "maintenance at noon" } });
  admin.close();
  const intruder = connectAdmin({ url: server.publicUrl, token: await server.token("alice") });
  await eventually(() => intruder.state).toMatchObject({ state: "closed", verdict: { code: "forbidden" } });
});
