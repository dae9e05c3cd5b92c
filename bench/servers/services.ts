import { statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { PostgresServer } from "../../test/support/postgres.ts";
import { RedisServer } from "../../test/support/redis.ts";

export type Service = "redis" | "postgres";

export interface Services extends AsyncDisposable {
  readonly redisUrl: string | undefined;
  readonly postgresUrl: string | undefined;
}

const tmpfsType = 0x01021994;

/**
 * Disposable services of one run, on the generator's core, as this process is. Postgres commits to disk (`fsync=on`).
 * Errors: rejects when one is not installed, and when Postgres's files would lie in memory.
 */
export async function startServices(wanted: readonly Service[], used: boolean): Promise<Services> {
  await using starting = new AsyncDisposableStack();
  const redis = wanted.includes("redis") ? starting.use(await RedisServer.start()) : undefined;
  const postgres = wanted.includes("postgres") ? starting.use(await startPostgres(used)) : undefined;
  const started = starting.move();
  return {
    redisUrl: redis?.url,
    postgresUrl: postgres?.url(),
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  };
}

async function startPostgres(used: boolean): Promise<PostgresServer> {
  if (statfsSync(tmpdir()).type === tmpfsType)
    throw new Error(`${tmpdir()} is in memory: Postgres's fsync would cost nothing there; set TMPDIR`);
  const server = await PostgresServer.start({ fsync: true });
  if (used) for (const statement of logInUse) await server.sql(statement);
  return server;
}

/**
 * Makes 64 segments of Postgres's log (16 MB each) that are there to be used again, as a server has that has run for a
 * while. A new one writes zeros into each segment before it goes on, up to 70 ms. The sizes are such that Postgres keeps them.
 */
const logInUse = [
  "ALTER SYSTEM SET min_wal_size = '1GB'",
  "ALTER SYSTEM SET max_wal_size = '2GB'",
  "SELECT pg_reload_conf()",
  "SELECT pg_logical_emit_message(false, 'bench', ''), pg_switch_wal() FROM generate_series(1, 64)",
  "CHECKPOINT",
];
