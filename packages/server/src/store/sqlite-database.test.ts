import path from "node:path";
import { expect, test } from "vitest";
import { createTemporaryFolder } from "../../../../test/support/temporary-folder.ts";
import { logId } from "../core/log.ts";
import { append, bytesMax, editOf, room, seqsOf } from "./contract-steps.contract.ts";
import { SqliteDatabase } from "./sqlite-database.ts";
import { openFile } from "./sqlite-file.ts";
import type { Append } from "./store.ts";

async function open() {
  await using opening = new AsyncDisposableStack();
  const folder = opening.use(await createTemporaryFolder());
  const file = path.join(folder.path, "parley.db");
  const connection = opening.use(openFile({ file, synchronous: "OFF", create: true }));
  const opened = opening.move();
  const store = new SqliteDatabase(connection, "OFF");
  let n = 0;
  return {
    store,
    connection,
    append: (...appends: readonly Append[]) => store.append({ node: "node-1", n: ++n, appends }, 1).results,
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

test("[LOG-2] [LOG-3] the places and client ids of a batch that failed are free for the next one", async () => {
  await using harness = await open();
  const { store, connection } = harness;
  expect(harness.append(append("one"))).toEqual([1]);
  connection.exec("PRAGMA max_page_count = 1");
  // Why two: the first one has its place when the second fails.
  const failed = [append("two", { clientId: "c" }), append("x".repeat(60_000))];
  expect(() => harness.append(...failed)).toThrow("full");
  connection.exec("PRAGMA max_page_count = 100000");
  expect(store.states([room])).toMatchObject([{ head: 1, floor: 1 }]);
  expect(harness.append(append("two", { clientId: "c" }), append("three"))).toEqual([2, 3]);
  expect(seqsOf(store.readAfter(room, 0, 10, bytesMax)?.entries ?? [])).toEqual([1, 2, 3]);
});

test("[LOG-2] places follow each other in more logs than are kept in memory", async () => {
  await using harness = await open();
  const logs = Array.from({ length: 10_500 }, (_, index) => logId("default", `room-${index}`));
  for (const round of [1, 2]) {
    for (let from = 0; from < logs.length; from += 500) {
      const results = harness.append(...logs.slice(from, from + 500).map((log) => append("hello", { log })));
      expect(new Set(results)).toEqual(new Set([round]));
    }
  }
});

test("[LOG-2] a log that is appended to is kept in step with its retention, its floor and its end", async () => {
  await using harness = await open();
  const { store } = harness;
  const keep = (retainEntriesMax: number) =>
    store.putRoom({ log: room, access: "members", retainEntriesMax, createdAt: 1 });
  harness.append(append("one"), append("two"), append("three"));
  keep(2);
  expect(store.states([room])).toMatchObject([{ head: 3, floor: 2 }]);
  harness.append(append("four"));
  expect(store.states([room])).toMatchObject([{ head: 4, floor: 3 }]);
  keep(0);
  store.trim(room, 4);
  expect(harness.append(editOf(3, "too late"))).toEqual(["not_found"]);
  while (store.purgeSome());
  harness.append(append("five"));
  expect(seqsOf(store.readAfter(room, 0, 10, bytesMax)?.entries ?? [])).toEqual([4, 5]);
  const [before] = store.states([room]);
  store.deleteRoom(room);
  expect(harness.append(append("anew"))).toEqual([1]);
  expect(store.states([room])[0]?.epoch).not.toBe(before?.epoch);
});

test("[LOG-1] commits are synced again after one that need not be", async () => {
  await using folder = await createTemporaryFolder();
  using connection = openFile({ file: path.join(folder.path, "parley.db"), synchronous: "FULL", create: true });
  const store = new SqliteDatabase(connection, "FULL");
  const synchronous = () => connection.prepare("PRAGMA synchronous").get()?.["synchronous"];
  const full = 2;
  expect(synchronous()).toBe(full);
  store.renewLease("node-1", 1_000, 1);
  expect(synchronous()).toBe(full);
  connection.exec("PRAGMA query_only = ON");
  expect(() => store.renewLease("node-1", 1_000, 2)).toThrow("readonly");
  expect(synchronous()).toBe(full);
});
