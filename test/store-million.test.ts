import path from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { bytesMax, room, seqsOf } from "../packages/server/src/store/contract-steps.contract.ts";
import { SqliteDatabase } from "../packages/server/src/store/sqlite-database.ts";
import { openFile } from "../packages/server/src/store/sqlite-file.ts";
import { pageStatements } from "../packages/server/src/store/sqlite-pages.ts";
import { createTemporaryFolder } from "./support/temporary-folder.ts";

const total = 1_000_000;
// Entries that are no messages: each second one, 300,000 in a row, and the newest 5,000.
const isMessage = "seq % 2 = 1 AND NOT seq BETWEEN 400000 AND 700000 AND seq <= 995000";
const fields = "1, seq, 'id-' || seq";

/** Reads of the start that take all rows of a small table, and the first row of an index that holds only garbage. */
const boundedScans = new Set([
  "SCAN arrival",
  "SCAN client_segment",
  "SCAN client_batch",
  "SCAN log USING INDEX log_garbage",
]);

const resources = new AsyncDisposableStack();
let database: DatabaseSync;
let store: SqliteDatabase;
let statements: readonly string[];

beforeAll(async () => {
  const folder = resources.use(await createTemporaryFolder());
  database = resources.use(openFile({ file: path.join(folder.path, "parley.db"), synchronous: "OFF", create: true }));
  const prepare = vi.spyOn(database, "prepare");
  store = new SqliteDatabase(database, "FULL");
  statements = prepare.mock.calls.map(([sql]) => sql);
  prepare.mockRestore();
  store.open(room);
  const all = `WITH RECURSIVE place (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM place WHERE seq < ${total})`;
  database.exec(`
    INSERT INTO message (log, seq, id, actor, at, v, client_id, data)
      ${all} SELECT ${fields}, 'anna', seq, 1, NULL, '{"text":"hello"}' FROM place WHERE ${isMessage};
    INSERT INTO other_entry (log, seq, id, type, actor, at, v, client_id, data)
      ${all} SELECT ${fields}, 'event', 'anna', seq, 1, NULL, '{"event":"e","data":1}' FROM place WHERE NOT (${isMessage});
    UPDATE log SET head = ${total};
  `);
});

afterAll(() => resources.disposeAsync());

/** Rows that a page's statement gives, and those that it read to find them. */
function countRows(sql: string, values: readonly number[]): { given: number; read: number } {
  let read = 0;
  database.function("visited", () => ++read);
  const given = database.prepare(sql).all(...values).length;
  return { given, read };
}

describe("a log of 1,000,000 entries", () => {
  const limit = 100;

  test.each([0, 1, 399_990, 500_000, 699_999, 994_990, 999_899])(
    "[LOG-2] a page of entries after %d reads no more than limit + 1 rows",
    (after) => {
      const { given, read } = countRows(pageStatements("AND visited()").entriesAfter, [1, after, limit]);
      expect(given).toBe(limit);
      expect(read).toBeLessThanOrEqual(limit + 1);
      const page = store.readAfter(room, after, limit, bytesMax);
      expect(seqsOf(page?.entries ?? [])).toEqual(Array.from({ length: limit }, (_, index) => after + index + 1));
    },
  );

  test.each([total + 1, 996_000, 700_100, 650_000, 399_999, 202])(
    "[LOG-2] a join, or a page of messages before %d, reads no more than limit + 1 rows",
    (before) => {
      const { given, read } = countRows(pageStatements("AND visited()").messagesBefore, [1, 1, before, limit + 1]);
      expect(given).toBe(limit + 1);
      expect(read).toBeLessThanOrEqual(limit + 1);
      const page = store.readMessages(room, { before, limit, bytesMax });
      expect(page?.messages).toHaveLength(limit);
      expect(page).toMatchObject({ more: true, head: total });
      expect(page?.messages.at(-1)?.seq).toBeLessThan(before);
    },
  );

  test.each([0, 399_900, 500_000, 994_700])(
    "[LOG-2] a page of messages after %d reads no more than limit + 1 rows",
    (after) => {
      const { given, read } = countRows(pageStatements("AND visited()").messagesAfter, [1, after, limit + 1]);
      expect(given).toBe(limit + 1);
      expect(read).toBeLessThanOrEqual(limit + 1);
      expect(store.readMessages(room, { after, limit, bytesMax })?.messages[0]?.seq).toBeGreaterThan(after);
    },
  );

  test("[LOG-2] a page above many entries that are trimmed and not yet deleted reads no more either", () => {
    database.exec("SAVEPOINT trimmed; UPDATE log SET floor = 200000");
    const page = store.readMessages(room, { before: 200_010, limit, bytesMax });
    expect(seqsOf(page?.messages ?? [])).toEqual([200_001, 200_003, 200_005, 200_007, 200_009]);
    const { read } = countRows(pageStatements("AND visited()").messagesBefore, [1, 200_000, 200_010, limit + 1]);
    expect(read).toBe(5);
    expect(store.readAfter(room, 0, 1, bytesMax)?.entries[0]?.seq).toBe(200_000);
    database.exec("ROLLBACK TO trimmed; RELEASE trimmed");
  });

  test("no statement of the store scans or sorts a table that grows", () => {
    expect(statements).toContain(pageStatements().entriesAfter);
    expect(statements.length).toBeGreaterThan(40);
    const plans = statements.flatMap((sql) =>
      database
        .prepare(`EXPLAIN QUERY PLAN ${sql}`)
        .all(...Array.from({ length: sql.split("?").length - 1 }, () => 1))
        .map(({ detail }) => ({ sql, detail: String(detail) })),
    );
    // A lease for each node there is: that table does not grow.
    const bad = plans.filter(({ detail }) => /SCAN(?! lease)|TEMP B-TREE/.test(detail) && !boundedScans.has(detail));
    expect(bad).toEqual([]);
    expect(plans.filter(({ detail }) => detail.startsWith("SEARCH message USING PRIMARY KEY")).length).toBeGreaterThan(
      5,
    );
  });
});
