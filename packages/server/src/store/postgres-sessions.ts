import type { Millis } from "../core/log.ts";
import type { Session, Statement } from "./postgres-session.ts";
import { integerOf, readSession, textOf, writeCursors } from "./rows.ts";
import type { Lease, SessionClaim, SessionKey, StoredSession } from "./store.ts";

/** An ended lease is still listed for so long. */
const endedLeaseKeepMs = 600_000;
const pruneRowsMax = 10_000;

export async function putSessions(session: Session, stored: readonly StoredSession[]): Promise<readonly boolean[]> {
  const rows = await session.rows(statements.put, [
    stored.map(({ pid }) => pid),
    stored.map(({ id }) => id),
    stored.map(({ tenant }) => tenant),
    stored.map(({ userId }) => userId),
    stored.map(({ owner }) => owner),
    stored.map(({ generation }) => generation),
    stored.map(({ keepMs }) => keepMs),
    stored.map(({ cursors }) => writeCursors(cursors)),
  ]);
  const written = new Set(rows.map((row) => textOf(row["pid"])));
  return stored.map(({ pid }) => written.has(pid));
}

export async function claimSessions(
  session: Session,
  claims: readonly SessionClaim[],
): Promise<readonly (StoredSession | undefined)[]> {
  const rows = await session.rows(statements.claim, [
    claims.map(({ pid }) => pid),
    claims.map(({ tenant }) => tenant),
    claims.map(({ userId }) => userId),
    claims.map(({ node }) => node),
  ]);
  const claimed = new Map(rows.map((row) => [textOf(row["pid"]), readSession(row)]));
  return claims.map(({ pid }) => claimed.get(pid));
}

export async function endSessions(session: Session, keys: readonly SessionKey[]): Promise<void> {
  await session.rows(statements.end, [keys.map(({ pid }) => pid), keys.map(({ generation }) => generation)]);
}

export async function renewLease(session: Session, node: string, ms: Millis): Promise<void> {
  await session.rows(statements.renewLease, [node, ms]);
}

export async function endLease(session: Session, node: string): Promise<void> {
  await session.rows(statements.endLease, [node]);
}

export async function readLeases(session: Session): Promise<readonly Lease[]> {
  const rows = await session.rows(statements.leases, [endedLeaseKeepMs]);
  return rows.map((row) => ({ node: textOf(row["node"]), remainingMs: integerOf(row["remaining_ms"]) }));
}

/** Deletes some of what nobody asks for any more: journal rows, client ids, sessions, leases. True when there may be more. */
export async function prune(session: Session, before: Millis, clientIdsBefore: Millis): Promise<boolean> {
  const [row] = await session.rows(statements.prune, [before, clientIdsBefore, endedLeaseKeepMs, pruneRowsMax]);
  return row?.["is_more"] === true;
}

const statements = {
  // All that lock several sessions do so in the order of their pids.
  put: {
    name: "put_sessions",
    text: `INSERT INTO session (pid, id, tenant, user_id, owner, generation, keep_ms, ends_at, cursors)
      SELECT pid, id, tenant, user_id, owner, generation, keep_ms, now_ms() + keep_ms, cursors
      FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[])
        AS given (pid, id, tenant, user_id, owner, generation, keep_ms, cursors)
      ORDER BY pid COLLATE "C"
      ON CONFLICT (pid) DO UPDATE SET id = excluded.id, tenant = excluded.tenant, user_id = excluded.user_id,
        owner = excluded.owner, generation = excluded.generation, keep_ms = excluded.keep_ms,
        ends_at = excluded.ends_at, cursors = excluded.cursors
      WHERE session.generation <= excluded.generation
      RETURNING pid`,
  },
  // The rows are read as they are once they are locked: each of racing claims sees the one before it.
  claim: {
    name: "claim_sessions",
    text: `WITH found AS MATERIALIZED (
        SELECT session.*, given.node FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS given (pid, tenant, user_id, node)
        JOIN session ON session.pid = given.pid
        WHERE session.tenant = given.tenant AND session.user_id = given.user_id AND session.ends_at > now_ms()
        ORDER BY session.pid FOR UPDATE OF session
      )
      UPDATE session SET owner = found.node, generation = found.generation + 1 FROM found WHERE session.pid = found.pid
      RETURNING session.pid, session.id, session.tenant, session.user_id, found.owner, session.generation,
        session.keep_ms, session.cursors`,
  },
  end: {
    name: "end_sessions",
    text: `DELETE FROM session WHERE pid IN (
        SELECT session.pid FROM unnest($1::text[], $2::bigint[]) AS given (pid, generation)
        JOIN session ON session.pid = given.pid WHERE session.generation <= given.generation
        ORDER BY session.pid FOR UPDATE OF session
      )`,
  },
  renewLease: {
    name: "renew_lease",
    text: `INSERT INTO lease (node, ends_at) VALUES ($1, now_ms() + $2)
      ON CONFLICT (node) DO UPDATE SET ends_at = excluded.ends_at`,
  },
  endLease: {
    name: "end_lease",
    text: "UPDATE lease SET ends_at = now_ms() - 1 WHERE node = $1 AND ends_at >= now_ms()",
  },
  leases: {
    name: "leases",
    text: "SELECT node, ends_at - now_ms() AS remaining_ms FROM lease WHERE ends_at > now_ms() - $1 ORDER BY node",
  },
  prune: {
    name: "prune",
    text: `WITH journals AS (
        DELETE FROM journal WHERE (node, n) IN (SELECT node, n FROM journal WHERE at < $1 ORDER BY at LIMIT $4)
        RETURNING 1
      ), client_keys AS (
        DELETE FROM client_key WHERE ctid = ANY (ARRAY(
          SELECT ctid FROM client_key WHERE at < $2 ORDER BY at LIMIT $4))
        RETURNING 1
      ), sessions AS (
        DELETE FROM session WHERE pid IN (SELECT pid FROM session WHERE ends_at <= now_ms() ORDER BY ends_at LIMIT $4)
          AND ends_at <= now_ms() -- again, for one that was written meanwhile
        RETURNING 1
      ), leases AS (
        DELETE FROM lease WHERE ends_at <= now_ms() - $3
      )
      SELECT $4 IN ((SELECT count(*) FROM journals), (SELECT count(*) FROM client_keys), (SELECT count(*) FROM sessions))
        AS is_more`,
  },
} as const satisfies Record<string, Statement>;
