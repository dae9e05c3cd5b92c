import { hash } from "node:crypto";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Millis, Seq } from "../core/log.ts";
import { addToFilter, filterBytes, type FilterKey, filterKey, mayBeInFilter } from "./bloom-filter.ts";
import { bytesOf, integerOf, textOf } from "./rows.ts";

/** What the first commit under a client id was. `body` is a digest of its type and data. */
export interface KnownClientId {
  readonly seq: Seq;
  readonly id: string;
  readonly at: Millis;
  readonly body: string;
}

const segmentRows = 65_536;
const blockRows = 64;
const pruneBlocksMax = 156;

/** A `KnownClientId` as text: its fields with NUL between, which no id holds. Half the work of objects and JSON. */
type Packed = string;

interface Segment {
  readonly number: number;
  readonly newestAt: Millis;
  readonly filter: Uint8Array;
}

/** Client ids that were the newest, on their way into a segment, a bucket with each commit. */
interface Sealing {
  readonly number: number;
  readonly known: ReadonlyMap<string, Packed>;
  /** Keys by their first character, in the order of it. Why: to sort all of them at once takes 50 ms. */
  readonly buckets: readonly (readonly string[])[];
  /** The last row of `client_batch` that holds some of them. */
  readonly lastBatch: number;
  readonly newestAt: Millis;
  readonly filter: Uint8Array;
  written: number;
}

/**
 * Which client ids were committed (LOG-3), in an order that suits a disk. Client ids are random, and a table keyed by
 * them costs a page of 4 KB for every row of 100 bytes: measured, a third of the appends per second and less as it
 * grows. So, as in a log-structured merge tree: the newest are held in memory, and on disk one row for each batch, in
 * order; 65,536 of them at a time become a segment of sorted blocks, so that its pages are written once; and a filter
 * in memory for each segment (128 KB) tells which ones to look into, nearly always none.
 *
 * Invariant: all in memory is also on disk; what a transaction adds counts from `add` on and is taken back by
 * `rollback`, which follows `add` and `write` when their transaction failed, as `commit` does when it did not.
 */
export class ClientIds {
  readonly #statements: ReturnType<typeof prepare>;
  #recent = new Map<string, Packed>();
  /** No entry of the recent ones is younger. */
  #newestAt: Millis = 0;
  #sealing: Sealing | null = null;
  /** Newest first. */
  #segments: Segment[] = [];
  #lastSegment = 0;
  #lastBatch = 0;
  #added: string[] = [];
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
      for (const [key, packed] of unpackRows(textOf(row["rows"]))) this.#recent.set(key, packed);
    }
    for (const packed of this.#recent.values()) this.#newestAt = Math.max(this.#newestAt, unpack(packed).at);
  }

  find(key: string): KnownClientId | undefined {
    const packed = this.#recent.get(key) ?? this.#sealing?.known.get(key) ?? this.#findSealed(key, filterKey(key));
    if (packed === undefined) return undefined;
    const known = unpack(packed);
    return known.at >= this.#forgottenBefore ? known : undefined;
  }

  #findSealed(key: string, bits: FilterKey): Packed | undefined {
    for (const { number, filter } of this.#segments) {
      if (!mayBeInFilter(filter, bits)) continue;
      const row = this.#statements.findBlock.get(number, key);
      const packed = row === undefined ? undefined : new Map(unpackRows(textOf(row["rows"]))).get(key);
      if (packed !== undefined) return packed;
    }
    return undefined;
  }

  add(key: string, { seq, id, at, body }: KnownClientId): void {
    // Why not a template: that makes a rope of strings, and to walk 65,536 of these later costs more than all the rest.
    this.#recent.set(key, [seq, id, at, body].join("\0"));
    this.#newestAt = Math.max(this.#newestAt, at);
    this.#added.push(key);
  }

  /** Writes what was added, and moves the sealing on by one bucket of about 1,000 rows. */
  write(): void {
    if (this.#added.length === 0) return;
    const batch = this.#lastBatch + 1;
    this.#statements.insertBatch.run(batch, packRows(this.#added, this.#recent));
    const sealed = this.#sealing === null ? null : this.#seal(this.#sealing);
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
    for (const key of this.#added) this.#recent.delete(key);
    this.#added = [];
    this.#afterCommit = null;
  }

  /** Forgets those of entries before `before`; deletes about 10,000 of them at most. True when there are more. */
  prune(before: Millis): boolean {
    // Why not the oldest: its entries may be younger, by a clock that was ahead for a while.
    const isPast = ({ newestAt }: Segment): boolean => newestAt < before;
    const past = this.#segments.findLast(isPast);
    if (past !== undefined) {
      const { changes } = this.#statements.deleteBlocks.run(past.number, past.number, pruneBlocksMax);
      if (changes < pruneBlocksMax) {
        this.#statements.deleteSegment.run(past.number);
        this.#segments = this.#segments.filter((segment) => segment !== past);
      }
    }
    this.#forgottenBefore = before;
    return this.#segments.some(isPast);
  }

  #startSealing(): void {
    const buckets = Map.groupBy(this.#recent.keys(), (key) => key.charAt(0));
    this.#lastSegment += 1;
    this.#sealing = {
      number: this.#lastSegment,
      known: this.#recent,
      buckets: [...buckets.keys()].toSorted().map((first) => buckets.get(first) ?? []),
      lastBatch: this.#lastBatch,
      newestAt: this.#newestAt,
      filter: new Uint8Array(filterBytes),
      written: 0,
    };
    this.#recent = new Map();
    this.#newestAt = 0;
  }

  /** Writes the next bucket of the segment; what it gives is to be done when that is committed. */
  #seal(sealing: Sealing): () => void {
    const { number, known, buckets, lastBatch, newestAt, filter } = sealing;
    const keys = buckets[sealing.written]?.toSorted() ?? [];
    for (let start = 0; start < keys.length; start += blockRows) {
      const blockKeys = keys.slice(start, start + blockRows);
      this.#statements.insertBlock.run(number, blockKeys[0] ?? "", packRows(blockKeys, known));
    }
    // Harmless when this transaction fails: the filter is not asked before the segment is whole.
    for (const key of keys) addToFilter(filter, filterKey(key));
    if (sealing.written + 1 < buckets.length) return () => void (sealing.written += 1);
    this.#statements.insertSegment.run(number, newestAt, filter);
    this.#statements.deleteBatches.run(lastBatch);
    return () => {
      this.#segments.unshift({ number, newestAt, filter });
      this.#sealing = null;
    };
  }
}

function packRows(keys: readonly string[], known: ReadonlyMap<string, Packed>): string {
  return keys.map((key) => `${key}\0${known.get(key) ?? ""}`).join("\0");
}

const fieldsOfRow = 5;

function unpackRows(text: string): [string, Packed][] {
  const fields = text.split("\0");
  return Array.from({ length: fields.length / fieldsOfRow }, (_, row) => {
    const [key = "", ...known] = fields.slice(row * fieldsOfRow, (row + 1) * fieldsOfRow);
    return [key, known.join("\0")];
  });
}

function unpack(packed: Packed): KnownClientId {
  const [seq, id = "", at, body = ""] = packed.split("\0");
  return { seq: Number(seq), id, at: Number(at), body };
}

/** The key of a client id: a digest of it with its log and actor. */
export function clientIdKey(log: number, actor: string, clientId: string): string {
  return hash("sha1", `${log}\0${actor}\0${clientId}`, "base64url");
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
    findBlock: statement(
      "SELECT rows FROM client_id WHERE segment = ? AND first_key <= ? ORDER BY first_key DESC LIMIT 1",
    ),
    insertBatch: statement("INSERT INTO client_batch (number, rows) VALUES (?, ?)"),
    deleteBatches: statement("DELETE FROM client_batch WHERE number <= ?"),
    insertBlock: statement("INSERT INTO client_id (segment, first_key, rows) VALUES (?, ?, ?)"),
    insertSegment: statement("INSERT INTO client_segment (number, newest_at, filter) VALUES (?, ?, ?)"),
    deleteUnfinished: statement("DELETE FROM client_id WHERE segment > ?"),
    deleteBlocks: statement(
      `DELETE FROM client_id WHERE segment = ?
       AND first_key IN (SELECT first_key FROM client_id WHERE segment = ? LIMIT ?)`,
    ),
    deleteSegment: statement("DELETE FROM client_segment WHERE number = ?"),
  };
}
