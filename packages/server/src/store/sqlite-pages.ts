import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Entry, Seq } from "../core/log.ts";
import type { Arrivals } from "./sqlite-arrivals.ts";
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
  readonly #arrivals: Arrivals;
  readonly #entriesAfter: StatementSync;
  readonly #messagesAfter: StatementSync;
  readonly #messagesBefore: StatementSync;

  constructor(database: DatabaseSync, arrivals: Arrivals) {
    this.#arrivals = arrivals;
    const sql = pageStatements();
    this.#entriesAfter = database.prepare(sql.entriesAfter);
    this.#messagesAfter = database.prepare(sql.messagesAfter);
    this.#messagesBefore = database.prepare(sql.messagesBefore);
  }

  entriesAfter(log: LogRow, after: Seq, limit: number, bytesMax: number): readonly Entry[] {
    const from = Math.max(after, log.floor - 1);
    return takePage(this.#after(this.#entriesAfter, log.number, from, limit), limit, bytesMax).entries;
  }

  /** Oldest first, as the port says. */
  messages(
    log: LogRow,
    { before, after, limit, bytesMax }: MessageRange,
  ): { messages: readonly Entry[]; more: boolean } {
    if (after !== undefined) {
      const from = Math.max(after, log.floor - 1);
      const { entries, more } = takePage(
        this.#after(this.#messagesAfter, log.number, from, limit + 1),
        limit,
        bytesMax,
      );
      return { messages: entries, more };
    }
    const until = Math.min(before ?? Infinity, log.head + 1);
    const { entries, more } = takePage(this.#before(log, until, limit + 1), limit, bytesMax);
    return { messages: entries.toReversed(), more };
  }

  *#after(statement: StatementSync, log: number, after: Seq, limit: number): Generator<Entry> {
    for (const row of statement.iterate(log, after, limit)) yield readEntry(row);
    yield* this.#arrivals.after(log, after);
  }

  *#before({ number, floor }: LogRow, before: Seq, limit: number): Generator<Entry> {
    yield* this.#arrivals.before(number, before);
    for (const row of this.#messagesBefore.iterate(number, floor, before, limit)) yield readEntry(row);
  }
}

/** Takes entries until the page is full, in entries or bytes; the first is always taken. What is not taken is not read. */
function takePage(
  entries: Iterable<Entry>,
  limit: number,
  bytesMax: number,
): { readonly entries: Entry[]; readonly more: boolean } {
  const taken: Entry[] = [];
  let bytes = 0;
  for (const entry of entries) {
    bytes += entry.data.length;
    if (taken.length === limit || (taken.length > 0 && bytes > bytesMax)) return { entries: taken, more: true };
    taken.push(entry);
  }
  return { entries: taken, more: false };
}
