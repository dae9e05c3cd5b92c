import { errorCodes, RefusalError } from "@parley/protocol";
import { expect, test } from "vitest";
import { SimulatedConnection } from "../../../../test/support/simulated-connection.ts";
import { World } from "../../../../test/support/simulation.ts";
import { controlLog } from "../core/log.ts";
import { RequestRates } from "../core/rate-limit.ts";
import { OutcomeUnknown, StoreUnavailable } from "../store/store.ts";
import { Admission, arrivalsMax, refusalOf, refuseLate, verdictOf } from "./admission.ts";
import { rootNamespace } from "./events.ts";

/** A client that is let in when `open` is called; the promise gives how that ended. */
function arrive(admission: Admission, entered: string[], name: string, signal = new AbortController().signal) {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const done = admission.pass({ signal }, () => {
    entered.push(name);
    return promise;
  });
  return {
    done: done.catch((error: unknown) => error),
    open: () => resolve(name),
    fail: (error: Error) => reject(error),
  };
}

test("so many at once are let in; the others wait, first come first served, also when one is refused", async () => {
  const admission = new Admission();
  const entered: string[] = [];
  const first = Array.from({ length: arrivalsMax }, (_, index) => arrive(admission, entered, `${index}`));
  const others = ["a", "b", "c"].map((name) => arrive(admission, entered, name));
  expect(entered).toHaveLength(arrivalsMax);
  first[7]?.open();
  expect(await first[7]?.done).toBe("7");
  first[3]?.fail(new Error("refused"));
  expect(await first[3]?.done).toEqual(new Error("refused"));
  expect(entered.slice(arrivalsMax)).toEqual(["a", "b"]);
  for (const { open } of [...first, ...others]) open();
  await Promise.all([...first, ...others].map(({ done }) => done));
  expect(entered).toHaveLength(arrivalsMax + 3);
  const later = arrive(admission, entered, "later");
  expect(entered.at(-1)).toBe("later");
  later.open();
  await later.done;
});

test("who left while it waited gives its place to the next", async () => {
  const admission = new Admission();
  const entered: string[] = [];
  const first = Array.from({ length: arrivalsMax }, (_, index) => arrive(admission, entered, `${index}`));
  const left = new AbortController();
  const gone = arrive(admission, entered, "gone", left.signal);
  const next = arrive(admission, entered, "next");
  left.abort();
  first[0]?.open();
  expect(await gone.done).toMatchObject({ code: "overloaded" });
  for (const { open } of [...first, next]) open();
  expect(await next.done).toBe("next");
  expect(entered).not.toContain("gone");
});

test("[REC-2] who cannot be asked about once more, as somebody is revoked, still has the session to come back to", async () => {
  const world = new World();
  const node = await world.startNode();
  const client = world.addClient("ada");
  await world.until(client.connect(node));
  await world.until(client.join("alpha"));
  await world.clock.advance(2_000);
  client.drop(true);
  await world.until(client.connect(node, "session"));
  const { session, connection } = client;
  if (session === null || connection === null) throw new Error("the client is not connected");
  world.cutStore(node, true);
  const asked = refuseLate(node, { session, result: "session" }, connection);
  await expect(world.until(asked)).rejects.toThrow("cut");
  world.cutStore(node, false);
  client.drop(true);
  await world.clock.advance(3_000);
  await world.until(client.connect(node, "session"));
  expect(client.recovered).toBe(2);
  await world.stop();
});

test("[ACC-2] who turns out to be banned while being let in has no session to come back to", async () => {
  const world = new World();
  const node = await world.startNode();
  const client = world.addClient("ada");
  await world.until(client.connect(node));
  await world.until(client.join("alpha"));
  await world.clock.advance(2_000);
  const { session, connection } = client;
  if (session === null || connection === null) throw new Error("the client is not connected");
  const ban = { tenant: "default", userId: "ada", issuedBefore: 0 };
  await world.until(world.store.putRevocation({ ...ban, banned: true }));
  const asked = refuseLate(node, { session, result: "session" }, connection);
  await expect(world.until(asked)).rejects.toMatchObject({ code: "banned" });
  expect(node.sessions.of("default", "ada")).toEqual([]);
  await world.clock.advance(2_000);
  const claim = { pid: session.pid ?? "", tenant: "default", userId: "ada", node: "another" };
  expect(await world.until(world.store.claimSessions([claim]))).toEqual([undefined]);
  await world.stop();
});

const later = new Set([
  "too_many_connections",
  "overloaded",
  "access_unavailable",
  "store_unavailable",
  "outcome_unknown",
  "shutting_down",
  "internal",
]);

test.each(Object.keys(errorCodes))("[WIRE-1] %s refuses a CONNECT for good only if it is a verdict", (code) => {
  const refusal = Object.assign(new RefusalError("bad_request", "why"), { code });
  const { kind } = verdictOf(refusal, { namespace: "/" }, () => {});
  expect(kind).toBe(later.has(code) ? "later" : "refused");
});

test("[IN-1] what the store throws has its code, and only what nobody expected is logged", () => {
  const logged: string[] = [];
  const codes = [new StoreUnavailable("away"), new OutcomeUnknown("lost"), new Error("bug"), "text"].map(
    (error) => refusalOf(error, (event) => logged.push(event)).code,
  );
  expect(codes).toEqual(["store_unavailable", "outcome_unknown", "internal", "internal"]);
  expect(logged).toEqual(["request_failed", "request_failed"]);
});

test("[ACC-2] a revocation that the node never heard of refuses also who was being let in", async () => {
  const world = new World();
  const office = await world.startNode();
  const home = await world.startNode();
  await world.clock.advance(2_000);
  const user = { id: "ada", tenant: "default", roles: [], expiresAt: null, issuedAt: 0 };
  const root = rootNamespace({
    node: home,
    authenticate: async () => ({ ok: true, user }),
    rates: new RequestRates(world.clock, {
      eventsPerSecond: 100,
      eventsBurst: 100,
      userEventsPerSecond: 100,
      userEventsBurst: 100,
    }),
    ownEvents: new Map(),
    counts: { request: () => {}, recovery: () => {} },
    log: () => {},
    onConnected: () => {},
  });
  const link = { clock: world.clock, windowBytes: 16_384, bytesPerMs: 1_000 };
  const connection = new SimulatedConnection("ada", link, { onPayload: () => {}, onClosed: () => {} });
  const { store } = world;
  const claim = store.claimSessions.bind(store);
  const looked = Promise.withResolvers<void>();
  store.claimSessions = async (claims) => {
    await looked.promise;
    return claim(claims);
  };
  const verdict = Promise.resolve(
    root.connect({
      connection,
      namespace: "/",
      auth: { pid: "unknown" },
      handshake: { address: "", url: "/", headers: {}, secure: false, at: 0 },
      client: { connection, namespace: "/", emit: () => {}, disconnect: () => {} },
      signal: new AbortController().signal,
    }),
  );
  await world.clock.advance(100);
  world.network.faults.lost = 1;
  world.cutStore(home, true);
  await world.until(world.operations(office).revokeUser({ userId: "ada" }));
  await world.until(store.trim(controlLog, 1_000));
  world.cutStore(home, false);
  await world.clock.advance(1_000);
  looked.resolve();
  expect(await world.until(verdict)).toMatchObject({ kind: "refused", data: { code: "token_revoked" } });
  expect(home.sessions.of("default", "ada")).toEqual([]);
  await world.stop();
});
