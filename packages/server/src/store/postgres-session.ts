import { hash, randomBytes } from "node:crypto";
import type { ClientBase } from "pg";
import { statementTimeoutMs, storeUrlSetting } from "./postgres-address.ts";
import { sqlStateOf } from "./postgres-errors.ts";
import type { Epoch, LogId, LogState, Seq } from "../core/log.ts";
import { integerOf, type Row, textOf } from "./rows.ts";
import { StoreUnavailable, StoreUnusable } from "./store.ts";

/** A statement, which the server prepares under its name on each connection that uses it. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

export interface Session {
  /** The life of the database itself, part of every epoch: another after a failover, and on another server. */
  readonly cluster: string;
  rows(statement: Statement, values: readonly unknown[]): Promise<readonly Row[]>;
  /** `BEGIN`, `COMMIT` or `ROLLBACK`; gives which of them the server did: a failed transaction's commit is a rollback. */
  control(command: "BEGIN" | "COMMIT" | "ROLLBACK"): Promise<string>;
}

/** Where a log stood after this node's last commit, and the generations, the store's and the cluster's, that this node has committed in. */
export interface Witness {
  readonly log: LogId;
  readonly life: number;
  readonly head: Seq;
  readonly generations: ReadonlySet<string>;
}

/**
 * Makes a new connection ready: names, time limits, durability, plans by index alone (every statement of the store
 * finds its rows by key; a plan that was made while a table was empty must not scan it when it has grown), and pages
 * that go to the disk soon after they are written, unless the server is set up otherwise: collected by the system for
 * half a minute they go all at once, and commits wait behind them for a tenth of a second and more.
 * Errors: rejects with `StoreUnavailable` on a standby, with `StoreUnusable` when the database cannot hold the store,
 * and with the client's own.
 */
export async function beginSession(client: ClientBase, schema: string, witness: Witness | null): Promise<Session> {
  const { rows } = await client.query<Row>(
    `SELECT pg_is_in_recovery() AS standby, current_setting('server_encoding') AS encoding,
       set_config('search_path', $1, false), set_config('statement_timeout', $2, false),
       set_config('idle_in_transaction_session_timeout', $2, false),
       set_config('default_transaction_isolation', 'read committed', false),
       set_config('default_transaction_read_only', 'off', false),
       set_config('synchronous_commit',
         CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false),
       set_config('enable_seqscan', 'off', false), set_config('enable_hashjoin', 'off', false),
       set_config('enable_mergejoin', 'off', false), set_config('enable_bitmapscan', 'off', false), set_config('jit', 'off', false),
       (SELECT set_config(name, '1MB', false) FROM pg_settings
        WHERE name = 'backend_flush_after' AND setting = '0' AND context = 'user')`,
    [schema, String(statementTimeoutMs)],
  );
  if (rows[0]?.["standby"] === true) throw new StoreUnavailable("this Postgres server is a standby");
  if (rows[0]?.["encoding"] !== "UTF8") {
    throw new StoreUnusable(
      storeUrlSetting,
      `the database's encoding is not UTF8: choose another in ${storeUrlSetting}`,
    );
  }
  const session = sessionOf(client, await clusterOf(client));
  if (witness !== null) await renewIfFallenBack(session, witness);
  return session;
}

function sessionOf(client: ClientBase, cluster: string): Session {
  return {
    cluster,
    async rows({ name, text }, values) {
      const parameters = [...values];
      try {
        const { rows } = await client.query<Row>({ name, text, values: parameters });
        return rows.splice(0);
      } finally {
        // Why: the client assigns functions to its queries, and V8 makes such a function an old object at once. What
        // it still leads to outlives every collection of young objects: with the parameters of appends, that is 20 MB/s.
        parameters.length = 0;
      }
    },
    async control(command) {
      return (await client.query(command)).command;
    },
  };
}

/** Stands for the server's identity and its timeline, which a promoted standby changes. */
async function clusterOf(client: ClientBase): Promise<string> {
  try {
    const { rows } = await client.query<Row>(
      `SELECT system_identifier::text AS identity, left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline
       FROM pg_control_system()`,
    );
    return hash("sha1", `${textOf(rows[0]?.["identity"])} ${textOf(rows[0]?.["timeline"])}`, "base64url").slice(0, 8);
  } catch (error) {
    // Postgres in name alone, as some managed ones, have no such functions, or not for everyone. What else fails may
    // pass, and would have begun other epochs, on this connection alone.
    if (!/^(0A|42)/.test(sqlStateOf(error) ?? "")) throw error;
    return "0";
  }
}

/**
 * A log that lost entries which this node committed: the database was set back, on the same timeline. Then its epochs
 * must change before anyone reads. A generation or timeline that this node has not committed in has other epochs already:
 * clients that have begun there must not be told to start over twice.
 */
async function renewIfFallenBack(session: Session, { log, life, head, generations }: Witness): Promise<void> {
  const [row] = await session.rows(statements.witnessed, [log]);
  if (row === undefined || integerOf(row["life"]) !== life || integerOf(row["head"]) >= head) return;
  const generation = textOf(row["generation"]);
  if (generations.has(`${generation}.${session.cluster}`))
    await session.rows(statements.renew, [newGeneration(), generation]);
}

export function newGeneration(): string {
  return randomBytes(6).toString("base64url");
}

const statements = {
  witnessed: {
    name: "witnessed",
    text: "SELECT life, head, (SELECT value FROM store WHERE name = 'generation') AS generation FROM log WHERE name = $1",
  },
  renew: {
    name: "renew_generation",
    text: "UPDATE store SET value = $1 WHERE name = 'generation' AND value = $2",
  },
} as const satisfies Record<string, Statement>;

/** `generation`: the store's and the cluster's, as journal rows have them. */
export function epochOf(life: number, generation: string): Epoch {
  return `${life.toString(36)}.${generation}`;
}

/** What an epoch was made of; undefined for one that no Postgres store gave. */
export function epochParts(epoch: Epoch): { readonly life: number; readonly generation: string } | undefined {
  const dot = epoch.indexOf(".");
  const life = Number.parseInt(epoch.slice(0, dot), 36);
  return Number.isSafeInteger(life) ? { life, generation: epoch.slice(dot + 1) } : undefined;
}

/** Columns of table `log`, aliased `l`, for `stateOf`. */
export const stateColumns =
  "l.life, l.head, l.floor, (SELECT value FROM store WHERE name = 'generation') AS generation";

/** Undefined where there is no log. */
export function stateOf(row: Row, { cluster }: Session): LogState | undefined {
  if (row["life"] === null) return undefined;
  const epoch = epochOf(integerOf(row["life"]), `${textOf(row["generation"])}.${cluster}`);
  return { epoch, head: integerOf(row["head"]), floor: integerOf(row["floor"]) };
}
