import type { DatabaseSync, StatementSync } from "node:sqlite";
import { z } from "zod";
import type { Entry, Seq } from "../core/log.ts";
import { integerOf, textOf } from "./rows.ts";

/** log, seq, id, actor, at, v, client id, data: a message as its row of `message` will be. */
const arrivedSchema = z.tuple([
  z.int(),
  z.int(),
  z.string(),
  z.string(),
  z.int(),
  z.int(),
  z.string().nullable(),
  z.string(),
]);
export type Arrived = z.infer<typeof arrivedSchema>;
const rowsSchema = z.array(arrivedSchema);

/** A row of the table. */
interface Batch {
  readonly number: number;
  readonly length: number;
  /** By log, the last of its messages that are in it. */
  readonly lasts: ReadonlyMap<number, Seq>;
}

/** UTF-16 units of all rows. It is also about what is read at the start, and held in memory. */
const lengthMax = 8_388_608;
/** Of a log, when some are moved: a few pages of the table `message`. */
const movedAtOnce = 64;
/** In one transaction, or twice what it adds: so that none takes long, and more goes than comes. */
const movedMax = 512;

/**
 * The latest messages of many logs, in the order in which they came, until there are enough of a log to be moved among
 * the others of their log. Why: a page of 4 KB would be written, twice, and now and then split, for each message of
 * 300 bytes, which is two thirds of what an append costs when a thousand logs are busy.
 *
 * Invariants: a log's messages here are its newest entries, without a gap, and the head in its row (`log.head`) is the
 * one before them: what lies at or below it was moved, and counts no more. All in memory is also on disk. What a
 * transaction does counts from `commit` on, and is taken back by `rollback`; reads see what was committed.
 */
export class Arrivals {
  readonly #statements: ReturnType<typeof prepare>;
  readonly #tails = new Map<number, readonly Arrived[]>();
  /** Oldest first. */
  #batches: Batch[] = [];
  #length = 0;
  #lastNumber = 0;
  /** Of the present transaction: not yet anywhere; moved, up to where, and how many by `drain`; rows that were deleted and written. */
  #added: Arrived[] = [];
  readonly #moved = new Map<number, Seq>();
  #drained = 0;
  #deleted = 0;
  #written: Batch | null = null;

  constructor(database: DatabaseSync) {
    this.#statements = prepare(database);
    for (const row of this.#statements.all.iterate()) {
      const text = textOf(row["rows"]);
      const entries = rowsSchema.parse(JSON.parse(text));
      this.#keep(batchOf(integerOf(row["number"]), text, entries), this.#unmovedOf(entries));
    }
  }

  /** The head of the log with this number; undefined when its row says it. */
  headOf(log: number): Seq | undefined {
    return this.#tails.get(log)?.at(-1)?.[1];
  }

  /** Entries after `after`, ascending: they follow those of the tables. */
  after(log: number, after: Seq): readonly Entry[] {
    return rest(this.#tails.get(log), after).map(entryOf);
  }

  /** Entries before `before`, descending: those of the tables follow them. */
  before(log: number, before: Seq): readonly Entry[] {
    const tail = this.#tails.get(log) ?? [];
    return tail
      .filter(([, seq]) => seq < before)
      .map(entryOf)
      .toReversed();
  }

  add(message: Arrived): void {
    this.#added.push(message);
  }

  /** Moves all of a log: it has entries now, or loses some, that are not kept here. */
  moveAll(log: number): void {
    this.#move(log, Number.POSITIVE_INFINITY);
    if (!this.#added.some((message) => message[0] === log)) return;
    this.#insert(this.#added.filter((message) => message[0] === log));
    this.#added = this.#added.filter((message) => message[0] !== log);
  }

  /**
   * For a log that is to be written where it stays: whether it may be, for nothing of it is left here. Why not moved
   * whatever there is: of a hundred logs it could be all that is kept.
   */
  drain(log: number): boolean {
    const tail = this.#tails.get(log);
    const [first, last] = [tail?.[0]?.[1], tail?.at(-1)?.[1]];
    if (first === undefined || last === undefined) return true;
    const left = movedMax - this.#drained;
    if (left > 0) this.#drained += this.#move(log, Math.min(last, first + left - 1));
    return this.#moved.get(log) === last;
  }

  /** After `moveAll`: neither the message nor, without a `seq`, any of the log is left here, not even as one that was moved. */
  strip(log: number, seq?: Seq): void {
    for (const { number, lasts } of this.#batches) {
      const last = lasts.get(log);
      if (last === undefined || (seq !== undefined && last < seq)) continue;
      const row = this.#statements.find.get(number);
      if (row === undefined) continue;
      const entries = rowsSchema.parse(JSON.parse(textOf(row["rows"])));
      const left = entries.filter((entry) => entry[0] !== log || (seq !== undefined && entry[1] !== seq));
      this.#statements.update.run(JSON.stringify(left), number);
      if (seq !== undefined) return;
    }
  }

  /** Writes what was added, and moves the oldest on while there is too much. */
  write(): void {
    if (this.#length > lengthMax) this.#moveOldest();
    if (this.#added.length === 0) return;
    const text = JSON.stringify(this.#added);
    this.#written = batchOf(this.#lastNumber + 1, text, this.#added);
    this.#statements.insert.run(this.#written.number, text);
  }

  commit(): void {
    for (const [log, to] of this.#moved) {
      const left = rest(this.#tails.get(log), to);
      if (left.length > 0) this.#tails.set(log, left);
      else this.#tails.delete(log);
    }
    for (const { length } of this.#batches.splice(0, this.#deleted)) this.#length -= length;
    if (this.#written !== null) this.#keep(this.#written, this.#added);
    this.rollback();
  }

  rollback(): void {
    this.#added = [];
    this.#moved.clear();
    this.#drained = 0;
    this.#deleted = 0;
    this.#written = null;
  }

  #moveOldest(): void {
    let length = this.#length;
    let left = length > 2 * lengthMax ? Number.POSITIVE_INFINITY : Math.max(movedMax, 2 * this.#added.length);
    for (const batch of this.#batches) {
      if (length <= lengthMax) return;
      for (const [log, last] of batch.lasts) {
        if (left <= 0) return;
        left -= this.#move(log, last);
      }
      this.#statements.remove.run(batch.number);
      this.#deleted += 1;
      length -= batch.length;
    }
  }

  #keep(batch: Batch, unmoved: readonly Arrived[]): void {
    this.#batches.push(batch);
    this.#length += batch.length;
    this.#lastNumber = batch.number;
    for (const [log, messages] of Map.groupBy(unmoved, ([number]) => number)) {
      this.#tails.set(log, [...(this.#tails.get(log) ?? []), ...messages]);
    }
  }

  #unmovedOf(entries: readonly Arrived[]): readonly Arrived[] {
    const heads = new Map<number, Seq>();
    return entries.filter(([log, seq]) => {
      const head = heads.get(log) ?? this.#storedHead(log);
      heads.set(log, head);
      return seq > head;
    });
  }

  /** Of a log that is gone: beyond all. */
  #storedHead(log: number): Seq {
    const row = this.#statements.head.get(log);
    return row === undefined ? Number.POSITIVE_INFINITY : integerOf(row["head"]);
  }

  /** Moves the messages up to `to`, and a few more; gives how many. */
  #move(log: number, to: Seq): number {
    const tail = this.#tails.get(log) ?? [];
    const first = (this.#moved.get(log) ?? (tail[0]?.[1] ?? 0) - 1) + 1;
    if (first > to) return 0;
    const moved = rest(tail, first - 1).slice(0, Math.max(to - first + 1, movedAtOnce));
    this.#insert(moved);
    return moved.length;
  }

  /** Messages of one log. */
  #insert(messages: readonly Arrived[]): void {
    const last = messages.at(-1);
    if (last === undefined) return;
    for (const message of messages) this.#statements.insertMessage.run(...message);
    this.#statements.saveHead.run(last[1], last[0]);
    this.#moved.set(last[0], last[1]);
  }
}

/** What lies after `after` of a log's messages, which are without a gap. */
function rest(tail: readonly Arrived[] | undefined, after: Seq): readonly Arrived[] {
  const first = tail?.[0];
  return first === undefined || tail === undefined ? [] : tail.slice(Math.max(0, after + 1 - first[1]));
}

function batchOf(number: number, text: string, entries: readonly Arrived[]): Batch {
  return { number, length: text.length, lasts: new Map(entries.map(([log, seq]) => [log, seq])) };
}

function entryOf([, seq, id, actor, at, v, clientId, data]: Arrived): Entry {
  return { seq, id, type: "message", actor, at, v, data, clientId };
}

function prepare(database: DatabaseSync) {
  const statement = (sql: string): StatementSync => database.prepare(sql);
  return {
    all: statement("SELECT number, rows FROM arrival ORDER BY number"),
    find: statement("SELECT rows FROM arrival WHERE number = ?"),
    insert: statement("INSERT INTO arrival (number, rows) VALUES (?, ?)"),
    update: statement("UPDATE arrival SET rows = ? WHERE number = ?"),
    remove: statement("DELETE FROM arrival WHERE number = ?"),
    head: statement("SELECT head FROM log WHERE number = ? AND name IS NOT NULL"),
    saveHead: statement("UPDATE log SET head = ? WHERE number = ?"),
    insertMessage: statement(
      "INSERT INTO message (log, seq, id, actor, at, v, client_id, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    ),
  };
}
