import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";
import type { Entry, Seq } from "../core/log.ts";
import type { LogRow } from "./sqlite-logs.ts";
import { readEntry } from "./rows.ts";
import type { MessageRange } from "./store.ts";

const columns = "seq, id, type, actor, at, v, client_id, data";
const messageColumns = "seq, id, 'message' AS type, actor, at, v, client_id, data";

/**
 * The statements that read pages. `where` is added to each condition: nothing, or in tests a function that counts the
 * rows which the condition is asked for.
 */
export function pageStatements(where = "") {
  return {
    /** log, after, limit */
    entriesAfter: `SELECT ${columns} FROM entry WHERE log = ? AND seq > ? ${where} ORDER BY seq LIMIT ?`,
    /** log, after, limit */
    messagesAfter: `SELECT ${messageColumns} FROM message WHERE log = ? AND seq > ? ${where} ORDER BY seq LIMIT ?`,
    /** log, floor, before, limit */
    messagesBefore: `SELECT ${messageColumns} FROM message WHERE log = ? AND seq >= ? AND seq < ? ${where} ORDER BY seq DESC LIMIT ?`,
  } as const;
}

/** Reads pages of a log. Every read takes at most `limit` + 1 rows, by primary keys. */
export class Pages {
  readonly #entriesAfter: StatementSync;
  readonly #messagesAfter: StatementSync;
  readonly #messagesBefore: StatementSync;

  constructor(database: DatabaseSync) {
    const sql = pageStatements();
    this.#entriesAfter = database.prepare(sql.entriesAfter);
    this.#messagesAfter = database.prepare(sql.messagesAfter);
    this.#messagesBefore = database.prepare(sql.messagesBefore);
  }

  entriesAfter(log: LogRow, after: Seq, limit: number, bytesMax: number): readonly Entry[] {
    const from = Math.max(after, log.floor - 1);
    return readPage(this.#entriesAfter, [log.number, from, limit], limit, bytesMax).entries;
  }

  /** Oldest first, as the port says. */
  messages(
    log: LogRow,
    { before, after, limit, bytesMax }: MessageRange,
  ): { messages: readonly Entry[]; more: boolean } {
    if (after !== undefined) {
      const from = Math.max(after, log.floor - 1);
      const { entries, more } = readPage(this.#messagesAfter, [log.number, from, limit + 1], limit, bytesMax);
      return { messages: entries, more };
    }
    const until = Math.min(before ?? Infinity, log.head + 1);
    const { entries, more } = readPage(
      this.#messagesBefore,
      [log.number, log.floor, until, limit + 1],
      limit,
      bytesMax,
    );
    return { messages: entries.toReversed(), more };
  }
}

/** Takes rows until the page is full, in entries or bytes; the first is always taken. Rows not taken are not read. */
function readPage(
  statement: StatementSync,
  parameters: readonly SQLInputValue[],
  limit: number,
  bytesMax: number,
): { readonly entries: Entry[]; readonly more: boolean } {
  const entries: Entry[] = [];
  let bytes = 0;
  for (const row of statement.iterate(...parameters)) {
    const entry = readEntry(row);
    bytes += entry.data.length;
    if (entries.length === limit || (entries.length > 0 && bytes > bytesMax)) return { entries, more: true };
    entries.push(entry);
  }
  return { entries, more: false };
}
