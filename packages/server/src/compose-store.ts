import path from "node:path";
import type { Config } from "./config.ts";
import { systemClock } from "./core/clock.ts";
import type { Metrics } from "./http/metrics.ts";
import {
  describePostgres,
  migratePostgres,
  openPostgresStore,
  refusePostgresBackup,
  restoredPostgres,
  showPostgres,
} from "./store/postgres.ts";
import { backupSqlite, openSqliteStore, restoreSqlite } from "./store/sqlite.ts";
import { BackupRefused, type Store } from "./store/store.ts";

/** The store that the settings name. Errors: rejects with `StoreLocked` or `StoreUnusable`. */
export function openStore({ store }: Config, metrics: Metrics): Promise<Store> {
  const parts = {
    clock: systemClock,
    onCommit: (seconds: number, appends: number) => metrics.storeCommitted(seconds, appends),
  };
  return store.url === undefined
    ? openSqliteStore({ folder: path.resolve(store.path), ...parts })
    : openPostgresStore({ url: store.url, ...parts });
}

export async function backupStore(config: Config, target: string): Promise<void> {
  if (config.store.url !== undefined) refusePostgresBackup();
  await backupSqlite(path.resolve(config.store.path), target);
}

export async function restoreStore({ store }: Config, source: string | undefined): Promise<void> {
  if (store.url !== undefined) {
    if (source !== undefined) {
      throw new BackupRefused(
        "this store is in Postgres: restore the database by its own means, then run `parley restore` without a file",
      );
    }
    await restoredPostgres(store.url);
  } else {
    if (source === undefined) throw new BackupRefused("which copy? parley restore FILE");
    restoreSqlite(source, path.resolve(store.path));
  }
}

/** Opening a store brings its schema up to date. */
export async function migrateStore(config: Config): Promise<void> {
  if (config.store.url !== undefined) return migratePostgres(config.store.url);
  const store = await openSqliteStore({ folder: path.resolve(config.store.path), clock: systemClock });
  await store[Symbol.asyncDispose]();
}

export function showStore({ store }: Config): string {
  return store.url === undefined ? store.path : showPostgres(store.url);
}

export async function probeStore({ store }: Config): Promise<{ version: string; fsync: boolean } | undefined> {
  return store.url === undefined ? undefined : describePostgres(store.url);
}
