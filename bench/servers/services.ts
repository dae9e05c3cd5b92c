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
export async function startServices(wanted: readonly Service[]): Promise<Services> {
  await using starting = new AsyncDisposableStack();
  const redis = wanted.includes("redis") ? starting.use(await RedisServer.start()) : undefined;
  const postgres = wanted.includes("postgres") ? starting.use(await startPostgres()) : undefined;
  const started = starting.move();
  return {
    redisUrl: redis?.url,
    postgresUrl: postgres?.url(),
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  };
}

function startPostgres(): Promise<PostgresServer> {
  if (statfsSync(tmpdir()).type === tmpfsType)
    throw new Error(`${tmpdir()} is in memory: Postgres's fsync would cost nothing there; set TMPDIR`);
  return PostgresServer.start({ fsync: true });
}
