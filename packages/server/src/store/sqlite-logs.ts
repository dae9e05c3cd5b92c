import { randomBytes } from "node:crypto";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Epoch, LogId, LogState, Seq } from "../core/log.ts";
import { integerOf, type Row, textOf } from "./rows.ts";
import type { Arrivals } from "./sqlite-arrivals.ts";

/** A log as its row says, and as one transaction changes it. */
export interface LogRow {
  readonly number: number;
  readonly epoch: Epoch;
  head: Seq;
  floor: Seq;
  /** Entries below it are deleted; those from here to the floor wait for it. */
  purged: Seq;
  /** 0 keeps all. */
  retainEntriesMax: number;
}

const purgeEntriesMax = 1_000;
/** About 2 MB. */
const keptRowsMax = 10_000;

/**
 * The table `log`: states, epochs, floors, and the deletion of what lies below them.
 *
 * Invariant: rows that are kept in memory are those of the file: nobody else writes it, each change is saved by its
 * transaction, and after one that failed comes `forget`.
 */
export class Logs {
  readonly #arrivals: Arrivals;
  readonly #generation: string;
  readonly #statements: ReturnType<typeof prepare>;
  /** Of logs that were appended to. */
  #kept = new Map<LogId, LogRow>();

  constructor(database: DatabaseSync, arrivals: Arrivals, generation: string) {
    this.#arrivals = arrivals;
    this.#generation = generation;
    this.#statements = prepare(database);
  }

  find(log: LogId): LogRow | undefined {
    const kept = this.#kept.get(log);
    if (kept !== undefined) return kept;
    const row = this.#statements.find.get(log);
    return row === undefined ? undefined : this.#read(row);
  }

  /** Finds or creates; within a transaction. */
  open(log: LogId): LogRow {
    return this.find(log) ?? this.#create(log);
  }

  /** As `open`, for a log that is appended to, and probably will be again. */
  openKept(log: LogId): LogRow {
    const kept = this.#kept.get(log);
    if (kept !== undefined) return kept;
    if (this.#kept.size >= keptRowsMax) this.forget();
    const row = this.open(log);
    this.#kept.set(log, row);
    return row;
  }

  /** Rows are read again from the file. */
  forget(): void {
    this.#kept = new Map();
  }

  #create(log: LogId): LogRow {
    const life = randomBytes(6).toString("base64url");
    const { lastInsertRowid } = this.#statements.create.run(log, life);
    const epoch = this.#epoch(life);
    return { number: Number(lastInsertRowid), epoch, head: 0, floor: 1, purged: 1, retainEntriesMax: 0 };
  }

  /** Of a log without arrivals. */
  save({ number, head, floor, purged, retainEntriesMax }: LogRow): void {
    this.#statements.save.run(head, floor, purged, retainEntriesMax, number);
  }

  /** Saves a log to which so many entries were appended, and keeps to its retention. */
  saveGrown(log: LogRow, entries: number): void {
    const { number, head, floor, purged } = log;
    this.retain(log);
    // Why twice: a log whose retention was lowered comes down to it, a little with each append.
    this.purge(log, 2 * entries);
    // Why not always all: SQLite would look at the index of garbage, which depends on the others.
    if (log.floor === floor && log.purged === purged) this.#statements.saveHead.run(head, number);
    else this.save(log);
  }

  /** Raises the floor to `floor`, at most to head + 1. */
  raiseFloor(log: LogRow, floor: Seq): void {
    log.floor = Math.max(log.floor, Math.min(floor, log.head + 1));
  }

  /** Raises the floor as far as the room's retention asks. */
  retain(log: LogRow): void {
    if (log.retainEntriesMax > 0) this.raiseFloor(log, log.head + 1 - log.retainEntriesMax);
  }

  /** Deletes at most `entriesMax` of the entries below the floor. */
  purge(log: Pick<LogRow, "number" | "floor" | "purged">, entriesMax: number): void {
    if (log.purged >= log.floor) return;
    const until = Math.min(log.floor, log.purged + entriesMax);
    this.#statements.deleteMessages.run(log.number, log.purged, until);
    this.#statements.deleteOthers.run(log.number, log.purged, until);
    log.purged = until;
  }

  /** Takes the log's name away, so that it is gone for all readers; `purgeSome` deletes what is left of it. */
  delete(log: LogRow): void {
    this.forget();
    if (log.purged > log.head) this.#statements.deleteLog.run(log.number);
    else this.#statements.unname.run(log.head + 1, log.number);
  }

  /** Deletes up to 1,000 entries that lie below the floor of a log; within a transaction. False: there are none. */
  purgeSome(): boolean {
    const row = this.#statements.garbage.get();
    if (row === undefined) return false;
    this.forget();
    const log = { number: integerOf(row["number"]), floor: integerOf(row["floor"]), purged: integerOf(row["purged"]) };
    this.purge(log, purgeEntriesMax);
    if (log.purged === log.floor && row["name"] === null) this.#statements.deleteLog.run(log.number);
    else this.#statements.savePurged.run(log.purged, log.number);
    return true;
  }

  hasGarbage(): boolean {
    return this.#statements.garbage.get() !== undefined;
  }

  #read(row: Row): LogRow {
    const number = integerOf(row["number"]);
    return {
      number,
      epoch: this.#epoch(row["life"]),
      head: this.#arrivals.headOf(number) ?? integerOf(row["head"]),
      floor: integerOf(row["floor"]),
      purged: integerOf(row["purged"]),
      retainEntriesMax: integerOf(row["retain_entries_max"]),
    };
  }

  #epoch(life: unknown): Epoch {
    return `${textOf(life)}.${this.#generation}`;
  }
}

export function stateOf({ epoch, head, floor }: LogState): LogState {
  return { epoch, head, floor };
}

function prepare(database: DatabaseSync) {
  const statement = (sql: string): StatementSync => database.prepare(sql);
  return {
    find: statement("SELECT number, life, head, floor, purged, retain_entries_max FROM log WHERE name = ?"),
    create: statement(
      "INSERT INTO log (name, life, head, floor, purged, retain_entries_max) VALUES (?, ?, 0, 1, 1, 0)",
    ),
    save: statement("UPDATE log SET head = ?, floor = ?, purged = ?, retain_entries_max = ? WHERE number = ?"),
    saveHead: statement("UPDATE log SET head = ? WHERE number = ?"),
    savePurged: statement("UPDATE log SET purged = ? WHERE number = ?"),
    unname: statement("UPDATE log SET name = NULL, floor = ? WHERE number = ?"),
    garbage: statement("SELECT number, name, floor, purged FROM log WHERE purged < floor LIMIT 1"),
    deleteLog: statement("DELETE FROM log WHERE number = ?"),
    deleteMessages: statement("DELETE FROM message WHERE log = ? AND seq >= ? AND seq < ?"),
    deleteOthers: statement("DELETE FROM other_entry WHERE log = ? AND seq >= ? AND seq < ?"),
  };
}
