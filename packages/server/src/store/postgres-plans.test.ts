import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { eventually } from "../../../../test/support/eventually.ts";
import { PostgresServer } from "../../../../test/support/postgres.ts";
import { systemClock } from "../core/clock.ts";
import { logId } from "../core/log.ts";
import { append, bytesMax, editOf, outcomes, room, seqsOf, Writer } from "./contract-steps.contract.ts";
import { readAddress } from "./postgres-address.ts";
import { pageStatements } from "./postgres-pages.ts";
import { beginSession } from "./postgres-session.ts";
import { openPostgresStore } from "./postgres.ts";
import type { Store } from "./store.ts";

const total = 300_000;
// Entries that are no messages: each second one, 100,000 in a row, and the newest 5,000.
const isMessage = "seq % 2 = 1 AND NOT seq BETWEEN 100000 AND 200000 AND seq <= 295000";
const schema = "plans";
const limit = 100;

const resources = new AsyncDisposableStack();
let server: PostgresServer;
let store: Store;

beforeAll(async () => {
  server = resources.use(await PostgresServer.start());
  store = resources.use(await openPostgresStore({ url: server.url(schema), clock: systemClock }));
  await store.open(room);
  const columns = "log, life, seq, id, actor, at, v, data";
  const row = `SELECT name, life, seq, 'id-' || seq, 'anna', seq, 1, '{"text":"hello"}'`;
  const places = `FROM ${schema}.log, generate_series(1, ${total}) AS seq`;
  await server.sql(`
    INSERT INTO ${schema}.message (${columns}) ${row} ${places} WHERE ${isMessage};
    INSERT INTO ${schema}.other_entry (${columns}, type) ${row}, 'event' ${places} WHERE NOT (${isMessage});
    UPDATE ${schema}.log SET head = ${total};
  `);
}, 120_000);

afterAll(() => resources.disposeAsync());

interface PlanNode {
  readonly "Node Type": string;
  readonly "Relation Name"?: string | undefined;
  readonly "Actual Rows": number;
  readonly "Actual Loops": number;
  readonly "Rows Removed by Filter"?: number | undefined;
  readonly Plans?: readonly PlanNode[] | undefined;
}

const planNode: z.ZodType<PlanNode> = z.object({
  "Node Type": z.string(),
  "Relation Name": z.string().optional(),
  "Actual Rows": z.number(),
  "Actual Loops": z.number(),
  "Rows Removed by Filter": z.number().optional(),
  get Plans() {
    return z.array(planNode).optional();
  },
});
const explained = z.tuple([z.object({ "QUERY PLAN": z.tuple([z.object({ Plan: planNode })]) })]);

/** The scans of the tables of entries that a statement does, on a session as the store's or a plain one. */
async function scansOf(text: string, values: readonly unknown[], asStore: boolean): Promise<readonly PlanNode[]> {
  const { connection } = readAddress(server.url(schema));
  const client = new Client(connection);
  await client.connect();
  try {
    if (asStore) await beginSession(client, schema, null);
    else await client.query(`SET search_path = ${schema}`);
    const { rows } = await client.query(`EXPLAIN (ANALYZE, FORMAT JSON) ${text}`, [...values]);
    const [
      {
        "QUERY PLAN": [{ Plan }],
      },
    ] = explained.parse(rows);
    return nodesOf(Plan).filter((node) => ["message", "other_entry"].includes(node["Relation Name"] ?? ""));
  } finally {
    await client.end();
  }
}

function nodesOf(node: PlanNode): readonly PlanNode[] {
  return [node, ...(node.Plans ?? []).flatMap(nodesOf)];
}

const pages = [
  ["the newest messages", pageStatements.messagesBefore.text, [room, Number.MAX_SAFE_INTEGER, limit + 1, bytesMax]],
  ["messages before a place", pageStatements.messagesBefore.text, [room, 199_000, limit + 1, bytesMax]],
  ["messages after a place", pageStatements.messagesAfter.text, [room, 99_900, limit + 1, bytesMax]],
  ["entries from the first on", pageStatements.entriesAfter.text, [room, 0, limit, bytesMax]],
  ["entries after a place", pageStatements.entriesAfter.text, [room, 294_950, limit, bytesMax]],
] as const;

describe(`a log of ${total} entries`, { timeout: 60_000 }, () => {
  describe.each([
    ["never analysed", false, true],
    ["analysed", true, true],
    ["analysed, with Postgres' own settings", true, false],
  ])("%s", (_, isAnalysed, asStore) => {
    beforeAll(async () => {
      if (isAnalysed) await server.sql(`ANALYZE ${schema}.message, ${schema}.other_entry, ${schema}.log`);
    });

    test.each(pages)(
      "[LOG-2] a page of %s reads no more than limit + 1 rows of each table",
      async (_page, text, values) => {
        const scans = await scansOf(text, values, asStore);
        expect(scans.length).toBeGreaterThan(0);
        for (const scan of scans) {
          expect(scan["Node Type"]).toMatch(/^Index/);
          // One more than it gives: a merge of both tables looks at the next row of each.
          expect(scan["Actual Rows"] * scan["Actual Loops"]).toBeLessThanOrEqual(limit + 2);
          expect(scan["Rows Removed by Filter"] ?? 0).toBe(0);
        }
      },
    );
  });

  test("[LOG-2] the pages are right, too", async () => {
    const page = await store.readMessages(room, { limit, bytesMax });
    expect(page?.messages.at(-1)?.seq).toBe(294_999);
    expect(page).toMatchObject({ more: true, head: total });
    expect(seqsOf((await store.readAfter(room, 199_990, 100, bytesMax))?.entries ?? [])).toEqual(
      Array.from({ length: 100 }, (_, index) => 199_991 + index),
    );
  });
});

describe("appends to a store that grows", { timeout: 60_000 }, () => {
  test("[LOG-3] read no more rows for it, also when their plans were made while it was empty", async () => {
    const appended = await openPostgresStore({ url: server.url("growing"), clock: systemClock });
    const writer = new Writer(appended);
    const rounds = 40;
    await writer.append(append("first"));
    for (let round = 0; round < rounds; round++) {
      const many = Array.from({ length: 50 }, (_, index) => append("x", { clientId: `${round} ${index}` }));
      await writer.append(...many);
      await writer.append(editOf(51 * round + 2, "y", { clientId: `edit ${round}` }));
    }
    await appended[Symbol.asyncDispose]();
    const [clientKeys, logs, messages] = await statisticsOf("growing", rounds * 51);
    expect(clientKeys?.slice(1)).toEqual([0, 0]);
    expect(messages?.[1]).toBeLessThan(10 * rounds);
    expect(messages?.[2]).toBe(0);
    // The head of each append, and of each statement that locks or moves it.
    expect(logs?.[1]).toBeLessThan(70 * rounds);
    expect(logs?.[2]).toBe(0);
  });

  test("[LOG-3] find an actor's client id in one room without those in others", async () => {
    const appended = await openPostgresStore({ url: server.url("alike"), clock: systemClock });
    const writer = new Writer(appended);
    const rooms = Array.from({ length: 50 }, (_, index) => logId("default", `room-${index}`));
    const first = await writer.append(...rooms.map((log) => append("x", { log, clientId: "same" })));
    expect(new Set(outcomes(first))).toEqual(new Set([1]));
    const again = await writer.append(...rooms.map((log) => append("x", { log, clientId: "same" })));
    expect(again.every((result) => result.ok && result.repeat)).toBe(true);
    await appended[Symbol.asyncDispose]();
    const [clientKeys] = await statisticsOf("alike", rooms.length);
    expect(clientKeys?.slice(1)).toEqual([rooms.length, 0]);
  });
});

/** Of client ids, logs and messages: rows inserted, found by an index, and found without; once `clientIds` were inserted. */
async function statisticsOf(name: string, clientIds: number): Promise<number[][]> {
  // Statistics are written as a session ends.
  const lines = await eventually("the statistics", async () => {
    const found = await server.sql(
      `SELECT relname, n_tup_ins, coalesce(idx_tup_fetch, 0), seq_tup_read FROM pg_stat_user_tables
       WHERE schemaname = '${name}' AND relname IN ('client_key', 'message', 'log') ORDER BY 1`,
    );
    return found[0]?.startsWith(`client_key|${clientIds}|`) === true ? found : undefined;
  });
  return lines.map((line) => line.split("|").slice(1).map(Number));
}
