import { describe, expect, test } from "vitest";
import { MemoryStore } from "../../../../test/support/memory-store.ts";
import { SimulatedClock } from "../../../../test/support/simulated-clock.ts";
import type { Append } from "../store/store.ts";
import { eventText, parseOffset } from "./entry-event.ts";
import { type Committed, Feed, type FeedLimits, sharedBufferBytesMax } from "./feed.ts";
import { payloadsOf } from "./frame.ts";
import { newEntryId } from "./ids.ts";
import type { LogId } from "./log.ts";
import { Tails } from "./tails.ts";

const log: LogId = "default/alpha";

/**
 * A feed of one log on a store whose every way takes `latencyMs`, and what the feed told. `before`: entries that were
 * there when it was opened.
 */
async function createFeed(options: Partial<FeedLimits> = {}, before = 0) {
  const clock = new SimulatedClock();
  const latency = { ms: 0 };
  const store = new MemoryStore({ clock, latencyMs: () => latency.ms });
  const accepted: number[] = [];
  const resets: string[] = [];
  const wait = async <Result>(promise: Promise<Result>): Promise<Result> => {
    await clock.advance(2 * latency.ms);
    return promise;
  };
  let batches = 0;
  const entry = (type: string, data: object): Append => ({
    log,
    id: newEntryId(),
    type,
    actor: "writer",
    at: clock.now(),
    v: 1,
    data: JSON.stringify(data),
    clientId: null,
    effect: null,
  });
  /** Commits entries and gives what their node would tell of them. */
  const commit = async (appends: readonly Append[]): Promise<Committed> => {
    batches += 1;
    const results = await wait(store.append({ node: "writer", n: batches, appends }));
    const first = results[0];
    if (first?.ok !== true) throw new Error("refused");
    const events = appends.map((appended, index) => eventText(log, { ...appended, seq: first.seq + index }));
    return { log, epoch: first.epoch, from: first.seq, events };
  };
  const append = (count = 1, text = "hello"): Promise<Committed> =>
    commit(Array.from({ length: count }, () => entry("message", { text })));
  /** Erases an entry, and sends a message with it. */
  const erase = (target: number): Promise<Committed> =>
    commit([
      { ...entry("erasure", { target }), effect: { kind: "erase", target } },
      entry("message", { text: "last" }),
    ]);
  if (before > 0) await append(before);
  const feed = new Feed(log, await wait(store.open(log)), {
    store,
    clock,
    limits: {
      tailBytesMax: 100_000,
      tailsBytesMax: 1_000_000,
      tailBytesMin: 1_000,
      earlyEntriesMax: 100,
      storeRetryMs: 300,
      ...options,
    },
    tails: new Tails(clock),
    events: {
      onAdvanced: (_feed, from, events) => accepted.push(...events.map((_event, index) => from + index)),
      onReset: (_feed, reason) => resets.push(reason),
    },
  });
  const reads = () => store.calls.get("readAfter") ?? 0;
  return { clock, store, feed, append, erase, accepted, resets, reads, latency, wait };
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

function seqsOf(frames: Buffer): number[] {
  return [...payloadsOf(frames)].map(({ payload }) => {
    const args: unknown = JSON.parse(payload.toString().slice(2));
    return (Array.isArray(args) && parseOffset(String(args.at(-1)))?.seq) || 0;
  });
}

describe("what was read for those below the tail", () => {
  test("[FEED-1] becomes part of the tail where it joins on to it, in this life of the log", async () => {
    const { store, feed, append, wait } = await createFeed({}, 20);
    feed.accept(await append(2));
    const page = await wait(store.readAfter(log, 10, 100, 100_000));
    if (page === undefined) throw new Error("the log is not there");
    const from = (seq: number) => ({ ...page, entries: page.entries.slice(seq - 11) });
    const seqsAfter = (cursor: number) => {
      const taken = feed.take(cursor, 1_000_000, true);
      return taken.kind === "frames" ? seqsOf(taken.frames) : taken.kind;
    };
    feed.extendBack({ ...page, entries: page.entries.slice(0, 5) });
    feed.extendBack({ ...page, epoch: "another" });
    expect(seqsAfter(19)).toBe("behind");
    feed.extendBack(from(15));
    expect(seqsAfter(14)).toEqual(range(15, 22));
    expect(seqsAfter(13)).toBe("behind");
    feed.extendBack(from(11));
    feed.accept(await append());
    expect(seqsAfter(10)).toEqual(range(11, 23));
    expect(seqsAfter(20)).toEqual([21, 22, 23]);
  });

  test("stays out when the tail, or all tails together, would be too large", async () => {
    for (const limits of [{ tailBytesMax: 500 }, { tailsBytesMax: 1_000 }]) {
      const { store, feed, wait } = await createFeed(limits, 20);
      const page = await wait(store.readAfter(log, 10, 100, 100_000));
      if (page === undefined) throw new Error("the log is not there");
      feed.extendBack(page);
      expect(feed.take(10, 1_000_000, true).kind).toBe("behind");
      feed.extendBack({ ...page, entries: page.entries.slice(-2) });
      expect(feed.take(18, 1_000_000, true).kind).toBe("frames");
    }
  });
});

describe("an erasure", () => {
  test("[LOG-2] takes all that came before it out of the tail, which begins anew with it", async () => {
    const { store, feed, append, erase, wait } = await createFeed();
    feed.accept(await append(3, "secret"));
    feed.accept(await erase(2));
    expect(feed.take(0, 1_000_000, true).kind).toBe("behind");
    expect(feed.take(2, 1_000_000, true).kind).toBe("behind");
    expect(feed.take(3, 1_000_000, true)).toMatchObject({ kind: "frames", to: 5 });
    const page = await wait(store.readAfter(log, 0, 100, 100_000));
    if (page === undefined) throw new Error("the log is not there");
    feed.extendBack(page);
    const taken = feed.take(0, 1_000_000, true);
    if (taken.kind !== "frames") throw new Error(taken.kind);
    expect(taken.frames.toString()).toContain('["entry_erased",{"roomId":"alpha","seq":2}');
    expect(taken.frames.toString().split("secret")).toHaveLength(3);
  });

  test("[LOG-2] makes useless what was read before it", async () => {
    const { store, feed, erase, wait } = await createFeed({}, 3);
    const page = await wait(store.readAfter(log, 0, 100, 100_000));
    if (page === undefined) throw new Error("the log is not there");
    expect(feed.isOutdated(page.head)).toBe(false);
    feed.accept(await erase(2));
    expect(feed.isOutdated(page.head)).toBe(true);
    feed.extendBack(page);
    expect(feed.take(0, 1_000_000, true).kind).toBe("behind");
  });
});

describe("what a feed accepts", () => {
  test("[FEED-1] hints in any order, and any of them twice, are accepted once and in order", async () => {
    const { feed, append, accepted, reads, clock } = await createFeed();
    const hints = [await append(), await append(2), await append(), await append(3)];
    for (const at of [3, 1, 1, 0, 2, 3, 0]) {
      const hint = hints[at];
      if (hint !== undefined) feed.accept(hint);
    }
    await clock.advance(10);
    expect(accepted).toEqual(range(1, 7));
    expect(reads()).toBeLessThanOrEqual(2);
  });

  test("[FEED-2] what a hint did not bring is read from the store as soon as a later hint shows that it is missing", async () => {
    const { feed, append, accepted, clock, latency } = await createFeed();
    latency.ms = 5;
    await append(4);
    feed.accept(await append());
    await clock.advance(10);
    expect(accepted).toEqual(range(1, 5));
  });

  test("[FEED-2] a head that is announced while a read is on its way back is read, too", async () => {
    const { feed, append, accepted, clock, store, latency } = await createFeed();
    const first = await append();
    latency.ms = 10;
    feed.announce("another", 1);
    await clock.advance(10);
    // The store has answered; the answer is on its way.
    latency.ms = 0;
    feed.accept(first);
    const second = await append();
    feed.announce(second.epoch, second.from);
    await clock.advance(20);
    expect(accepted).toEqual([1, 2]);
    expect(store.calls.get("readAfter")).toBeLessThanOrEqual(3);
  });

  test("[FEED-1] entries that are accepted during a read do not make its older page look like another life", async () => {
    const { feed, append, accepted, resets, clock, latency } = await createFeed();
    await append();
    const second = await append();
    latency.ms = 50;
    feed.announce(second.epoch, 1);
    await clock.advance(60);
    latency.ms = 0;
    const third = await append();
    feed.accept({ ...second, from: 1, events: ["", ...second.events] });
    feed.accept(third);
    await clock.advance(100);
    expect(resets).toEqual([]);
    expect(accepted).toEqual([1, 2, 3]);
  });

  test("[FEED-1] an epoch that is heard of during a read is found out after it", async () => {
    const { feed, append, resets, clock, store, latency, wait } = await createFeed();
    const old = await append();
    latency.ms = 10;
    feed.announce(old.epoch, 1);
    await clock.advance(15);
    latency.ms = 0;
    await wait(store.deleteRoom(log));
    const born = await append();
    feed.announce(born.epoch, 1);
    await clock.advance(20);
    expect(resets).toEqual(["epoch"]);
    expect(feed.epoch).toBe(born.epoch);
    expect(feed.head).toBe(1);
  });

  test("[FEED-1] what the store said of the log's former life resets nothing once the next one is known", async () => {
    const { feed, append, resets, clock, store, latency, wait } = await createFeed();
    const old = await append();
    const [before] = await wait(store.states([log]));
    latency.ms = 10;
    feed.announce(old.epoch, 1);
    await clock.advance(15);
    latency.ms = 0;
    await wait(store.deleteRoom(log));
    const born = await append();
    const [after] = await wait(store.states([log]));
    if (before === undefined || after === undefined) throw new Error("the log is not there");
    feed.learn(after, old.epoch);
    expect(feed.epoch).toBe(born.epoch);
    // An answer to the same question that was slower, and then the page that is on its way.
    feed.learn(before, old.epoch);
    expect(feed.epoch).toBe(born.epoch);
    await clock.advance(20);
    expect(resets).toEqual(["epoch"]);
    expect(feed.epoch).toBe(born.epoch);
  });

  test("[FEED-1] a floor that has passed the feed by resets it once, whether or not entries are left", async () => {
    for (const left of [0, 2]) {
      const { feed, append, resets, clock, store, reads, wait } = await createFeed();
      const { epoch } = await append(10);
      await wait(store.trim(log, 11 - left));
      feed.announce(epoch, 10);
      await clock.advance(5_000);
      expect(resets).toEqual(["floor"]);
      expect(feed.head).toBe(10);
      expect(reads()).toBe(1);
    }
  });

  test("[FEED-2] a store that is away is read again every storeRetryMs until it is back", async () => {
    const { feed, append, accepted, clock, store } = await createFeed();
    const { epoch } = await append(3);
    store.setDown(true);
    feed.announce(epoch, 3);
    await clock.advance(10_000);
    expect(accepted).toEqual([]);
    store.setDown(false);
    await clock.advance(300);
    expect(accepted).toEqual([1, 2, 3]);
  });

  test("[FEED-4] entries that came early are bounded; those not kept are read", async () => {
    const { feed, append, accepted, clock } = await createFeed({ earlyEntriesMax: 3 });
    await append();
    const hints = [await append(), await append(), await append(), await append(), await append()];
    for (const hint of hints.toReversed()) feed.accept(hint);
    await clock.advance(10);
    expect(accepted).toEqual(range(1, 6));
  });

  test("[FEED-1] a head that was announced and never committed is not waited for", async () => {
    const { feed, append, reads, clock } = await createFeed();
    const { epoch } = await append();
    feed.announce(epoch, 100);
    await clock.advance(10_000);
    expect(feed.head).toBe(1);
    expect(reads()).toBeLessThanOrEqual(2);
  });

  test("[FEED-3] a closed feed reads nothing and accepts nothing", async () => {
    const { feed, append, accepted, reads, clock } = await createFeed();
    const first = await append();
    feed.close();
    feed.accept(first);
    feed.announce("another", 7);
    await clock.advance(1_000);
    expect(accepted).toEqual([]);
    expect(reads()).toBe(0);
  });
});

describe("what a feed gives", () => {
  test("[FEED-1] subscribers at one cursor get one and the same buffer, also of several entries", async () => {
    const { feed, append } = await createFeed();
    feed.accept(await append(5));
    const one = feed.take(0, 100_000, true);
    const other = feed.take(0, 50_000, true);
    if (one.kind !== "frames" || other.kind !== "frames") throw new Error("nothing taken");
    expect(other.frames).toBe(one.frames);
    expect(seqsOf(one.frames)).toEqual(range(1, 5));
    const plain = feed.take(0, 100_000, false);
    expect(plain.kind === "frames" && plain.frames.length).toBeLessThan(one.frames.length);
  });

  test("[FEED-4] frames are let go after a moment; what is ready in the tail is the text", async () => {
    const { feed, append, clock } = await createFeed();
    feed.accept(await append());
    const taken = feed.take(0, 10_000, true);
    if (taken.kind !== "frames") throw new Error("nothing was taken");
    await clock.advance(50);
    expect(feed.take(0, 10_000, true)).toEqual({
      ...taken,
      frames: expect.toSatisfy((frames) => frames === taken.frames),
    });
    await clock.advance(51);
    expect(feed.take(0, 10_000, true)).toEqual({
      ...taken,
      frames: expect.toSatisfy((frames) => frames !== taken.frames),
    });
    expect(feed.take(0, 10_000, true)).toEqual(taken);
  });

  test("[FEED-1] a shared buffer is made anew when the head has moved", async () => {
    const { feed, append } = await createFeed();
    feed.accept(await append(2));
    feed.take(0, 100_000, true);
    feed.accept(await append());
    const taken = feed.take(0, 100_000, true);
    expect(taken.kind === "frames" && seqsOf(taken.frames)).toEqual([1, 2, 3]);
  });

  test("[FEED-4] no buffer exceeds what is asked for, and several entries not the shared size", async () => {
    const { feed, append } = await createFeed({ tailBytesMax: 1_000_000 });
    feed.accept(await append(200, "x".repeat(1_000)));
    const small = feed.take(0, 5_000, true);
    expect(small.kind === "frames" && small.frames.length).toBeLessThanOrEqual(5_000);
    expect(feed.take(0, 500, true).kind).toBe("full");
    for (let cursor = 0, taken = feed.take(0, 1_000_000, true); cursor < 200; taken = feed.take(cursor, 1e6, true)) {
      if (taken.kind !== "frames") throw new Error(taken.kind);
      expect(taken.frames.length).toBeLessThanOrEqual(sharedBufferBytesMax);
      cursor = taken.to;
    }
    expect(feed.take(200, 1_000_000, true).kind).toBe("at_head");
  });

  test("[FEED-4] the tail is bounded, keeps the newest entry, and sends who is below it to the store", async () => {
    const { feed, append } = await createFeed({ tailBytesMax: 10_000 });
    for (let count = 0; count < 50; count += 1) feed.accept(await append(1, "x".repeat(500)));
    expect(feed.take(0, 1_000_000, true).kind).toBe("behind");
    expect(feed.take(45, 1_000_000, true).kind).toBe("frames");
    feed.accept(await append(1, "x".repeat(30_000)));
    expect(feed.take(49, 1_000_000, true).kind).toBe("behind");
    expect(feed.take(50, 1_000_000, true).kind).toBe("frames");
  });
});
