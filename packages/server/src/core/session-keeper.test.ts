import { expect, test } from "vitest";
import { MemoryStore } from "../../../../test/support/memory-store.ts";
import { SimulatedClock } from "../../../../test/support/simulated-clock.ts";
import { SimulatedConnection } from "../../../../test/support/simulated-connection.ts";
import { comeBack, createCluster } from "../../../../test/support/simulated-recovery.ts";
import { type StoredSession, StoreUnavailable } from "../store/store.ts";
import { logId } from "./log.ts";
import { Session } from "./session.ts";
import { SessionKeeper } from "./session-keeper.ts";

/** Refuses a whole write for one session in it, as a database does that cannot keep a value. */
class PickyStore extends MemoryStore {
  readonly unwanted = new Set<string>();
  /** Which writes, counted from 1, find it away. */
  readonly away = new Set<number>();
  readonly writes: number[] = [];

  override async putSessions(sessions: readonly StoredSession[]): Promise<readonly boolean[]> {
    this.writes.push(sessions.length);
    if (this.away.has(this.writes.length)) throw new StoreUnavailable("simulated");
    if (sessions.some(({ pid }) => this.unwanted.has(pid))) throw new RangeError("cannot be kept");
    return super.putSessions(sessions);
  }
}

function createKeeper() {
  const clock = new SimulatedClock();
  const store = new PickyStore({ clock });
  const limits = { maxDisconnectionDurationMs: 120_000, storeRetryMs: 100 };
  const keeper = new SessionKeeper({ store, clock, node: "node", limits, onLost: () => {} });
  keeper.start();
  const isStored = async (pid: string): Promise<boolean> => {
    const claim = { pid, tenant: "default", userId: "user", node: "other" };
    const [claimed] = await store.claimSessions([claim]);
    return claimed !== undefined;
  };
  return { clock, store, keeper, isStored };
}

function createSession(clock: SimulatedClock, pid: string, generation = 1): Session {
  const user = { id: "user", tenant: "default", roles: [], expiresAt: null, issuedAt: 0 };
  const session = new Session(
    { id: `socket of ${pid}`, pid, offsets: true, kept: true, generation, user },
    { onDue: () => {}, onBehind: () => {}, onArrived: () => {}, delivered: () => {} },
  );
  const connection = new SimulatedConnection(
    pid,
    { clock, windowBytes: 10_000, bytesPerMs: 10 },
    { onPayload: () => {}, onClosed: () => {} },
  );
  session.connect(connection);
  return session;
}

test("[REC-2] a session that the store cannot keep fails alone, and is tried again with the others later", async () => {
  const { clock, store, keeper, isStored } = createKeeper();
  const pids = Array.from({ length: 9 }, (_, index) => `pid-${index}`);
  store.unwanted.add("pid-4");
  const kept = Promise.allSettled(pids.map(async (pid) => keeper.keep(createSession(clock, pid))));
  await clock.settle();
  const outcomes = (await kept).map(({ status }, index) => [pids[index], status]);
  expect(outcomes).toEqual(pids.map((pid) => [pid, pid === "pid-4" ? "rejected" : "fulfilled"]));
  for (const pid of pids) expect(await isStored(pid)).toBe(pid !== "pid-4");
  // Split in two until it is alone, and then left alone.
  expect(store.writes.length).toBeLessThan(10);
  const writes = store.writes.length;
  await clock.advance(30_000);
  expect(store.writes.length).toBe(writes);
  store.unwanted.clear();
  await clock.advance(60_000);
  expect(await isStored("pid-4")).toBe(true);
});

test("[REC-2] while one is looked for that the store cannot keep, the store may go away: nobody else fails", async () => {
  const { clock, store, keeper, isStored } = createKeeper();
  const pids = Array.from({ length: 4 }, (_, index) => `pid-${index}`);
  store.unwanted.add("pid-3");
  // The first write is refused, its first half is written, and for the second one the store is away.
  store.away.add(3);
  const kept = Promise.allSettled(pids.map(async (pid) => keeper.keep(createSession(clock, pid))));
  await clock.advance(1_000);
  expect((await kept).map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "fulfilled", "rejected"]);
  for (const pid of pids) expect(await isStored(pid)).toBe(pid !== "pid-3");
});

test("[REC-2] sessions that got many entries are stored within a second or two, a few at a time", async () => {
  const { clock, store, keeper, isStored } = createKeeper();
  const pids = Array.from({ length: 300 }, (_, index) => `pid-${index}`);
  for (const pid of pids) {
    const session = createSession(clock, pid);
    const subscriber = session.add(logId("default", "room"), "epoch", 0);
    keeper.arrived(session, [{ subscriber, epoch: "epoch", from: 0, to: 500, page: null }]);
  }
  await clock.advance(2_000);
  expect(Math.max(...store.writes)).toBe(50);
  for (const pid of pids) expect(await isStored(pid)).toBe(true);
});

test("[REC-3] a session that ended while the store was away ends there when it is back: nobody comes back to it", async () => {
  const { clock, store, keeper, isStored } = createKeeper();
  const session = createSession(clock, "pid");
  const kept = keeper.keep(session);
  await clock.settle();
  await kept;
  store.setDown(true);
  session.dropped = true;
  keeper.forget(session);
  keeper.end(session);
  await clock.advance(5_000);
  store.setDown(false);
  await clock.advance(2_000);
  expect(await isStored("pid")).toBe(false);
});

test("[REC-2] who said goodbye has nothing to come back to, on any node", async () => {
  const cluster = await createCluster();
  const { world, client, second } = cluster;
  const { pid } = client;
  client.goodbye();
  await world.clock.advance(2_000);
  const user = { tenant: "default", userId: "anna", node: second.id };
  expect(await world.until(world.store.claimSessions([{ ...user, pid: pid ?? "" }]))).toEqual([undefined]);
});

test("[REC-2] who said goodbye just after it came to another node has nothing to come back to", async () => {
  const cluster = await createCluster();
  const { world, client, first, second } = cluster;
  world.kill(first);
  await comeBack(cluster, second);
  const { pid } = client;
  client.goodbye();
  await world.clock.advance(2_000);
  const user = { tenant: "default", userId: "anna", node: "node-3" };
  expect(await world.until(world.store.claimSessions([{ ...user, pid: pid ?? "" }]))).toEqual([undefined]);
});

test("[REC-2] who said goodbye finds nothing of it on a node that never heard that it had moved on", async () => {
  const cluster = await createCluster();
  const { world, client, first, second } = cluster;
  world.network.faults.lost = 1;
  await comeBack(cluster, second);
  const { pid, user } = client;
  client.goodbye();
  await world.clock.advance(2_000);
  expect(first.sessions.find(pid ?? "", user)?.generation).toBe(1);
  const { clock } = world;
  const connection = new SimulatedConnection(
    "again",
    { clock, windowBytes: 10_000, bytesPerMs: 10 },
    { onPayload: () => {}, onClosed: () => {} },
  );
  // As the stock client does, which keeps its `pid` when it disconnects and connects again.
  const { result } = await world.until(first.connect(user, connection, { pid }));
  expect(result).toBe("unknown");
});

test("[REC-3] a session that came back and ended twice before the store was told ends there as its last one", async () => {
  const { clock, store, keeper, isStored } = createKeeper();
  await store.putSessions([stored("pid", 3)]);
  for (const generation of [2, 3]) {
    const session = createSession(clock, "pid", generation);
    keeper.end(session);
  }
  await clock.advance(2_000);
  expect(store.writes).toEqual([1, 1]);
  expect(await isStored("pid")).toBe(false);
});

function stored(pid: string, generation: number): StoredSession {
  return {
    pid,
    generation,
    id: `socket of ${pid}`,
    tenant: "default",
    userId: "user",
    owner: "node",
    keepMs: 60_000,
    cursors: [],
  };
}
