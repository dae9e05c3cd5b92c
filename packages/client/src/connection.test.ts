import { expect, test } from "vitest";
import { eventually } from "../../../test/support/eventually.ts";
import { FakeServer } from "../test/fake-server.ts";
import { ManualTimers } from "../test/manual-timers.ts";
import { Recorder, recordStates } from "../test/recorder.ts";
import { connect, type ConnectOptions } from "./client.ts";

const backoff = { minMs: 1_000, maxMs: 4_000 };

/** A client on time that stands still: what passes without `advance` passes at once. */
function connectTo(server: FakeServer, options: ConnectOptions = {}) {
  const timers = new ManualTimers();
  const client = connect({ url: server.url, token: "t", backoff, timers, ...options });
  return { client, timers, states: recordStates(client), [Symbol.dispose]: () => client.close() };
}

/** Tokens as an app's backend issues them: t1, t2, …; `fail` makes one call fail. */
function tokenIssuer() {
  const issuer = {
    issued: 0,
    failing: false,
    getToken: () => {
      if (issuer.failing) return Promise.reject(new Error("the backend is away"));
      issuer.issued += 1;
      return Promise.resolve(`t${issuer.issued}`);
    },
  };
  return issuer;
}

test("the state says when the next try is, and each wait is longer, to a bound", async () => {
  await using server = await FakeServer.start();
  server.closesTransport = true;
  using connection = connectTo(server);
  const { states, timers } = connection;
  const waits: number[] = [];
  for (const attempt of [0, 1, 2, 3]) {
    const state = await states.first((one) => one.state === "waiting" && one.attempt === attempt);
    if (state.state !== "waiting") throw new Error(state.state);
    expect(state.error.code).toBe("disconnected");
    waits.push(state.retryAtMs - timers.now());
    timers.advance(state.retryAtMs - timers.now());
  }
  expect(waits).toEqual([750, 1_500, 3_000, 3_000]);
  await server.until(() => server.auths.length === 5);
});

test("a connection that held begins its waits anew, one that broke at once does not", async () => {
  await using server = await FakeServer.start();
  using connection = connectTo(server);
  const { states, timers } = connection;
  const lose = async (heldMs: number): Promise<number> => {
    await server.until(() => server.connections === 1);
    timers.advance(heldMs);
    const seen = states.values.length;
    server.dropConnections();
    const [waiting] = (await states.count(seen + 1)).slice(seen);
    if (waiting?.state !== "waiting") throw new Error(`not waiting: ${waiting?.state}`);
    const waitMs = waiting.retryAtMs - timers.now();
    timers.advance(waitMs);
    await states.count(seen + 3);
    return waitMs;
  };
  await states.first(({ state }) => state === "connected");
  expect([await lose(60_000), await lose(10), await lose(10), await lose(5_000)]).toEqual([750, 1_500, 3_000, 750]);
});

test("a user need not wait for the next try", async () => {
  await using server = await FakeServer.start();
  server.closesTransport = true;
  using connection = connectTo(server);
  await connection.states.first(({ state }) => state === "waiting");
  server.closesTransport = false;
  connection.client.retryNow();
  await connection.states.first(({ state }) => state === "connected");
  const { length } = connection.states.values;
  connection.client.retryNow();
  expect(connection.states.values).toHaveLength(length);
  expect(server.auths.length).toBe(2);
});

test("a server that holds CONNECT back for too long is tried again", async () => {
  await using server = await FakeServer.start();
  server.holdsConnect = true;
  using connection = connectTo(server);
  await server.until(() => server.auths.length === 1);
  connection.timers.advance(20_000);
  expect(connection.client.state).toMatchObject({ state: "waiting", error: { code: "timed_out" } });
  server.holdsConnect = false;
  connection.client.retryNow();
  await connection.states.first(({ state }) => state === "connected");
});

test("a getToken that does not end is given up and called again", async () => {
  await using server = await FakeServer.start();
  const never = new Promise<string>(() => undefined);
  let calls = 0;
  const getToken = () => {
    calls += 1;
    return calls === 1 ? never : Promise.resolve("t");
  };
  using connection = connectTo(server, { getToken });
  connection.timers.advance(20_000);
  expect(connection.client.state).toMatchObject({ state: "waiting", error: { code: "timed_out" } });
  connection.client.retryNow();
  await connection.states.first(({ state }) => state === "connected");
});

test("a getToken that throws at once is tried again", async () => {
  await using server = await FakeServer.start();
  let calls = 0;
  const getToken = () => {
    calls += 1;
    if (calls === 1) throw new Error("no session");
    return Promise.resolve("t");
  };
  using connection = connectTo(server, { getToken });
  await connection.states.first(({ state }) => state === "waiting");
  connection.client.retryNow();
  await connection.states.first(({ state }) => state === "connected");
  expect(calls).toBe(2);
});

test("a refusal for good ends the client, and fails what it had to send", async () => {
  await using server = await FakeServer.start();
  server.admit = () => ({ code: "banned", message: "not you" });
  using connection = connectTo(server);
  const { client, states } = connection;
  const joined = client.room("r").join();
  const { outcome } = client.room("r").send("hello");
  await expect(joined).rejects.toMatchObject({ code: "banned" });
  expect(await outcome).toMatchObject({ status: "failed", error: { code: "banned" } });
  expect(await states.first(({ state }) => state === "closed")).toMatchObject({
    verdict: { code: "banned", message: "not you" },
  });
  expect(connection.timers.waiting).toBe(0);
});

test("a refusal that may pass is waited for as long as the server says", async () => {
  await using server = await FakeServer.start();
  server.admit = () => ({ code: "overloaded", message: "later", retryAfterMs: 30_000 });
  using connection = connectTo(server);
  const state = await connection.states.first((one) => one.state === "waiting");
  expect(state.state === "waiting" && state.retryAtMs - connection.timers.now()).toBe(30_000);
});

test("[ACC-2] an expired token is replaced at the next connection, without a wait", async () => {
  await using server = await FakeServer.start();
  const issuer = tokenIssuer();
  server.admit = ({ token }) => (token === "t1" ? { code: "token_expired", message: "old" } : undefined);
  using connection = connectTo(server, { getToken: issuer.getToken });
  await connection.states.first(({ state }) => state === "connected");
  expect(server.auths.map(({ token }) => token)).toEqual(["t1", "t2"]);
  expect(connection.states.values.map(({ state }) => state)).not.toContain("waiting");
  server.admit = ({ token }) => (token === "t3" ? undefined : { code: "token_expired", message: "old" });
  server.dropConnections();
  await connection.states.first(({ state }) => state === "waiting");
  const { length } = connection.states.values;
  connection.client.retryNow();
  await connection.states.first(
    (state) => connection.states.values.indexOf(state) > length && state.state === "connected",
  );
  expect(connection.states.values.slice(length).map(({ state }) => state)).not.toContain("waiting");
});

test("[ACC-2] fresh tokens that are refused end in a verdict", async () => {
  await using server = await FakeServer.start();
  server.admit = () => ({ code: "token_expired", message: "old" });
  using connection = connectTo(server, { getToken: tokenIssuer().getToken });
  for (const attempt of [0, 1]) {
    await connection.states.first((one) => one.state === "waiting" && one.attempt === attempt);
    connection.timers.advance(backoff.maxMs);
  }
  expect(await connection.states.first(({ state }) => state === "closed")).toMatchObject({
    verdict: { code: "token_expired" },
  });
  expect(server.auths.map(({ token }) => token)).toEqual(["t1", "t2", "t3", "t4"]);
});

test("a client with one token alone ends when it has expired", async () => {
  await using server = await FakeServer.start();
  server.admit = () => ({ code: "token_expired", message: "old" });
  using connection = connectTo(server);
  await connection.states.first(({ state }) => state === "closed");
  expect(server.auths.length).toBe(1);
});

test("[ACC-2] a token that is about to expire is replaced on the live connection, once the app can", async () => {
  await using server = await FakeServer.start();
  const issuer = tokenIssuer();
  using connection = connectTo(server, { getToken: issuer.getToken });
  const errors = new Recorder<string>();
  connection.client.on("error", ({ code }) => errors.add(code));
  await connection.states.first(({ state }) => state === "connected");
  issuer.failing = true;
  server.broadcast("token_expiring", { expiresAt: "soon", inMs: 60_000 });
  await errors.first((code) => code === "token_unavailable");
  issuer.failing = false;
  connection.timers.advance(backoff.maxMs);
  await server.until(() => server.count("refresh_token") === 1);
  expect(server.received.at(-1)?.payload).toEqual({ token: "t2" });
  server.dropConnections();
  await connection.states.first(({ state }) => state === "waiting");
  connection.client.retryNow();
  await server.until(() => server.auths.length === 2);
  expect(server.auths[1]?.token).toBe("t2");
});

test("a failing getToken is tried again", async () => {
  await using server = await FakeServer.start();
  const issuer = tokenIssuer();
  issuer.failing = true;
  using connection = connectTo(server, { getToken: issuer.getToken });
  expect(await connection.states.first(({ state }) => state === "waiting")).toMatchObject({
    error: { code: "token_unavailable" },
  });
  issuer.failing = false;
  connection.client.retryNow();
  await connection.states.first(({ state }) => state === "connected");
});

test("a disconnect by the server is a verdict with the code that came before it", async () => {
  await using server = await FakeServer.start();
  using connection = connectTo(server);
  await connection.states.first(({ state }) => state === "connected");
  server.disconnect({ code: "banned", message: "enough" });
  expect(await connection.states.first(({ state }) => state === "closed")).toMatchObject({
    verdict: { code: "banned" },
  });
});

test("[ACC-2] a connection that ends with its token comes back with a fresh one, without a wait", async () => {
  await using server = await FakeServer.start();
  using connection = connectTo(server, { getToken: tokenIssuer().getToken });
  await connection.states.first(({ state }) => state === "connected");
  server.broadcast("error", { code: "token_expired", message: "over" });
  server.dropConnections();
  await server.until(() => server.auths.length === 2);
  expect(server.auths.map(({ token }) => token)).toEqual(["t1", "t2"]);
});

test("an error of an earlier connection is no reason for the end of a later one", async () => {
  await using server = await FakeServer.start();
  using connection = connectTo(server);
  await connection.states.first(({ state }) => state === "connected");
  server.broadcast("error", { code: "banned", message: "for a while" });
  server.dropConnections();
  await connection.states.first(({ state }) => state === "waiting");
  connection.client.retryNow();
  await server.until(() => server.connections === 1 && server.auths.length === 2);
  server.disconnect();
  expect(await connection.states.first(({ state }) => state === "closed")).toMatchObject({
    verdict: { code: "refused" },
  });
});

test("a client whose one token is about to expire has nothing to send", async () => {
  await using server = await FakeServer.start();
  using connection = connectTo(server);
  await connection.states.first(({ state }) => state === "connected");
  server.broadcast("token_expiring", { expiresAt: "soon", inMs: 60_000 });
  await connection.client.room("r").history();
  await connection.client.room("r").history();
  expect(server.count("refresh_token")).toBe(0);
});

test("[OUT-1] a client that is told to move moves once, and leaves the old connection when that owes nothing more", async () => {
  await using server = await FakeServer.start();
  server.interfere = (event) => (event === "room_history" ? "swallow" : undefined);
  using connection = connectTo(server, { requestTimeoutMs: 5_000 });
  const room = connection.client.room("r");
  const subscribed = new Recorder<true>();
  room.on("subscribed", () => subscribed.add(true));
  await room.join();
  const owed = Promise.allSettled([room.history()]);
  await server.until(() => server.count("room_history") === 1);
  server.broadcast("server_draining", { withinMs: 100 });
  server.broadcast("server_draining", { withinMs: 100 });
  await subscribed.count(2);
  expect(server.connections).toBe(2);
  connection.timers.advance(5_000);
  expect(await owed).toMatchObject([{ reason: { code: "timed_out" } }]);
  await server.until(() => server.connections === 1);
  expect(server.auths).toHaveLength(2);
  expect(connection.timers.waiting).toBe(0);
  expect(connection.states.values.map(({ state }) => state)).toEqual(["connecting", "connected"]);
});

// Why 19 and 21 s: a move that nobody answers is given up after 20 s, others at once.
test.each<[string, number, (server: FakeServer, fails: boolean) => void]>([
  [
    "is refused",
    19_000,
    (server, fails) => (server.admit = () => (fails ? { code: "overloaded", message: "full" } : undefined)),
  ],
  ["loses its transport", 19_000, (server, fails) => (server.closesTransport = fails)],
  ["gets no answer", 21_000, (server, fails) => (server.holdsConnect = fails)],
])("[OUT-1] a move that %s is tried again, and the present connection serves on", async (...variant) => {
  const [, withinMs, interfere] = variant;
  let leftMs = withinMs;
  await using server = await FakeServer.start();
  using connection = connectTo(server);
  const room = connection.client.room("r");
  const subscribed = new Recorder<true>();
  room.on("subscribed", () => subscribed.add(true));
  await room.join();
  interfere(server, true);
  server.broadcast("server_draining", { withinMs: 100 });
  await server.until(() => server.auths.length === 2);
  await room.history();
  interfere(server, false);
  await eventually("another try", () => {
    if (leftMs > 0) connection.timers.advance(50);
    leftMs -= 50;
    return server.auths.length > 2 ? true : undefined;
  });
  await subscribed.count(2);
  await server.until(() => server.connections === 1);
  expect(connection.states.values.map(({ state }) => state)).toEqual(["connecting", "connected"]);
});

test("a refused event is no reason for a disconnect that follows", async () => {
  await using server = await FakeServer.start();
  using connection = connectTo(server);
  await connection.states.first(({ state }) => state === "connected");
  server.broadcast("error", { code: "token_expired", message: "no", event: "typing" });
  server.dropConnections();
  const waiting = await connection.states.first(({ state }) => state === "waiting");
  expect(waiting).toMatchObject({ error: { code: "disconnected" } });
});

test("a server that cannot be reached is waited for", async () => {
  await using server = await FakeServer.start();
  await server.kill();
  using connection = connectTo(server);
  expect(await connection.states.first(({ state }) => state === "waiting")).toMatchObject({
    error: { code: "unreachable" },
  });
});

test("the app's own fields go with the token", async () => {
  await using server = await FakeServer.start();
  using connection = connectTo(server, { auth: { device: "phone" }, transports: ["polling"] });
  await connection.states.first(({ state }) => state === "connected");
  expect(server.auths).toMatchObject([{ token: "t", device: "phone" }]);
});
