import { hash } from "node:crypto";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { z } from "zod";
import type { Millis, Seq } from "../core/log.ts";
import { addToFilter, filterBytes, type FilterKey, filterKey, mayBeInFilter } from "./bloom-filter.ts";
import { bytesOf, integerOf, textOf } from "./sqlite-rows.ts";

/** What the first commit under a client id was. `body` is a digest of its type and data. */
export interface KnownClientId {
  readonly seq: Seq;
  readonly id: string;
  readonly at: Millis;
  readonly body: string;
}

const segmentRows = 65_536;
const pruneRowsMax = 10_000;
const batchRows = z.array(z.tuple([z.string(), z.number(), z.string(), z.number(), z.string()]));

interface Segment {
  readonly number: number;
  readonly newestAt: Millis;
  readonly filter: Uint8Array;
}

/** The oldest client ids held in memory, on their way into a segment, a slice with each commit. */
interface Sealing {
  readonly number: number;
  readonly known: ReadonlyMap<string, KnownClientId>;
  readonly sortedKeys: readonly string[];
  /** The last row of `client_batch` that holds some of them. */
  readonly lastBatch: number;
  written: number;
}

/**
 * Which client ids were committed (LOG-3), in an order that suits a disk. Client ids are random, and a table keyed by
 * them costs a page of 4 KB for every row of 100 bytes: measured, a third of the appends per second and less as it
 * grows. So, as in a log-structured merge tree: the newest are held in memory, and on disk one row for each batch, in
 * order; 65,536 of them at a time become a segment, sorted, so that its pages are written once; and a filter in memory
 * for each segment (128 KB) tells which ones to look into, nearly always none.
 *
 * Invariant: all in memory is also on disk; what a transaction adds counts from `add` on and is taken back by
 * `rollback`, which follows `add` and `write` when their transaction failed, as `commit` does when it did not.
 */
export class ClientIds {
  readonly #statements: ReturnType<typeof prepare>;
  #recent = new Map<string, KnownClientId>();
  #sealing: Sealing | null = null;
  /** Newest first. */
  #segments: Segment[] = [];
  #lastSegment = 0;
  #lastBatch = 0;
  #added: [string, KnownClientId][] = [];
  /** What the present transaction changes in memory once it is committed. */
  #afterCommit: (() => void) | null = null;
  /** Older ones no longer count; their rows go when all of their segment is older. */
  #forgottenBefore: Millis = 0;

  /** Reads what is held in memory, and ends what a killed process left half-way. */
  constructor(database: DatabaseSync) {
    this.#statements = prepare(database);
    for (const row of this.#statements.segments.all()) {
      this.#segments.push({
        number: integerOf(row["number"]),
        newestAt: integerOf(row["newest_at"]),
        filter: bytesOf(row["filter"]),
      });
    }
    this.#lastSegment = this.#segments[0]?.number ?? 0;
    this.#statements.deleteUnfinished.run(this.#lastSegment);
    for (const row of this.#statements.batches.iterate()) {
      this.#lastBatch = integerOf(row["number"]);
      for (const [key, seq, id, at, body] of batchRows.parse(JSON.parse(textOf(row["rows"])))) {
        this.#recent.set(key, { seq, id, at, body });
      }
    }
  }

  find(key: string): KnownClientId | undefined {
    const known = this.#recent.get(key) ?? this.#sealing?.known.get(key) ?? this.#findSealed(key, filterKey(key));
    return known !== undefined && known.at >= this.#forgottenBefore ? known : undefined;
  }

  #findSealed(key: string, bits: FilterKey): KnownClientId | undefined {
    for (const { number, filter } of this.#segments) {
      if (!mayBeInFilter(filter, bits)) continue;
      const row = this.#statements.find.get(number, key);
      if (row === undefined) continue;
      return {
        seq: integerOf(row["seq"]),
        id: textOf(row["id"]),
        at: integerOf(row["at"]),
        body: textOf(row["body"]),
      };
    }
    return undefined;
  }

  add(key: string, known: KnownClientId): void {
    this.#recent.set(key, known);
    this.#added.push([key, known]);
  }

  /** Writes what was added, and moves the sealing on by a little more than that. */
  write(): void {
    if (this.#added.length === 0) return;
    const rows = this.#added.map(([key, { seq, id, at, body }]) => [key, seq, id, at, body]);
    const batch = this.#lastBatch + 1;
    this.#statements.insertBatch.run(batch, JSON.stringify(rows));
    const sealed = this.#sealing === null ? null : this.#seal(this.#sealing, 2 * rows.length + 16);
    this.#afterCommit = () => {
      this.#lastBatch = batch;
      sealed?.();
      if (this.#sealing === null && this.#recent.size >= segmentRows) this.#startSealing();
    };
  }

  commit(): void {
    this.#added = [];
    this.#afterCommit?.();
    this.#afterCommit = null;
  }

  rollback(): void {
    for (const [key] of this.#added) this.#recent.delete(key);
    this.#added = [];
    this.#afterCommit = null;
  }

  /** Forgets those of entries before `before`; deletes at most 10,000 rows. */
  prune(before: Millis): void {
    const oldest = this.#segments.at(-1);
    if (oldest !== undefined && oldest.newestAt < before) {
      const { changes } = this.#statements.deleteRows.run(oldest.number, oldest.number, pruneRowsMax);
      if (changes < pruneRowsMax) {
        this.#statements.deleteSegment.run(oldest.number);
        this.#segments.pop();
      }
    }
    this.#forgottenBefore = Math.max(this.#forgottenBefore, before);
  }

  #startSealing(): void {
    this.#lastSegment += 1;
    this.#sealing = {
      number: this.#lastSegment,
      known: this.#recent,
      sortedKeys: [...this.#recent.keys()].toSorted(),
      lastBatch: this.#lastBatch,
      written: 0,
    };
    this.#recent = new Map();
  }

  /** Writes the next rows of the segment; what it gives applies them in memory. */
  #seal(sealing: Sealing, rowsMax: number): () => void {
    const { number, known, sortedKeys, lastBatch } = sealing;
    const until = Math.min(sealing.written + rowsMax, sortedKeys.length);
    for (const key of sortedKeys.slice(sealing.written, until)) {
      const row = known.get(key);
      if (row !== undefined) this.#statements.insert.run(number, key, row.seq, row.id, row.at, row.body);
    }
    if (until < sortedKeys.length) return () => void (sealing.written = until);
    const filter = new Uint8Array(filterBytes);
    let newestAt = 0;
    for (const [key, { at }] of known) {
      addToFilter(filter, filterKey(key));
      newestAt = Math.max(newestAt, at);
    }
    this.#statements.insertSegment.run(number, newestAt, filter);
    this.#statements.deleteBatches.run(lastBatch);
    return () => {
      this.#segments.unshift({ number, newestAt, filter });
      this.#sealing = null;
    };
  }
}

/** The key of a client id: a digest of it with its log and actor. */
export function clientIdKey(log: number, actor: string, clientId: string): string {
  return hash("sha1", `${log}\0${actor}\0${clientId}`, "base64url").slice(0, 22);
}

/** A digest of what a repeat must have in common with the first. */
export function bodyDigest(type: string, data: string): string {
  return hash("sha1", `${type}\0${data}`, "base64url").slice(0, 16);
}

function prepare(database: DatabaseSync) {
  const statement = (sql: string): StatementSync => database.prepare(sql);
  return {
    segments: statement("SELECT number, newest_at, filter FROM client_segment ORDER BY number DESC"),
    batches: statement("SELECT number, rows FROM client_batch ORDER BY number"),
    find: statement("SELECT seq, id, at, body FROM client_id WHERE segment = ? AND key = ?"),
    insertBatch: statement("INSERT INTO client_batch (number, rows) VALUES (?, ?)"),
    deleteBatches: statement("DELETE FROM client_batch WHERE number <= ?"),
    insert: statement("INSERT INTO client_id (segment, key, seq, id, at, body) VALUES (?, ?, ?, ?, ?, ?)"),
    insertSegment: statement("INSERT INTO client_segment (number, newest_at, filter) VALUES (?, ?, ?)"),
    deleteUnfinished: statement("DELETE FROM client_id WHERE segment > ?"),
    deleteRows: statement(
      "DELETE FROM client_id WHERE segment = ? AND key IN (SELECT key FROM client_id WHERE segment = ? LIMIT ?)",
    ),
    deleteSegment: statement("DELETE FROM client_segment WHERE number = ?"),
  };
}
