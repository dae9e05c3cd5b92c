import type { LogId, LogState, Seq } from "../core/log.ts";
import { newSeed } from "./postgres-appends.ts";
import { epochParts, type Session, stateColumns, stateOf, type Statement } from "./postgres-session.ts";
import { integerOf, textOf } from "./rows.ts";
import type { InboxPosition, InboxState } from "./store.ts";

export async function readStates(session: Session, logs: readonly LogId[]): Promise<readonly (LogState | undefined)[]> {
  const rows = await session.rows(statements.states, [logs]);
  return rows.map((row) => stateOf(row, session));
}

export async function createLog(session: Session, log: LogId): Promise<void> {
  await session.rows(statements.create, [log, newSeed()]);
}

/** True when entries are left to delete. */
export async function trimLog(session: Session, log: LogId, floor: Seq): Promise<boolean> {
  return (await session.rows(statements.trim, [log, floor])).length > 0;
}

/** Deletes up to 1,000 entries that nobody sees any more. False: there are none. */
export async function purgeSome(session: Session): Promise<boolean> {
  const rows = await session.rows(statements.purge, []);
  return rows[0]?.["found"] === true;
}

export async function readInboxes(session: Session, logs: readonly LogId[]): Promise<readonly InboxState[]> {
  const rows = await session.rows(statements.inboxes, [logs]);
  return rows.map((row) => ({
    state: stateOf(row, session),
    position: row["epoch"] === null ? undefined : { epoch: textOf(row["epoch"]), seq: integerOf(row["seq"]) },
  }));
}

export async function saveInboxes(session: Session, positions: readonly InboxPosition[]): Promise<void> {
  // Of several positions in one life of a log, which one statement cannot save, the last one counts.
  const last = new Map<string, InboxPosition>();
  for (const position of positions.toSorted((one, other) => one.seq - other.seq)) {
    last.set(JSON.stringify([position.log, position.epoch]), position);
  }
  const known = [...last.values()].flatMap(({ log, epoch, seq }) => {
    const parts = epochParts(epoch);
    return parts === undefined ? [] : [{ log, epoch, seq, ...parts }];
  });
  await session.rows(statements.saveInboxes, [
    known.map(({ log }) => log),
    known.map(({ epoch }) => epoch),
    known.map(({ seq }) => seq),
    known.map(({ life }) => life),
    known.map(({ generation }) => generation),
    session.cluster,
  ]);
}

const garbageRows = (table: string): string => `
  DELETE FROM ${table} WHERE (log, life, seq) IN (
    SELECT gone.log, gone.life, gone.seq FROM item CROSS JOIN LATERAL (
      SELECT log, life, seq FROM ${table} AS inner_rows
      WHERE inner_rows.log = item.log AND inner_rows.life = item.life AND inner_rows.seq < item.until
      ORDER BY seq LIMIT 1000
    ) AS gone
  ) RETURNING 1`;

const statements = {
  states: {
    name: "states",
    text: `SELECT ${stateColumns} FROM unnest($1::text[]) WITH ORDINALITY AS given (name, place)
      LEFT JOIN log l ON l.name = given.name ORDER BY place`,
  },
  create: {
    name: "create_log",
    text: `INSERT INTO log (name, life, head, floor, retain_entries_max)
      VALUES ($1, hashtextextended($1, $2) & 9007199254740991, 0, 1, 0) ON CONFLICT (name) DO NOTHING`,
  },
  trim: {
    name: "trim_log",
    text: `WITH raised AS (
        UPDATE log SET floor = least($2, head + 1) WHERE name = $1 AND floor < least($2, head + 1)
        RETURNING name, life, floor
      )
      INSERT INTO garbage (log, life, until) SELECT name, life, floor FROM raised
      ON CONFLICT (log, life) DO UPDATE SET until = greatest(garbage.until, excluded.until) RETURNING 1`,
  },
  purge: {
    name: "purge_some",
    text: `WITH item AS MATERIALIZED (SELECT log, life, until FROM garbage LIMIT 1 FOR UPDATE SKIP LOCKED),
      messages AS (${garbageRows("message")}),
      others AS (${garbageRows("other_entry")}),
      done AS (
        DELETE FROM garbage USING item WHERE garbage.log = item.log AND garbage.life = item.life
        AND (SELECT count(*) FROM messages) < 1000 AND (SELECT count(*) FROM others) < 1000
      )
      SELECT EXISTS (SELECT FROM item) AS found`,
  },
  inboxes: {
    name: "inboxes",
    text: `SELECT ${stateColumns}, inbox.epoch, inbox.seq
      FROM unnest($1::text[]) WITH ORDINALITY AS given (name, place)
      LEFT JOIN log l ON l.name = given.name LEFT JOIN inbox ON inbox.log = given.name ORDER BY place`,
  },
  saveInboxes: {
    name: "save_inboxes",
    text: `INSERT INTO inbox (log, epoch, seq)
      SELECT given.log, given.epoch, given.seq
      FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[]) AS given (log, epoch, seq, life, generation)
      JOIN log l ON l.name = given.log AND l.life = given.life
      WHERE given.generation = (SELECT value FROM store WHERE name = 'generation') || '.' || $6
      ORDER BY l.name
      ON CONFLICT (log) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq
      WHERE excluded.epoch <> inbox.epoch OR excluded.seq > inbox.seq`,
  },
} as const satisfies Record<string, Statement>;
