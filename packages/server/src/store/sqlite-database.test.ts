import path from "node:path";
import { expect, test } from "vitest";
import { createTemporaryFolder } from "../../../../test/support/temporary-folder.ts";
import { logId } from "../core/log.ts";
import { append, bytesMax, room, seqsOf } from "./contract-steps.contract.ts";
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

test("[LOG-2] the places of a batch that failed are given to the next one", async () => {
  await using harness = await open();
  const { store, connection } = harness;
  expect(harness.append(append("one"))).toEqual([1]);
  connection.exec("PRAGMA max_page_count = 1");
  const large = Array.from({ length: 100 }, () => append("x".repeat(10_000)));
  expect(() => harness.append(...large)).toThrow("full");
  connection.exec("PRAGMA max_page_count = 100000");
  expect(store.states([room])).toMatchObject([{ head: 1, floor: 1 }]);
  expect(harness.append(append("two"), append("three"))).toEqual([2, 3]);
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
  while (store.purgeSome());
  harness.append(append("five"));
  expect(seqsOf(store.readAfter(room, 0, 10, bytesMax)?.entries ?? [])).toEqual([4, 5]);
  const [before] = store.states([room]);
  store.deleteRoom(room);
  expect(harness.append(append("anew"))).toEqual([1]);
  expect(store.states([room])[0]?.epoch).not.toBe(before?.epoch);
});
