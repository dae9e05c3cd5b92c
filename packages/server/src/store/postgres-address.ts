import { type ClientConfig, TypeOverrides, types } from "pg";
import { StoreUnusable } from "./store.ts";

/** The setting that names the server, in the file and in the environment. */
export const storeUrlSetting = "store.url (PARLEY_STORE_URL)";

/** Where the store is. `connection` holds the password; `shown` does not. */
export interface PostgresAddress {
  readonly connection: ClientConfig;
  readonly schema: string;
  readonly shown: string;
}

const schemaDefault = "parley";
const schemaPattern = /^[a-z_][a-z0-9_]{0,62}$/;
const connectTimeoutMs = 5_000;

/**
 * A statement that takes longer is ended by the server: so long after a node was heard of last, a commit of it may still
 * land.
 */
export const statementTimeoutMs = 10_000;
/** The server was given its time, and then did not answer: the connection is taken for lost. */
const answerTimeoutMs = statementTimeoutMs + 5_000;

/**
 * Reads `postgres://user:password@host:port/database?schema=parley`. What else stands after the question mark is
 * libpq's (`sslmode`, `host`, …). Errors: throws `StoreUnusable`.
 */
export function readAddress(url: string): PostgresAddress {
  if (!URL.canParse(url)) throw new StoreUnusable(storeUrlSetting, `${storeUrlSetting} is no postgres:// address`);
  const parsed = new URL(url);
  const schema = parsed.searchParams.get("schema") ?? schemaDefault;
  if (!schemaPattern.test(schema)) {
    throw new StoreUnusable(
      storeUrlSetting,
      `${JSON.stringify(schema)} is no name for a schema (small letters, digits and _): see ${storeUrlSetting}`,
    );
  }
  parsed.searchParams.delete("schema");
  return {
    connection: {
      connectionString: parsed.href,
      fallback_application_name: "parley",
      connectionTimeoutMillis: connectTimeoutMs,
      query_timeout: answerTimeoutMs,
      keepAlive: true,
      types: numbersForBigints(),
    },
    schema,
    shown: `${parsed.host}${parsed.pathname}, schema ${schema}`,
  };
}

// Why numbers: all that the store keeps in a bigint is a safe integer.
function numbersForBigints(): TypeOverrides {
  const overrides = new TypeOverrides();
  overrides.setTypeParser(types.builtins.INT8, Number);
  return overrides;
}
