import { describe, expect, test } from "vitest";
import { MemoryStore } from "../../../../test/support/memory-store.ts";
import { SimulatedClock } from "../../../../test/support/simulated-clock.ts";
import type { Append, AppendBatch } from "../store/store.ts";
import type { Committed } from "./feed.ts";
import { type Appended, defaultSequencerLimits, Sequencer, type SequencerLimits } from "./sequencer.ts";

const latencyMs = 10;
const commitMs = 2 * latencyMs;

/** A store that notes what reached it. */
class NotedStore extends MemoryStore {
  readonly batches: AppendBatch[] = [];
  /** How many more appends fail in a way that the port does not name, as when the database takes a right away. */
  brokenFor = 0;

  override append(batch: AppendBatch) {
    this.batches.push(batch);
    if (this.batches.length === 1 || this.brokenFor === 0) return super.append(batch);
    this.brokenFor -= 1;
    return Promise.reject(new Error("permission denied for function append_batch"));
  }
}

function setUp(limits: Partial<SequencerLimits> = {}) {
  const clock = new SimulatedClock();
  const store = new NotedStore({ clock, latencyMs: () => latencyMs });
  const told: Committed[] = [];
  const node = { isBehind: false };
  const sequencer = new Sequencer({
    store,
    clock,
    node: "node",
    limits: { ...defaultSequencerLimits, ...limits },
    events: { onCommitted: (committed) => told.push(committed) },
    isBehind: () => node.isBehind,
  });
  let ids = 0;
  const append = (text = "hello", more: Partial<Append> = {}): Promise<Appended> =>
    sequencer.append({
      log: "default/alpha",
      id: `id-${(ids += 1)}`,
      type: "message",
      actor: "writer",
      at: clock.now(),
      v: 1,
      data: JSON.stringify({ text }),
      clientId: null,
      effect: null,
      ...more,
    });
  return { clock, store, told, node, sequencer, append };
}

/** What became of each, in order: its seq, the code of its refusal, or that it still waits. */
function outcomesOf(appends: readonly Promise<Appended>[]): (number | string)[] {
  const outcomes: (number | string)[] = appends.map(() => "waits");
  for (const [index, promise] of appends.entries())
    promise.then(
      ({ seq }) => (outcomes[index] = seq),
      (error: unknown) => {
        outcomes[index] = error instanceof Error && "code" in error ? String(error.code) : String(error);
      },
    );
  return outcomes;
}

describe("append", () => {
  test("[LOG-1] resolves after the store has committed, and not before", async () => {
    const { clock, store, append } = setUp();
    const outcomes = outcomesOf([append()]);
    await clock.advance(latencyMs - 1);
    expect(store.calls.get("append")).toBeUndefined();
    await clock.advance(latencyMs);
    expect(store.calls.get("append")).toBe(1);
    expect(outcomes).toEqual(["waits"]);
    await clock.advance(1);
    expect(outcomes).toEqual([1]);
  });

  test("[LOG-1] what the store refuses is refused, and nobody is told of it", async () => {
    const { clock, store, told, append } = setUp();
    store.failNextAppends("unavailable");
    const outcomes = outcomesOf([append(), append("two")]);
    await clock.advance(2 * commitMs);
    expect(outcomes).toEqual(["store_unavailable", "store_unavailable"]);
    expect(told).toEqual([]);
    const next = outcomesOf([append()]);
    await clock.advance(2 * commitMs);
    expect(next).toEqual([1]);
  });

  test("[LOG-3] an unknown outcome is found out under the same number, and delivered if it was committed", async () => {
    const { clock, store, told, append, sequencer } = setUp();
    store.failNextAppends("unknown_committed");
    const lost = outcomesOf([append("lost", { clientId: "c1" })]);
    await clock.advance(commitMs);
    expect(lost).toEqual(["outcome_unknown"]);
    const again = outcomesOf([append("lost", { clientId: "c1" })]);
    await clock.advance(10 * commitMs + defaultSequencerLimits.storeRetryMs);
    expect(again).toEqual([1]);
    expect(store.batches.map(({ n }) => n)).toEqual([1, 1, 2]);
    expect(sequencer.n).toBe(2);
    expect(told.map(({ from, events }) => [from, events.length])).toEqual([[1, 1]]);
  });

  test("[LOG-3] an unknown outcome that was none is committed under the same number, once", async () => {
    const { clock, store, told, append } = setUp();
    store.failNextAppends("unknown_not_committed", "unavailable", "unknown_committed");
    outcomesOf([append("lost")]);
    await clock.advance(20 * commitMs + 5 * defaultSequencerLimits.storeRetryMs);
    expect(store.batches.map(({ n }) => n)).toEqual([1, 1, 1, 1]);
    expect(told.map(({ from, events }) => [from, events.length])).toEqual([[1, 1]]);
  });

  test("[LOG-3] it is found out also when the store fails in an unknown way meanwhile, and nothing waits for ever", async () => {
    const { clock, store, told, sequencer, append } = setUp();
    store.failNextAppends("unknown_committed");
    store.brokenFor = 4;
    outcomesOf([append()]);
    await clock.advance(commitMs);
    const waiting = outcomesOf([append()]);
    await clock.advance(3 * defaultSequencerLimits.storeRetryMs);
    expect(waiting).toEqual(["store_unavailable"]);
    await clock.advance(3 * defaultSequencerLimits.storeRetryMs);
    expect(told.map(({ from, events }) => [from, events.length])).toEqual([[1, 1]]);
    const later = outcomesOf([append()]);
    await clock.advance(2 * commitMs);
    expect(later).toEqual([2]);
    await sequencer.stop();
  });

  test("[LOG-1] while the store stays away during that, sends are refused, and taken again when it is back", async () => {
    const { clock, store, sequencer, append } = setUp();
    store.failNextAppends("unknown_committed");
    outcomesOf([append()]);
    await clock.advance(commitMs);
    store.setDown(true);
    const waiting = outcomesOf([append()]);
    expect(sequencer.away).toBe(false);
    await clock.advance(5 * defaultSequencerLimits.storeRetryMs);
    expect(sequencer.away).toBe(true);
    const late = outcomesOf([append()]);
    await clock.settle();
    expect([...waiting, ...late]).toEqual(["store_unavailable", "store_unavailable"]);
    store.setDown(false);
    await clock.advance(2 * defaultSequencerLimits.storeRetryMs);
    expect(sequencer.away).toBe(false);
    const back = outcomesOf([append()]);
    await clock.advance(commitMs);
    expect(back).toEqual([2]);
  });
});

describe("batches", () => {
  test("one is in flight, and what comes meanwhile is the next, each within its bounds", async () => {
    const { clock, store, append } = setUp({ batchAppendsMax: 10, batchBytesMax: 1_000 });
    const first = Array.from({ length: 25 }, () => append());
    await clock.advance(5);
    const large = Array.from({ length: 6 }, () => append("x".repeat(400)));
    const outcomes = outcomesOf([...first, ...large]);
    await clock.advance(20 * commitMs);
    expect(outcomes).toEqual(Array.from({ length: 31 }, (_, index) => index + 1));
    expect(store.batches.map(({ appends }) => appends.length)).toEqual([10, 10, 7, 2, 2]);
    expect(store.batches.map(({ n }) => n)).toEqual([1, 2, 3, 4, 5]);
    for (const { appends } of store.batches) {
      const bytes = appends.reduce((sum, { data }) => sum + data.length, 0);
      expect(bytes).toBeLessThanOrEqual(1_000);
    }
  });

  test("the store has the next one before anyone is told of the last one", async () => {
    const { clock, store, append } = setUp();
    const batchesThen: number[] = [];
    const note = (): void => void batchesThen.push(store.batches.length);
    const first = append().then(note);
    await clock.advance(5);
    const second = append().then(note);
    await clock.advance(3 * commitMs);
    await Promise.all([first, second]);
    expect(batchesThen).toEqual([2, 2]);
  });

  describe("after one for many logs, while the node is behind with its writes", () => {
    const gatherMs = 3 * commitMs;

    async function gathering() {
      const parts = setUp({ gatherMs, gatherLogsMin: 2 });
      parts.node.isBehind = true;
      const outcomes = outcomesOf([parts.append(), parts.append("hello", { log: "default/beta" })]);
      await parts.clock.advance(5);
      outcomesOf([parts.append()]);
      await parts.clock.advance(commitMs);
      expect(outcomes).toEqual([1, 1]);
      const sizes = () => parts.store.batches.map(({ appends }) => appends.length);
      return { ...parts, sizes };
    }

    test("the next one begins a while after it", async () => {
      const { clock, append, sizes } = await gathering();
      outcomesOf([append()]);
      await clock.advance(gatherMs - commitMs - 6);
      expect(sizes()).toEqual([2]);
      await clock.advance(latencyMs + 2);
      expect(sizes()).toEqual([2, 2]);
    });

    test("the next one begins as soon as all is written", async () => {
      const { clock, node, sizes } = await gathering();
      node.isBehind = false;
      await clock.advance(latencyMs + 2);
      expect(sizes()).toEqual([2, 1]);
    });

    test("the next one begins as soon as it is full", async () => {
      const { clock, append, sizes } = await gathering();
      outcomesOf(Array.from({ length: defaultSequencerLimits.batchAppendsMax }, () => append()));
      await clock.advance(latencyMs + 2);
      expect(sizes()).toEqual([2, defaultSequencerLimits.batchAppendsMax]);
    });

    test("[LOG-1] one that stops commits what waits", async () => {
      const { clock, sequencer, store } = await gathering();
      const stopped = sequencer.stop();
      await clock.advance(gatherMs + 2 * commitMs);
      await stopped;
      expect(store.batches.flatMap(({ appends }) => appends)).toHaveLength(3);
    });

    test("after one for few logs nothing is gathered", async () => {
      const { clock, store, node, append } = setUp({ gatherMs, gatherLogsMin: 2 });
      node.isBehind = true;
      outcomesOf([append(), append(), append()]);
      await clock.advance(5);
      outcomesOf([append()]);
      await clock.advance(2 * commitMs);
      expect(store.batches).toHaveLength(2);
    });
  });

  test("an append larger than a batch goes alone", async () => {
    const { clock, store, append } = setUp({ batchBytesMax: 100 });
    outcomesOf([append(), append("x".repeat(500)), append()]);
    await clock.advance(10 * commitMs);
    expect(store.batches.map(({ appends }) => appends.length)).toEqual([1, 1, 1]);
  });

  test("[LOG-3] one bad send never fails another that shares its batch", async () => {
    const { clock, append } = setUp();
    const target = { kind: "edit", target: 99, text: "new", byModerator: false } as const;
    const outcomes = outcomesOf([
      append("one", { clientId: "c" }),
      append("other body", { clientId: "c" }),
      append("edit", { type: "edit", effect: target }),
      append("bad", { data: '{"text":"\u0000"}' }),
      append("two"),
    ]);
    await clock.advance(commitMs);
    expect(outcomes).toEqual([1, "conflict", "not_found", "bad_request", 2]);
  });
});

describe("bounds", () => {
  test.each([
    { what: "appends", limits: { queueAppendsMax: 5 } },
    { what: "bytes", limits: { queueBytesMax: 5 * JSON.stringify({ text: "hello" }).length } },
  ])("too many waiting $what are refused as overloaded, until some are committed", async ({ limits }) => {
    const { clock, append } = setUp(limits);
    const outcomes = outcomesOf(Array.from({ length: 7 }, () => append()));
    await clock.advance(commitMs);
    expect(outcomes).toEqual([1, 2, 3, 4, 5, "overloaded", "overloaded"]);
    const later = outcomesOf([append()]);
    await clock.advance(commitMs);
    expect(later).toEqual([6]);
  });

  test("[OUT-1] a stop finishes what was taken, and takes no more", async () => {
    const { clock, append, sequencer } = setUp({ batchAppendsMax: 2 });
    const outcomes = outcomesOf(Array.from({ length: 5 }, () => append()));
    await clock.advance(5);
    let stopped = false;
    const stop = sequencer.stop().then(() => (stopped = true));
    expect(outcomesOf([append()])).toEqual(["waits"]);
    await expect(append()).rejects.toMatchObject({ code: "shutting_down" });
    await clock.advance(2 * commitMs);
    expect(stopped).toBe(false);
    await clock.advance(2 * commitMs);
    await stop;
    expect(outcomes).toEqual([1, 2, 3, 4, 5]);
    expect(clock.waiting).toBe(0);
  });

  test("[OUT-1] a stop does not wait for ever for a store that does not come back", async () => {
    const { clock, store, append, sequencer } = setUp();
    store.failNextAppends("unknown_committed");
    const outcomes = outcomesOf([append()]);
    await clock.advance(commitMs);
    store.setDown(true);
    const stop = sequencer.stop();
    await clock.advance(10 * defaultSequencerLimits.storeRetryMs);
    await stop;
    expect(outcomes).toEqual(["outcome_unknown"]);
    expect(clock.waiting).toBe(0);
  });
});
