import { Client, escapeIdentifier } from "pg";
import { postgresMigrations } from "./migrations/postgres.ts";
import { type PostgresAddress, storeUrlSetting } from "./postgres-address.ts";
import { reasonOf } from "./postgres-errors.ts";
import { newGeneration } from "./postgres-session.ts";
import { integerOf, type Row } from "./rows.ts";
import { StoreUnusable } from "./store.ts";

/**
 * Creates the schema when it is missing and brings it up to date. Of nodes that start at once, one does it while the
 * others wait. Errors: rejects with `StoreUnusable`, also when the server cannot be reached.
 */
export async function migrate(address: PostgresAddress): Promise<void> {
  await withClient(address, async (client) => {
    // Why a lock of the session: it outlasts the transaction of each version.
    await client.query("SELECT pg_advisory_lock(hashtextextended('parley schema ' || $1, 0))", [address.schema]);
    const version = await schemaVersion(client, address);
    for (const [index, sql] of postgresMigrations.entries()) {
      if (index < version) continue;
      await client.query("BEGIN");
      await client.query(sql);
      if (index === 0) {
        await client.query("INSERT INTO store (name, value) VALUES ('generation', $1)", [newGeneration()]);
      }
      await client.query("INSERT INTO parley_schema (version) VALUES ($1)", [index + 1]);
      await client.query("COMMIT");
    }
  });
}

/** Begins a new generation of the store, so that every epoch changes. Errors: rejects with `StoreUnusable`. */
export async function renewGeneration(address: PostgresAddress): Promise<void> {
  await migrate(address);
  await withClient(address, async (client) => {
    await client.query("UPDATE store SET value = $1 WHERE name = 'generation'", [newGeneration()]);
  });
}

/** What `parley doctor` says of the server. Errors: rejects with `StoreUnusable`. */
export async function describeServer(address: PostgresAddress): Promise<{ version: string; fsync: boolean }> {
  return withClient(address, async (client) => {
    const { rows } = await client.query<Row>(
      "SELECT current_setting('server_version') AS version, current_setting('fsync') AS fsync",
    );
    return { version: String(rows[0]?.["version"]), fsync: rows[0]?.["fsync"] === "on" };
  });
}

async function withClient<Value>(
  { connection, schema, shown }: PostgresAddress,
  work: (client: Client) => Promise<Value>,
): Promise<Value> {
  // Without a limit of time: a migration of a large store, or the wait for another node's, takes as long as it takes.
  const client = new Client({ ...connection, query_timeout: 0 });
  client.on("error", () => undefined);
  try {
    await client.connect();
    await client.query("SELECT set_config('search_path', $1, false), set_config('statement_timeout', '0', false)", [
      schema,
    ]);
    return await work(client);
  } catch (error) {
    if (error instanceof StoreUnusable) throw error;
    throw new StoreUnusable(
      storeUrlSetting,
      `the store at ${shown} cannot be opened (${reasonOf(error)}): see ${storeUrlSetting}`,
      { cause: error },
    );
  } finally {
    client.end().catch(() => undefined);
  }
}

/** 0 for a new schema. Errors: rejects with `StoreUnusable` for one of something else, or of a newer version. */
async function schemaVersion(client: Client, { schema, shown }: PostgresAddress): Promise<number> {
  const { rows } = await client.query<Row>(
    `SELECT to_regnamespace($1) IS NOT NULL AS exists, to_regclass($1 || '.parley_schema') IS NOT NULL AS ours,
       (SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace($1)) AS relations`,
    [schema],
  );
  const { exists, ours, relations } = rows[0] ?? {};
  if (ours !== true) {
    if (integerOf(relations) > 0) {
      throw new StoreUnusable(
        storeUrlSetting,
        `${shown} holds tables that are not Parley's: choose another schema in ${storeUrlSetting}`,
      );
    }
    if (exists !== true) await client.query(`CREATE SCHEMA ${escapeIdentifier(schema)}`);
    await client.query(
      "CREATE TABLE parley_schema (version int PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())",
    );
    return 0;
  }
  const found = await client.query<Row>("SELECT coalesce(max(version), 0) AS version FROM parley_schema");
  const version = integerOf(found.rows[0]?.["version"]);
  if (version > postgresMigrations.length) {
    throw new StoreUnusable(
      storeUrlSetting,
      `the store at ${shown} was written by a newer version of Parley (schema ${version}): see ${storeUrlSetting}`,
    );
  }
  return version;
}
