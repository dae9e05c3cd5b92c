import type { LogId, Seq } from "../core/log.ts";
import { type Session, stateColumns, stateOf, type Statement } from "./postgres-session.ts";
import { integerOf, readEntry } from "./rows.ts";
import type { EntryPage, MessagePage, MessageRange } from "./store.ts";

export async function readAfter(
  session: Session,
  log: LogId,
  after: Seq,
  limit: number,
  bytesMax: number,
): Promise<EntryPage | undefined> {
  const page = await readPage(session, pageStatements.entriesAfter, [log, after, limit, bytesMax]);
  return page && { ...page.state, entries: page.entries };
}

export async function readMessages(
  session: Session,
  log: LogId,
  { before, after, limit, bytesMax }: MessageRange,
): Promise<MessagePage | undefined> {
  const page =
    after === undefined
      ? await readPage(session, pageStatements.messagesBefore, [
          log,
          before ?? Number.MAX_SAFE_INTEGER,
          limit + 1,
          bytesMax,
        ])
      : await readPage(session, pageStatements.messagesAfter, [log, after, limit + 1, bytesMax]);
  if (page === undefined) return undefined;
  const kept = page.entries.slice(0, limit);
  const messages = after === undefined ? kept.toReversed() : kept;
  return { ...page.state, messages, more: page.read > kept.length };
}

/** `read`: rows that there were to take, up to the limit. */
async function readPage(session: Session, statement: Statement, values: readonly unknown[]) {
  const rows = await session.rows(statement, values);
  const [first] = rows;
  const state = first && stateOf(first, session);
  if (first === undefined || state === undefined) return undefined;
  const isEmpty = first["seq"] === null;
  return { state, entries: isEmpty ? [] : rows.map(readEntry), read: isEmpty ? 0 : integerOf(first["read"]) };
}

/**
 * A log's state and rows of it, in one snapshot. `$1`: the log, `$3`: rows at most, `$4`: bytes of data at most, above
 * which the first row alone is given.
 */
function pageSql(rows: string, order: "ASC" | "DESC"): string {
  return `
    SELECT ${stateColumns}, taken.*
    FROM log l LEFT JOIN LATERAL (
      SELECT * FROM (
        SELECT found.*, octet_length(data) AS size, count(*) OVER () AS read,
          sum(octet_length(data)) OVER (ORDER BY seq ${order}) AS bytes
        FROM (${rows} ORDER BY seq ${order} LIMIT $3) AS found
      ) AS sized
      WHERE bytes <= $4 OR bytes = size
    ) AS taken ON true
    WHERE l.name = $1
    ORDER BY taken.seq ${order}`;
}

const columns = "seq, id, type, actor, at, v, client_id, data";
const messageColumns = "seq, id, 'message'::text AS type, actor, at, v, client_id, data";
const ofLog = "log = l.name AND life = l.life";

export const pageStatements = {
  entriesAfter: {
    name: "entries_after",
    text: pageSql(`SELECT ${columns} FROM entry WHERE ${ofLog} AND seq > greatest($2, l.floor - 1)`, "ASC"),
  },
  messagesAfter: {
    name: "messages_after",
    text: pageSql(`SELECT ${messageColumns} FROM message WHERE ${ofLog} AND seq > greatest($2, l.floor - 1)`, "ASC"),
  },
  messagesBefore: {
    name: "messages_before",
    text: pageSql(
      `SELECT ${messageColumns} FROM message WHERE ${ofLog} AND seq >= l.floor AND seq < least($2, l.head + 1)`,
      "DESC",
    ),
  },
} as const satisfies Record<string, Statement>;
