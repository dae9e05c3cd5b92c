import { randomBytes } from "node:crypto";
import { accessSync, chmodSync, closeSync, constants, existsSync, mkdirSync, openSync } from "node:fs";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { sqliteMigrations } from "./migrations/sqlite.ts";
import { integerOf, textOf } from "./rows.ts";
import { StoreLocked, StoreUnusable } from "./store.ts";

/** The setting that names the folder, in the file and in the environment. */
export const storeSetting = "store.path (PARLEY_STORE_PATH)";

/** "PRLY": written into each store, so that another application's file is never taken for one. */
const applicationId = 0x50524c59;
/** The rights of the file. */
const ownerOnly = 0o600;
const busyTimeoutMs = 5_000;
const cacheKibibytes = 65_536;
/** 4 MB of log between checkpoints. Four times as much is hardly faster, and the commit that waits for one takes twice as long. */
const checkpointPages = 1_000;

export function storeFile(folder: string): string {
  return path.join(folder, "parley.db");
}

/** Creates the folder, readable by its owner alone. Errors: throws `StoreUnusable`. */
export function prepareFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw unusable(folder, "cannot be written to", error);
  }
}

/**
 * Keeps every other process out of the folder, until `close` or the end of this process, however it comes.
 * Why a file of its own: while it is locked, another process may still read the store, to back it up.
 * Errors: throws `StoreLocked`, or `StoreUnusable`.
 */
export function lockFolder(folder: string): { close(): void } {
  try {
    const lock = new DatabaseSync(path.join(folder, "parley.lock"));
    lock.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
    return lock;
  } catch (error) {
    if (errorCodeOf(error) !== sqliteCodes.busy) throw unusable(folder, "cannot be locked", error);
    throw new StoreLocked(
      storeSetting,
      `another process uses the store in ${folder}: give each node its own ${storeSetting}`,
    );
  }
}

export type Synchronous = "FULL" | "OFF";

/**
 * Opens the store's file, creates it when it is missing and `create` says so, and brings its schema up to date.
 * Errors: throws `StoreUnusable`.
 */
export function openFile(options: { file: string; synchronous: Synchronous; create: boolean }): DatabaseSync {
  const { file, synchronous, create } = options;
  let database: DatabaseSync | undefined;
  try {
    if (create && !existsSync(file)) closeSync(openSync(file, "a", ownerOnly));
    accessSync(file, constants.R_OK | constants.W_OK);
    // Why before it is opened: the files that SQLite makes beside it get its rights, and hold what was written last.
    chmodSync(file, ownerOnly);
    database = new DatabaseSync(file, { timeout: busyTimeoutMs });
    database.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = ${synchronous};
      PRAGMA cache_size = -${cacheKibibytes};
      PRAGMA wal_autocheckpoint = ${checkpointPages};
    `);
    // Why: a commit that a killed process wrote and never synced is visible now. It must be durable before it counts.
    database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    migrate(database, create);
    return database;
  } catch (error) {
    database?.close();
    throw error instanceof StoreUnusable ? error : unusable(file, "cannot be opened", error);
  }
}

/** The store's generation: part of every epoch; a restore makes a new one. */
export function generationOf(database: DatabaseSync): string {
  return textOf(database.prepare("SELECT value FROM store WHERE name = 'generation'").get()?.["value"]);
}

export function renewGeneration(database: DatabaseSync): void {
  database
    .prepare(
      "INSERT INTO store (name, value) VALUES ('generation', ?) ON CONFLICT DO UPDATE SET value = excluded.value",
    )
    .run(randomBytes(4).toString("base64url"));
}

/** Errors: throws `StoreUnusable` for a file of another application or of a newer version, and, unless `create`, for an empty one. */
function migrate(database: DatabaseSync, create: boolean): void {
  const version = pragma(database, "user_version");
  const application = pragma(database, "application_id");
  if (create && version === 0 && application === 0 && pragma(database, "schema_version") === 0) {
    database.exec(`PRAGMA application_id = ${applicationId}`);
  } else if (application !== applicationId) {
    throw new StoreUnusable(
      storeSetting,
      `${database.location()} is no store of Parley: choose another ${storeSetting}`,
    );
  }
  if (version > sqliteMigrations.length) {
    throw new StoreUnusable(
      storeSetting,
      `${database.location()} was written by a newer version of Parley (schema ${version})`,
    );
  }
  for (const [index, sql] of sqliteMigrations.entries()) {
    if (index < version) continue;
    database.exec("BEGIN IMMEDIATE");
    database.exec(sql);
    if (index === 0) renewGeneration(database);
    database.exec(`PRAGMA user_version = ${index + 1}`);
    database.exec("COMMIT");
  }
}

function pragma(database: DatabaseSync, name: string): number {
  return integerOf(database.prepare(`PRAGMA ${name}`).get()?.[name]);
}

function unusable(where: string, what: string, cause: unknown): StoreUnusable {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new StoreUnusable(storeSetting, `${where} ${what} (${reason}): see ${storeSetting}`, { cause });
}

/** SQLite's primary result codes that decide something here. https://sqlite.org/rescode.html */
export const sqliteCodes = { error: 1, busy: 5, locked: 6, full: 13, constraint: 19, mismatch: 20, range: 25 } as const;

/** The primary result code of an error of `node:sqlite`; undefined for any other error. */
export function errorCodeOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !("errcode" in error) || typeof error.errcode !== "number") return undefined;
  return error.errcode & 0xff;
}
