import { RefusalError } from "@parley/protocol";
import { expect, test } from "vitest";
import { SimulatedClock } from "../../../../test/support/simulated-clock.ts";
import { resolveConfig } from "../config.ts";
import { createAdminSessions, createAdminTicket } from "./admin-session.ts";
import {
  type AuthenticateFunction,
  type ClientHandshake,
  createAuthenticator,
  createTokenVerifier,
  mintToken,
  type Presented,
} from "./authenticate.ts";

const secret = "kP3vX9qLw7Zr2TnB8sYd5Gh1JmC6fAe4";
const { auth } = resolveConfig({ mode: "development", overrides: { auth: { secret } } });

function setUp(authenticate?: AuthenticateFunction) {
  const clock = new SimulatedClock();
  const failures: unknown[] = [];
  const adminSessions = createAdminSessions(secret, clock);
  const authenticator = createAuthenticator({
    auth,
    clock,
    verifier: createTokenVerifier(auth, clock),
    adminSessions,
    onFailure: (error) => failures.push(error),
    ...(authenticate === undefined ? {} : { authenticate }),
  });
  return { clock, failures, adminSessions, authenticator };
}

function presented({ namespace = "/", auth: given = {}, headers = {} }: Partial<ClientHandshake>): Presented {
  return { namespace, auth: given, handshake: { headers, address: "127.0.0.1", url: "/", secure: false, at: 0 } };
}

test("the token stands in auth.token, or in an Authorization header", async () => {
  const { clock, authenticator } = setUp();
  const token = await mintToken(auth, clock, { userId: "ann", lifetimeSeconds: 60 });
  const admitted = { ok: true, user: { id: "ann" } };
  expect(await authenticator(presented({ auth: { token } }))).toMatchObject(admitted);
  expect(await authenticator(presented({ headers: { authorization: `Bearer ${token}` } }))).toMatchObject(admitted);
  expect(await authenticator(presented({}))).toMatchObject({ ok: false, code: "unauthorized" });
  const inherited: Record<string, unknown> = Object.create({ token });
  expect(await authenticator(presented({ auth: inherited }))).toMatchObject({ ok: false, code: "unauthorized" });
});

test("the app's own function replaces tokens, and may admit guests", async () => {
  const { clock, authenticator } = setUp(({ auth: given, headers }) => ({
    id: `guest:${String(given["name"])}:${String(headers["x-team"])}`,
  }));
  const user = { id: "guest:ann:blue", tenant: "default", roles: [], expiresAt: null, issuedAt: clock.now() / 1_000 };
  expect(await authenticator(presented({ auth: { name: "ann" }, headers: { "x-team": "blue" } }))).toEqual({
    ok: true,
    user,
  });
  expect(clock.waiting).toBe(0);
});

test("what the app's function refuses is refused: for good by null, else by the code it gives", async () => {
  expect(await setUp(() => null).authenticator(presented({}))).toMatchObject({ ok: false, code: "unauthorized" });
  const refusing = (code: ConstructorParameters<typeof RefusalError>[0]) =>
    setUp(() => Promise.reject(new RefusalError(code, "why"))).authenticator(presented({}));
  expect(await refusing("forbidden")).toEqual({ ok: false, code: "forbidden", message: "why" });
  expect(await refusing("banned")).toEqual({ ok: false, code: "unauthorized", message: "why" });
  expect(await refusing("overloaded")).toEqual({ ok: false, code: "access_unavailable", message: "why" });
});

test("[IN-1] a function that throws, or gives no user, refuses for now, and its error reaches the log alone", async () => {
  for (const answer of [
    () => {
      throw new Error("database password is hunter2");
    },
    () => ({ id: "" }),
    () => ({ id: "ann", tenant: "a/b" }),
    () => ({ id: "ann\n" }),
  ]) {
    const { failures, authenticator } = setUp(answer);
    const result = await authenticator(presented({}));
    expect(result).toMatchObject({ ok: false, code: "access_unavailable" });
    expect(JSON.stringify(result)).not.toContain("hunter2");
    expect(failures).toHaveLength(1);
  }
});

test("a function that does not answer is given up after the time set, and told so", async () => {
  const told: unknown[] = [];
  const never = new Promise<null>(() => {});
  const { clock, authenticator } = setUp((_handshake, signal) => {
    signal.addEventListener("abort", () => told.push(signal.reason));
    return never;
  });
  const result = authenticator(presented({}));
  await clock.advance(auth.authenticateTimeoutMs);
  expect(await result).toMatchObject({ ok: false, code: "access_unavailable" });
  expect(told).toHaveLength(1);
  expect(clock.waiting).toBe(0);
});

test("[ACC-2] a session that the app says has ended is refused as expired", async () => {
  const { authenticator } = setUp(() => ({ id: "ann", expiresAt: 1 }));
  expect(await authenticator(presented({}))).toMatchObject({ ok: false, code: "token_expired" });
});

test("an admin ticket works once, for ten minutes, and its session token in /admin alone", async () => {
  const { clock, adminSessions, authenticator } = setUp();
  const ticket = await adminSessions.createTicket();
  const redeemed = await adminSessions.redeem(ticket);
  expect(redeemed).toMatchObject({ ok: true, expiresAt: clock.now() + 3_600_000 });
  expect(await adminSessions.redeem(ticket)).toMatchObject({
    ok: false,
    message: expect.stringContaining("parley token --admin"),
  });
  const token = redeemed.ok ? redeemed.token : "";
  expect(await authenticator(presented({ namespace: "/admin", auth: { token } }))).toMatchObject({
    ok: true,
    user: { roles: ["admin"] },
  });
  expect(await authenticator(presented({ auth: { token } }))).toMatchObject({ ok: false });
  expect(await authenticator(presented({ namespace: "/admin", auth: { token: ticket } }))).toMatchObject({ ok: false });
  const late = await adminSessions.createTicket();
  await clock.advance(600_000);
  expect(await adminSessions.redeem(late)).toMatchObject({ ok: false });
  await clock.advance(3_000_000);
  expect(await authenticator(presented({ namespace: "/admin", auth: { token } }))).toMatchObject({ ok: false });
});

test("tickets of the command line are taken; used ones, and others from before a restart, are not", async () => {
  const { clock, adminSessions } = setUp();
  await clock.advance(1);
  const ticket = await createAdminTicket(secret, clock);
  await clock.advance(1);
  expect(await createAdminSessions(secret, clock).redeem(ticket)).toMatchObject({ ok: false });
  expect(await adminSessions.redeem(ticket)).toMatchObject({ ok: true });
  const foreign = await createAdminTicket("another secret", clock);
  for (const bad of [foreign, "", "x.y.z", "x".repeat(100_000)])
    expect(await adminSessions.redeem(bad)).toMatchObject({ ok: false });
});

test("an administrator by token, and by the app's own function", async () => {
  const { clock, authenticator } = setUp();
  const token = await mintToken(auth, clock, { userId: "root", roles: ["admin"], lifetimeSeconds: 60 });
  expect(await authenticator(presented({ namespace: "/admin", auth: { token } }))).toMatchObject({
    user: { id: "root", roles: ["admin"] },
  });
  const own = setUp(() => ({ id: "boss", roles: ["admin"] }));
  expect(await own.authenticator(presented({ namespace: "/admin" }))).toMatchObject({ user: { id: "boss" } });
});
