import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Millis } from "../core/log.ts";
import { readHeads } from "./sqlite-appends.ts";
import { integerOf, textOf } from "./rows.ts";
import type { JournalRow } from "./store.ts";

const pruneRowsMax = 10_000;

/** Reads and prunes the table `journal`, which `Appends` writes. */
export class Journal {
  readonly #nodeAfter: StatementSync;
  readonly #rows: StatementSync;
  readonly #prune: StatementSync;

  constructor(database: DatabaseSync) {
    this.#nodeAfter = database.prepare("SELECT node FROM journal WHERE node > ? ORDER BY node LIMIT 1");
    this.#rows = database.prepare("SELECT n, at, heads FROM journal WHERE node = ? AND n > ? ORDER BY n LIMIT ?");
    this.#prune = database.prepare(
      "DELETE FROM journal WHERE (node, n) IN (SELECT node, n FROM journal WHERE at < ? ORDER BY at LIMIT ?)",
    );
  }

  read(after: ReadonlyMap<string, number>, limit: number): readonly JournalRow[] {
    const rows: JournalRow[] = [];
    for (let node = this.#nextNode(""); node !== null && rows.length < limit; node = this.#nextNode(node)) {
      for (const row of this.#rows.iterate(node, after.get(node) ?? 0, limit - rows.length)) {
        rows.push({
          node,
          n: integerOf(row["n"]),
          at: integerOf(row["at"]),
          heads: readHeads(textOf(row["heads"])),
        });
      }
    }
    return rows;
  }

  /** True when there may be more. */
  prune(before: Millis): boolean {
    return Number(this.#prune.run(before, pruneRowsMax).changes) === pruneRowsMax;
  }

  #nextNode(node: string): string | null {
    const row = this.#nodeAfter.get(node);
    return row === undefined ? null : textOf(row["node"]);
  }
}
