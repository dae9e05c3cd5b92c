import { rename } from "node:fs/promises";
import path from "node:path";
import { setImmediate } from "node:timers/promises";
import type { Worker } from "node:worker_threads";
import { describe, expect, test } from "vitest";
import { systemClock } from "../packages/server/src/core/clock.ts";
import { append, entriesAfter, outcomes, room } from "../packages/server/src/store/contract-steps.contract.ts";
import { openSqliteStore } from "../packages/server/src/store/sqlite.ts";
import {
  type AppendBatch,
  type AppendResult,
  OutcomeUnknown,
  type Store,
  StoreUnavailable,
} from "../packages/server/src/store/store.ts";
import { eventually } from "./support/eventually.ts";
import { SimulatedClock } from "./support/simulated-clock.ts";
import { createTemporaryFolder } from "./support/temporary-folder.ts";

function errorOf(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    () => "no error",
    (error: unknown) => error,
  );
}

/** Repeats a batch as a node does whose outcome is unknown: under its number, until it is answered. */
function repeat(store: Store, batch: AppendBatch): Promise<readonly AppendResult[]> {
  return eventually("the batch's results", () => store.append(batch));
}

/** It waits on the clock to open again. */
async function withDeadThread(folder: string) {
  const clock = new SimulatedClock();
  const workers: Worker[] = [];
  const options = { folder, clock, onThread: (worker: Worker) => void workers.push(worker) };
  const store = await openSqliteStore(options);
  await workers[0]?.terminate();
  await eventually("the timer", () => (clock.waiting === 1 ? true : undefined));
  return { clock, workers, options, store };
}

describe("a store whose thread dies", { timeout: 120_000 }, () => {
  test("[LOG-1] calls under way end as unknown or unavailable, and the store reopens by itself", async () => {
    await using folder = await createTemporaryFolder();
    const workers: Worker[] = [];
    await using store = await openSqliteStore({
      folder: folder.path,
      clock: systemClock,
      onThread: (worker) => workers.push(worker),
    });
    await store.append({ node: "node-1", n: 1, appends: [append("kept")] });
    const ended = workers[0]?.terminate();
    const calls = [
      store.append({ node: "node-1", n: 2, appends: [append("lost")] }),
      store.putRoom({ log: room, access: "public", retainEntriesMax: 0, createdAt: 0 }),
      store.states([room]),
    ];
    const errors = await Promise.all(calls.map(errorOf));
    expect(errors).toMatchObject([
      expect.any(OutcomeUnknown),
      expect.any(OutcomeUnknown),
      expect.any(StoreUnavailable),
    ]);
    await ended;
    expect(await errorOf(store.states([room]))).toBeInstanceOf(StoreUnavailable);
    expect(await errorOf(store.append({ node: "node-1", n: 2, appends: [append("x")] }))).toBeInstanceOf(
      StoreUnavailable,
    );
    const [state] = await eventually("the reopened store", () => store.states([room]));
    expect(state).toMatchObject({ head: 1 });
    expect(workers).toHaveLength(2);
  });

  test("[LOG-3] a batch repeated under its number after the thread died is committed once, whenever it died", async () => {
    await using folder = await createTemporaryFolder();
    let thread: Worker | undefined;
    const errors: unknown[] = [];
    await using store = await openSqliteStore({
      folder: folder.path,
      clock: systemClock,
      onThread: (worker) => void (thread = worker),
    });
    const sent: string[] = [];
    for (let n = 1; n <= 12; n++) {
      const appends = Array.from({ length: 200 }, (_, index) => append(`${n} ${index}`, { clientId: `${n} ${index}` }));
      sent.push(...appends.map(({ id }) => id));
      const batch = { node: "node-1", n, appends };
      const committing = store.append(batch).catch((error: unknown) => {
        errors.push(error);
        return repeat(store, batch);
      });
      for (let turn = 0; turn < 20 * n; turn++) await setImmediate();
      await thread?.terminate();
      const results = await committing;
      expect(outcomes(results)).toEqual(appends.map((_, index) => (n - 1) * 200 + index + 1));
      expect(results.every((result) => result.ok && !result.repeat)).toBe(true);
      expect(await repeat(store, batch)).toEqual(results);
    }
    expect(errors.length).toBeGreaterThan(0);
    expect(errors.filter((error) => !(error instanceof OutcomeUnknown))).toEqual([]);
    expect((await entriesAfter(store, room, 0)).map(({ id }) => id)).toEqual(sent);
  });

  test("reopening waits longer after each failure, on the clock, and ends with success", async () => {
    await using folder = await createTemporaryFolder();
    const clock = new SimulatedClock();
    const workers: Worker[] = [];
    await using store = await openSqliteStore({
      folder: folder.path,
      clock,
      onThread: (worker) => workers.push(worker),
    });
    await store.append({ node: "node-1", n: 1, appends: [append("kept")] });
    await workers[0]?.terminate();
    const file = path.join(folder.path, "parley.db");
    await rename(file, `${file}.away`);
    let attempts = 1;
    for (const waitMs of [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]) {
      await eventually("the next attempt's timer", () => (clock.waiting === 1 ? true : undefined));
      await clock.advance(waitMs - 1);
      expect(workers).toHaveLength(attempts);
      await clock.advance(1);
      attempts += 1;
      expect(workers).toHaveLength(attempts);
      expect(await errorOf(store.open(room))).toBeInstanceOf(StoreUnavailable);
    }
    await eventually("the last attempt's end", () => (clock.waiting === 1 ? true : undefined));
    await rename(`${file}.away`, file);
    await clock.advance(5_000);
    expect(await eventually("the reopened store", () => store.open(room))).toMatchObject({ head: 1 });
    expect(clock.waiting).toBe(0);
  });

  test("a store that is closed while its thread is dead stays closed", async () => {
    await using folder = await createTemporaryFolder();
    const { clock, workers, options, store } = await withDeadThread(folder.path);
    await store[Symbol.asyncDispose]();
    expect(clock.waiting).toBe(0);
    await clock.advance(60_000);
    expect(workers).toHaveLength(1);
    await using again = await openSqliteStore(options);
    expect(await again.open(room)).toMatchObject({ head: 0 });
  });

  test("a store that is closed while it reopens gives its folder free when that thread, too, has ended", async () => {
    await using folder = await createTemporaryFolder();
    const { clock, workers, store } = await withDeadThread(folder.path);
    await clock.advance(100);
    expect(workers).toHaveLength(2);
    let ended = false;
    workers[1]?.once("exit", () => (ended = true));
    await store[Symbol.asyncDispose]();
    expect(ended).toBe(true);
  });
});
