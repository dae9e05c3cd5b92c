import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Millis } from "../core/log.ts";
import { integerOf, readSession, textOf, writeCursors } from "./rows.ts";
import type { Lease, SessionClaim, SessionKey, StoredSession } from "./store.ts";

const pruneRowsMax = 10_000;
/** An ended lease is still listed for so long. */
const endedLeaseKeepMs = 600_000;

/** Sessions that other nodes may go on with, and the leases of nodes. */
export class StoredSessions {
  readonly #statements: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync) {
    this.#statements = prepare(database);
  }

  /** False: it was claimed under a higher generation. */
  put(session: StoredSession, now: Millis): boolean {
    const { pid, id, tenant, userId, owner, generation, keepMs, cursors } = session;
    const { put } = this.#statements;
    return put.run(pid, id, tenant, userId, owner, generation, keepMs, now + keepMs, writeCursors(cursors)).changes > 0;
  }

  claim({ pid, tenant, userId, node }: SessionClaim, now: Millis): StoredSession | undefined {
    const row = this.#statements.find.get(pid, tenant, userId, now);
    if (row === undefined) return undefined;
    const session = readSession(row);
    const generation = session.generation + 1;
    this.#statements.claim.run(node, generation, pid);
    return { ...session, generation };
  }

  end({ pid, generation }: SessionKey): void {
    this.#statements.end.run(pid, generation);
  }

  renewLease(node: string, until: Millis): void {
    this.#statements.renewLease.run(node, until);
  }

  endLease(node: string, now: Millis): void {
    this.#statements.endLease.run(now - 1, node, now);
  }

  leases(now: Millis): readonly Lease[] {
    return this.#statements.leases
      .all(now - endedLeaseKeepMs)
      .map((row) => ({ node: textOf(row["node"]), remainingMs: integerOf(row["ends_at"]) - now }));
  }

  /** Deletes sessions that nobody can claim any more, and leases that nobody asks for. True when there may be more. */
  prune(now: Millis): boolean {
    this.#statements.pruneLeases.run(now - endedLeaseKeepMs);
    return Number(this.#statements.prune.run(now, pruneRowsMax).changes) === pruneRowsMax;
  }
}

function prepare(database: DatabaseSync) {
  const statement = (sql: string): StatementSync => database.prepare(sql);
  return {
    put: statement(
      `INSERT INTO session (pid, id, tenant, user_id, owner, generation, keep_ms, ends_at, cursors)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET id = excluded.id, tenant = excluded.tenant, user_id = excluded.user_id,
         owner = excluded.owner, generation = excluded.generation, keep_ms = excluded.keep_ms,
         ends_at = excluded.ends_at, cursors = excluded.cursors
       WHERE session.generation <= excluded.generation`,
    ),
    find: statement(
      `SELECT pid, id, tenant, user_id, owner, generation, keep_ms, cursors FROM session
       WHERE pid = ? AND tenant = ? AND user_id = ? AND ends_at > ?`,
    ),
    claim: statement("UPDATE session SET owner = ?, generation = ? WHERE pid = ?"),
    end: statement("DELETE FROM session WHERE pid = ? AND generation <= ?"),
    prune: statement(
      "DELETE FROM session WHERE pid IN (SELECT pid FROM session WHERE ends_at <= ? ORDER BY ends_at LIMIT ?)",
    ),
    renewLease: statement(
      "INSERT INTO lease (node, ends_at) VALUES (?, ?) ON CONFLICT DO UPDATE SET ends_at = excluded.ends_at",
    ),
    endLease: statement("UPDATE lease SET ends_at = ? WHERE node = ? AND ends_at >= ?"),
    leases: statement("SELECT node, ends_at FROM lease WHERE ends_at > ? ORDER BY node"),
    pruneLeases: statement("DELETE FROM lease WHERE ends_at <= ?"),
  };
}
