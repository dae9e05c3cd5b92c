import { randomBytes } from "node:crypto";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Epoch, LogId, LogState, Seq } from "../core/log.ts";
import { integerOf, type Row, textOf } from "./rows.ts";

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

/** The table `log`: states, epochs, floors, and the deletion of what lies below them. */
export class Logs {
  readonly #generation: string;
  readonly #statements: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync, generation: string) {
    this.#generation = generation;
    this.#statements = prepare(database);
  }

  find(log: LogId): LogRow | undefined {
    const row = this.#statements.find.get(log);
    return row === undefined ? undefined : this.#read(row);
  }

  /** Finds or creates; within a transaction. */
  open(log: LogId): LogRow {
    const known = this.find(log);
    if (known !== undefined) return known;
    const life = randomBytes(6).toString("base64url");
    const { lastInsertRowid } = this.#statements.create.run(log, life);
    const epoch = this.#epoch(life);
    return { number: Number(lastInsertRowid), epoch, head: 0, floor: 1, purged: 1, retainEntriesMax: 0 };
  }

  save({ number, head, floor, purged, retainEntriesMax }: LogRow): void {
    this.#statements.save.run(head, floor, purged, retainEntriesMax, number);
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
    if (log.purged > log.head) this.#statements.deleteLog.run(log.number);
    else this.#statements.unname.run(log.head + 1, log.number);
  }

  /** Deletes up to 1,000 entries that lie below the floor of a log; within a transaction. False: there are none. */
  purgeSome(): boolean {
    const row = this.#statements.garbage.get();
    if (row === undefined) return false;
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
    return {
      number: integerOf(row["number"]),
      epoch: this.#epoch(row["life"]),
      head: integerOf(row["head"]),
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
    savePurged: statement("UPDATE log SET purged = ? WHERE number = ?"),
    unname: statement("UPDATE log SET name = NULL, floor = ? WHERE number = ?"),
    garbage: statement("SELECT number, name, floor, purged FROM log WHERE purged < floor LIMIT 1"),
    deleteLog: statement("DELETE FROM log WHERE number = ?"),
    deleteMessages: statement("DELETE FROM message WHERE log = ? AND seq >= ? AND seq < ?"),
    deleteOthers: statement("DELETE FROM other_entry WHERE log = ? AND seq >= ? AND seq < ?"),
  };
}
