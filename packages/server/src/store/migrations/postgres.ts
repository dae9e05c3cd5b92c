import { sql as logs } from "./postgres-0001-logs.ts";

/** SQL of each schema version in order, as for SQLite: nodes of version n and n − 1 run on it together. */
export const postgresMigrations: readonly string[] = [logs];
