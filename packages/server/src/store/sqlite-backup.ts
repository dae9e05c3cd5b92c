import { randomUUID } from "node:crypto";
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { backup, DatabaseSync } from "node:sqlite";
import { lockFolder, openFile, prepareFolder, renewGeneration, storeFile } from "./sqlite-file.ts";
import { BackupRefused, StoreUnusable } from "./store.ts";

/** Pages copied in one step: all, so that the copy is of one snapshot, and a writer meanwhile does not begin it anew. */
const pagesAtOnce = 0x7fffffff;

/**
 * Copies the store in `folder` into the new file `target`, consistent as of one commit, also while a process uses it.
 * Errors: rejects with `BackupRefused` when `target` exists or cannot be written, or the folder holds no store; nothing is
 * left then.
 */
export async function backupSqlite(folder: string, target: string): Promise<void> {
  if (!existsSync(storeFile(folder))) throw new BackupRefused(`there is no store in ${folder}`);
  if (existsSync(target)) throw new BackupRefused(`${target} exists`);
  const partial = partialOf(target);
  try {
    writeFileSync(partial, "", { mode: 0o600, flag: "wx" });
    try {
      using source = new DatabaseSync(storeFile(folder));
      await backup(source, partial, { rate: pagesAtOnce });
      moveDurably(partial, target);
    } finally {
      removeFile(partial);
    }
  } catch (error) {
    throw refusalOf(error, `${target} cannot be made`);
  }
}

/**
 * Makes the store of `folder` from a backup, as a new generation: all epochs change, so that no client takes a position
 * in what was lost for one in what is new.
 * Errors: throws `BackupRefused` when the folder holds a store, or a part of one, or `source` is no backup or cannot be
 * copied, `StoreLocked` when a process uses the folder, `StoreUnusable` when it cannot be written to.
 */
export function restoreSqlite(source: string, folder: string): void {
  if (!existsSync(source)) throw new BackupRefused(`there is no backup ${source}`);
  prepareFolder(folder);
  const lock = lockFolder(folder);
  const target = storeFile(folder);
  const partial = partialOf(target);
  try {
    // Why its log, too: SQLite would take what a killed process left in it for the newest part of the restored store.
    const taken = [target, logOf(target)].find((file) => existsSync(file));
    if (taken !== undefined) throw new BackupRefused(`there is a store in ${folder} already: ${taken}`);
    copyWritable(source, partial);
    // Why: what a killed process had committed last is there, when `source` is its own file or a plain copy of it.
    if (existsSync(logOf(source))) copyWritable(logOf(source), logOf(partial));
    renewCopy(partial, source);
    moveDurably(partial, target);
  } finally {
    removeFile(partial);
    lock.close();
  }
}

/** A backup may be kept read-only. */
function copyWritable(source: string, copy: string): void {
  try {
    copyFileSync(source, copy);
    chmodSync(copy, 0o600);
  } catch (error) {
    throw refusalOf(error, `${source} cannot be copied`);
  }
}

function renewCopy(copy: string, source: string): void {
  try {
    const database = openFile({ file: copy, synchronous: "FULL", create: false });
    try {
      const check = database.prepare("PRAGMA quick_check(1)").get()?.["quick_check"];
      if (check !== "ok") throw new BackupRefused(`${source} is damaged: ${String(check)}`);
      renewGeneration(database);
    } finally {
      database.close();
    }
  } catch (error) {
    if (!(error instanceof StoreUnusable)) throw error;
    throw new BackupRefused(`${source} is no backup of a store: ${error.message}`, { cause: error });
  }
}

/** Where SQLite keeps commits that are not in the file yet. */
function logOf(file: string): string {
  return `${file}-wal`;
}

function partialOf(target: string): string {
  return `${target}.${randomUUID()}.partial`;
}

/** Renames, so that `target` is whole or not there, and syncs the folder, so that it stays. */
function moveDurably(partial: string, target: string): void {
  if (existsSync(target)) throw new BackupRefused(`${target} exists`);
  renameSync(partial, target);
  const folder = openSync(path.dirname(path.resolve(target)), "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** What the system refuses (no such folder, no right, no room) is for who asked to mend. */
function refusalOf(error: unknown, what: string): BackupRefused {
  if (error instanceof BackupRefused) return error;
  return new BackupRefused(`${what} (${error instanceof Error ? error.message : String(error)})`, { cause: error });
}

function removeFile(file: string): void {
  for (const suffix of ["", "-wal", "-shm", "-journal"]) rmSync(file + suffix, { force: true });
}
