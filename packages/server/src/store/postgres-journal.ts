import { z } from "zod";
import type { LogId, Seq } from "../core/log.ts";
import { epochOf, type Session, type Statement } from "./postgres-session.ts";
import { integerOf, readLogId, type Row, textOf } from "./rows.ts";
import type { JournalRow } from "./store.ts";

const journalHeads = z.array(z.tuple([z.string(), z.int(), z.int()]));

export async function readJournal(
  session: Session,
  after: ReadonlyMap<string, number>,
  limit: number,
): Promise<readonly JournalRow[]> {
  const rows = await session.rows(statements.read, [[...after.keys()], [...after.values()], limit]);
  return rows.map((row) => {
    const generation = textOf(row["generation"]);
    return {
      node: textOf(row["node"]),
      n: integerOf(row["n"]),
      at: integerOf(row["at"]),
      heads: readHeads(row).map(({ log, life, head }) => ({ log, epoch: epochOf(life, generation), head })),
    };
  });
}

/** The heads of a journal row. */
export function readHeads(row: Row): { log: LogId; life: number; head: Seq }[] {
  return journalHeads
    .parse(JSON.parse(textOf(row["heads"])))
    .map(([log, life, head]) => ({ log: readLogId(log), life, head }));
}

const statements = {
  // The nodes are found one after the other in the index, which has many rows of each.
  read: {
    name: "read_journal",
    text: `
      WITH RECURSIVE nodes (node) AS (
        (SELECT node FROM journal ORDER BY node LIMIT 1)
        UNION ALL
        SELECT (SELECT node FROM journal WHERE node > nodes.node ORDER BY node LIMIT 1) FROM nodes WHERE node IS NOT NULL
      )
      SELECT found.node, found.n, found.at, found.generation, found.heads
      FROM nodes LEFT JOIN unnest($1::text[], $2::bigint[]) AS given (node, n) ON given.node = nodes.node
      CROSS JOIN LATERAL (
        SELECT * FROM journal WHERE node = nodes.node AND n > coalesce(given.n, 0) ORDER BY n LIMIT $3
      ) AS found
      ORDER BY found.node, found.n LIMIT $3`,
  },
} as const satisfies Record<string, Statement>;
