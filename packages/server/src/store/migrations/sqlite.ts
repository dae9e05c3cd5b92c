import { sql as logs } from "./sqlite-0001-logs.ts";
import { sql as arrivals } from "./sqlite-0002-arrivals.ts";

/**
 * SQL of each schema version in order: version 1 is the first. Modules, because the published package holds compiled
 * TypeScript only. A version that was released is never changed; the next one expands, a later one contracts.
 */
export const sqliteMigrations: readonly string[] = [logs, arrivals];
