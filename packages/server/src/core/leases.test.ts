import { expect, test } from "vitest";
import { MemoryStore } from "../../../../test/support/memory-store.ts";
import { World } from "../../../../test/support/simulation.ts";
import { SimulatedClock } from "../../../../test/support/simulated-clock.ts";
import type { Bus, Digest } from "../bus/bus.ts";
import { localBus } from "../bus/local.ts";
import { Confirmation } from "./confirmation.ts";
import type { Feed } from "./feed.ts";
import { defaultFeedsLimits, Feeds } from "./feeds.ts";
import { defaultFollowerLimits, Follower } from "./follower.ts";
import { Leases } from "./leases.ts";
import type { LogId } from "./log.ts";

test("a lease holds while its node is there, and has ended soon after it was killed", async () => {
  const world = new World();
  const one = await world.startNode();
  const two = await world.startNode();
  await world.clock.advance(20_000);
  expect([one.leases.endedFor(two.id), one.leases.ended()]).toEqual([null, []]);
  world.kill(two);
  await world.clock.advance(1_500);
  expect(one.leases.endedFor(two.id)).toBeNull();
  await world.clock.advance(1_600);
  expect(one.leases.endedFor(two.id)).toBeLessThan(1_600);
  expect(one.leases.ended()).toEqual([two.id]);
  await world.stop();
});

test("a lease ends with its node's stop", async () => {
  const world = new World();
  const one = await world.startNode();
  const two = await world.startNode();
  await world.clock.advance(2_000);
  world.nodes.splice(1, 1);
  await world.until(two.stop());
  await world.clock.advance(1_100);
  expect(one.leases.ended()).toEqual([two.id]);
  await world.stop();
});

test("a lease that is being renewed as its node stops ends nevertheless", async () => {
  const clock = new SimulatedClock();
  const renewed = Promise.withResolvers<void>();
  class SlowStore extends MemoryStore {
    override async renewLease(node: string, ms: number): Promise<void> {
      await renewed.promise;
      await super.renewLease(node, ms);
    }
  }
  const store = new SlowStore({ clock });
  const leases = new Leases({ store, clock, node: "a", alone: false });
  leases.start();
  const stopped = leases.stop();
  await clock.advance(10);
  renewed.resolve();
  await clock.advance(10);
  await stopped;
  const [listed] = await Promise.all([store.leases(), clock.advance(10)]);
  expect(listed).toEqual([{ node: "a", remainingMs: expect.any(Number) }]);
  expect(listed[0]?.remainingMs).toBeLessThanOrEqual(0);
});

test("a node that does not reach the store knows of no lease that has ended since", async () => {
  const world = new World();
  const one = await world.startNode();
  const two = await world.startNode();
  await world.clock.advance(2_000);
  world.cutStore(one, true);
  world.kill(two);
  await world.clock.advance(20_000);
  expect(one.leases.ended()).toEqual([]);
  world.cutStore(one, false);
  await world.clock.advance(1_100);
  expect(one.leases.ended()).toEqual([two.id]);
  await world.stop();
});

interface Following {
  readonly clock: SimulatedClock;
  readonly store: MemoryStore;
  readonly follower: Follower;
  readonly feeds: Feeds;
  readonly stop: () => Promise<void>;
}

/** What finds out lost hints, by itself. */
function follow(): Following {
  const clock = new SimulatedClock();
  const store = new MemoryStore({ clock });
  const bus: Bus = { ...localBus(), alone: false };
  const nothing = (): void => {};
  const feeds = new Feeds({
    store,
    clock,
    bus,
    limits: defaultFeedsLimits,
    confirmation: new Confirmation(clock, true),
    events: {
      onGap: nothing,
      onAccepted: nothing,
      onReset: nothing,
      onFollowed: nothing,
      onDropped: nothing,
      onUnfollowed: nothing,
    },
  });
  const leases = new Leases({ store, clock, node: "me", alone: false });
  const follower = new Follower({
    ...{ store, clock, bus, feeds, node: "me", leases, limits: defaultFollowerLimits },
    onUnread: () => {},
  });
  leases.start();
  follower.start();
  const stop = async (): Promise<void> => {
    follower.stop();
    await leases.stop();
  };
  return { clock, store, follower, feeds, stop };
}

const room: LogId = "default/alpha";

function commit(store: MemoryStore, node: string, n: number) {
  const entry = { log: room, id: `${node}-${n}`, type: "message", actor: "ann", at: 0, v: 1, data: '{"text":"x"}' };
  return store.append({ node, n, appends: [{ ...entry, clientId: null, effect: null }] });
}

async function opened(clock: SimulatedClock, feeds: Feeds): Promise<Feed> {
  const opening = feeds.open(room);
  await clock.settle();
  return opening;
}

test("[FEED-2] a bus that comes and goes all the time does not put off the journal", async () => {
  const { clock, store, follower, feeds, stop } = follow();
  const feed = await opened(clock, feeds);
  await clock.advance(1_000);
  await commit(store, "other", 1);
  for (let past = 0; past < 600; past += 100) {
    follower.onState(past % 200 === 0 ? "down" : "up");
    await clock.advance(100);
  }
  expect(feed.head).toBe(1);
  await stop();
});

test("[FEED-2] a silent node's journal is read until its last commit must have landed; then it is forgotten", async () => {
  const { clock, store, follower, feeds, stop } = follow();
  const feed = await opened(clock, feeds);
  const digest = (n: number): Digest => ({ node: "other", after: n - 1, n, heads: [] });
  await store.renewLease("other", 3_000);
  await commit(store, "other", 1);
  follower.onDigest(digest(1));
  await clock.advance(20_000);
  expect(follower.known).toBe(1);
  await commit(store, "other", 2);
  await clock.advance(1_000);
  expect(feed.head).toBe(2);
  await clock.advance(defaultFollowerLimits.settleMs);
  expect(follower.known).toBe(0);
  await clock.advance(defaultFollowerLimits.forgetAfterMs);
  expect(follower.known).toBeLessThanOrEqual(1);
  await stop();
});

test("a node that was read of, and never heard or leased, is forgotten", async () => {
  const { clock, store, follower, stop } = follow();
  await commit(store, "ghost", 1);
  await clock.advance(2_000);
  expect(follower.known).toBe(1);
  await store.prune(clock.now(), 0);
  await clock.advance(defaultFollowerLimits.forgetAfterMs + 1_000);
  expect(follower.known).toBe(0);
  await stop();
});

test("[FEED-2] what was heard of a log that could not be opened is forgotten: its feed begins with what the store says", async () => {
  const { clock, store, feeds, stop } = follow();
  await store.open(room);
  store.setDown(true);
  const refused = Promise.resolve(feeds.open(room)).catch((error: unknown) => error);
  feeds.announced(room, "another life", 7);
  await clock.settle();
  expect(await refused).toBeInstanceOf(Error);
  store.setDown(false);
  await opened(clock, feeds);
  await clock.settle();
  expect(store.calls.get("readAfter")).toBeUndefined();
  await stop();
});
