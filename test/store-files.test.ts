import { existsSync } from "node:fs";
import { chmod, cp, mkdir, open, readdir, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, expect, test } from "vitest";
import { systemClock } from "../packages/server/src/core/clock.ts";
import { logId } from "../packages/server/src/core/log.ts";
import { append, entriesAfter, room, textsOf, Writer } from "../packages/server/src/store/contract-steps.contract.ts";
import { backupSqlite, openSqliteStore, restoreSqlite } from "../packages/server/src/store/sqlite.ts";
import { BackupRefused, type Store, StoreLocked, StoreUnusable } from "../packages/server/src/store/store.ts";
import { eventually } from "./support/eventually.ts";
import { spawnNode, type TestProcess } from "./support/process.ts";
import { createTemporaryFolder } from "./support/temporary-folder.ts";

const setting = "store.path (PARLEY_STORE_PATH)";

function openStore(folder: string): Promise<Store> {
  return openSqliteStore({ folder, clock: systemClock });
}

function spawnStore(folder: string, batches: number): Promise<TestProcess> {
  return spawnNode(["test/support/store-process.ts", folder, String(batches)]);
}

async function total(store: Store): Promise<number> {
  const states = await store.states([0, 1, 2].map((number) => logId("default", `room-${number}`)));
  return states.reduce((sum, state) => sum + (state?.head ?? 0), 0);
}

describe("the folder of a store", { timeout: 120_000 }, () => {
  test("a second process, and a second store in one process, are told that the folder is taken", async () => {
    await using folder = await createTemporaryFolder();
    await using owner = await spawnStore(folder.path, 1);
    await owner.waitForLine(/^waiting$/);
    const refused = openStore(folder.path);
    await expect(refused).rejects.toBeInstanceOf(StoreLocked);
    await expect(refused).rejects.toMatchObject({ setting, message: expect.stringContaining("PARLEY_STORE_PATH") });
    expect(() => restoreSqlite(path.join(folder.path, "parley.db"), folder.path)).toThrow(StoreLocked);
    await owner.stop("SIGKILL");
    await using store = await openStore(folder.path);
    expect(await total(store)).toBe(2);
    await expect(openStore(folder.path)).rejects.toBeInstanceOf(StoreLocked);
  });

  test("a folder that was given free can be opened again", async () => {
    await using folder = await createTemporaryFolder();
    for (let round = 0; round < 3; round++) {
      await using store = await openStore(folder.path);
      await new Writer(store, `node-${round}`).append(append("x"));
      expect(await store.open(room)).toMatchObject({ head: round + 1 });
    }
    expect((await readdir(folder.path)).toSorted()).toEqual(["parley.db", "parley.lock"]);
  });

  test("what lies in it is for its owner alone", async () => {
    await using folder = await createTemporaryFolder();
    const data = path.join(folder.path, "a", "b");
    await using store = await openStore(data);
    await store.open(room);
    expect((await stat(data)).mode & 0o777).toBe(0o700);
  });

  test("the store's files are for their owner alone, also in a folder that all may read", async () => {
    await using folder = await createTemporaryFolder();
    await chmod(folder.path, 0o755);
    await using store = await openStore(folder.path);
    await new Writer(store).append(append("secret"));
    const files = (await readdir(folder.path)).filter((name) => name.startsWith("parley.db"));
    expect(files.toSorted()).toEqual(["parley.db", "parley.db-shm", "parley.db-wal"]);
    for (const file of files)
      expect([file, (await stat(path.join(folder.path, file))).mode & 0o077]).toEqual([file, 0]);
  });

  test("a folder that cannot be made or written to is named with its setting", async () => {
    await using folder = await createTemporaryFolder();
    const file = path.join(folder.path, "file");
    await writeFile(file, "");
    for (const unusable of [file, path.join(file, "below"), "/sys/parley"]) {
      const refused = openStore(unusable);
      await expect(refused).rejects.toBeInstanceOf(StoreUnusable);
      await expect(refused).rejects.toMatchObject({ setting, message: expect.stringContaining(unusable) });
    }
  });

  test("a file that is damaged, another application's or a newer version's is left as it is", async () => {
    await using folder = await createTemporaryFolder();
    const spoil: Record<string, (file: string) => Promise<void> | void> = {
      garbage: (file) => writeFile(file, "no database at all ".repeat(1_000)),
      other: (file) => {
        using database = new DatabaseSync(file);
        database.exec("CREATE TABLE theirs (x)");
      },
      newer: async (file) => {
        await (await openStore(path.dirname(file)))[Symbol.asyncDispose]();
        using database = new DatabaseSync(file);
        database.exec("PRAGMA user_version = 99");
      },
      damaged: async (file) => {
        await (await openStore(path.dirname(file)))[Symbol.asyncDispose]();
        await using handle = await open(file, "r+");
        await handle.write(Buffer.alloc(4_096, 0xff), 0, 4_096, 100);
      },
    };
    for (const [name, prepare] of Object.entries(spoil)) {
      const data = path.join(folder.path, name);
      await mkdir(data);
      await prepare(path.join(data, "parley.db"));
      const before = (await stat(path.join(data, "parley.db"))).size;
      const refused = openStore(data);
      await expect(refused).rejects.toBeInstanceOf(StoreUnusable);
      await expect(refused).rejects.toMatchObject({ setting });
      expect([name, (await stat(path.join(data, "parley.db"))).size]).toEqual([name, before]);
      await rm(path.join(data, "parley.db"));
      await (await openStore(data))[Symbol.asyncDispose]();
    }
  });
});

describe("what is trimmed or deleted", () => {
  test("leaves the file, in the background, and the room it took is used again", async () => {
    await using folder = await createTemporaryFolder();
    await using store = await openStore(folder.path);
    const writer = new Writer(store);
    const other = logId("default", "room-2");
    for (let batch = 0; batch < 6; batch++) {
      await writer.append(
        ...Array.from({ length: 1_000 }, () => append("x".repeat(100), { log: batch % 2 === 0 ? room : other })),
      );
    }
    await store.trim(room, 2_501);
    await store.deleteRoom(other);
    using reader = new DatabaseSync(path.join(folder.path, "parley.db"));
    const rows = (): unknown => reader.prepare("SELECT count(*) AS rows FROM message").get()?.["rows"];
    expect(await eventually("500 rows", () => (rows() === 500 ? 500 : undefined))).toBe(500);
    expect(reader.prepare("SELECT name, head, floor, purged FROM log").all()).toEqual([
      { name: room, head: 3_000, floor: 2_501, purged: 2_501 },
    ]);
    expect(await entriesAfter(store, room, 0)).toHaveLength(500);
    expect(await store.states([other])).toEqual([undefined]);
  });

  test("leaves the file with the append that pushed it below the floor", async () => {
    await using folder = await createTemporaryFolder();
    await using store = await openStore(folder.path);
    const writer = new Writer(store);
    await store.putRoom({ log: room, access: "public", retainEntriesMax: 10, createdAt: 0 });
    for (let batch = 0; batch < 20; batch++) await writer.append(append("x"), append("y"), append("z"));
    using reader = new DatabaseSync(path.join(folder.path, "parley.db"));
    expect(reader.prepare("SELECT count(*) AS rows FROM message").get()).toEqual({ rows: 10 });
  });
});

describe("backup and restore", { timeout: 120_000 }, () => {
  test("[LOG-1] a copy of a store that is written to meanwhile holds all that was acknowledged, as of one commit", async () => {
    await using folder = await createTemporaryFolder();
    const data = path.join(folder.path, "data");
    await using owner = await spawnStore(data, 0);
    await owner.waitForLine(/^ack/);
    for (let copy = 1; copy <= 3; copy++) {
      const acknowledged = owner.stdout.split("\n").filter((line) => line.startsWith("ack ")).length - 1;
      const target = path.join(folder.path, `backup-${copy}.db`);
      await backupSqlite(data, target);
      const restored = path.join(folder.path, `restored-${copy}`);
      restoreSqlite(target, restored);
      await using store = await openStore(restored);
      const rows = await readAllJournal(store);
      expect(rows).toBeGreaterThanOrEqual(acknowledged);
      expect(await total(store)).toBe(appendsOf(rows));
      expect(await entriesAfter(store, logId("default", "room-0"), 0)).not.toEqual([]);
    }
    await eventually("appends after the copies", () => (owner.stdout.endsWith("\n") ? true : undefined));
  });

  test("a copy is not made over a file, nor of nothing, and leaves no part behind", async () => {
    await using folder = await createTemporaryFolder();
    const data = path.join(folder.path, "data");
    await using store = await openStore(data);
    const taken = path.join(folder.path, "taken");
    await writeFile(taken, "mine");
    await expect(store.backup(taken)).rejects.toBeInstanceOf(BackupRefused);
    await expect(backupSqlite(path.join(folder.path, "none"), path.join(folder.path, "new"))).rejects.toBeInstanceOf(
      BackupRefused,
    );
    await expect(store.backup(path.join(folder.path, "no", "folder"))).rejects.toThrow(BackupRefused);
    await store.backup(path.join(folder.path, "made"));
    expect((await stat(path.join(folder.path, "made"))).mode & 0o077).toBe(0);
    expect((await readdir(folder.path)).toSorted()).toEqual(["data", "made", "taken"]);
  });

  test("a restore is refused over a store, from nothing and from what is no store, and changes nothing", async () => {
    await using folder = await createTemporaryFolder();
    const data = path.join(folder.path, "data");
    const backup = path.join(folder.path, "backup");
    {
      await using store = await openStore(data);
      await new Writer(store).append(append("kept"));
      await store.backup(backup);
    }
    const garbage = path.join(folder.path, "garbage");
    await writeFile(garbage, "no database at all ".repeat(1_000));
    const nothing = path.join(folder.path, "nothing");
    await writeFile(nothing, "");
    const empty = path.join(folder.path, "empty");
    expect(() => restoreSqlite(backup, data)).toThrow(BackupRefused);
    for (const source of [path.join(folder.path, "none"), garbage, nothing, folder.path])
      expect(() => restoreSqlite(source, empty)).toThrow(BackupRefused);
    expect(existsSync(path.join(empty, "parley.db"))).toBe(false);
    restoreSqlite(backup, empty);
    expect((await readdir(empty)).toSorted()).toEqual(["parley.db", "parley.lock"]);
    await using store = await openStore(data);
    expect(textsOf(await entriesAfter(store, room, 0))).toEqual(["kept"]);
  });

  test("[LOG-1] a restore is refused where a killed process left a part of its store", async () => {
    await using folder = await createTemporaryFolder();
    const data = path.join(folder.path, "data");
    const killed = path.join(folder.path, "killed");
    const backup = path.join(folder.path, "backup");
    await using store = await openStore(data);
    await store.backup(backup);
    await new Writer(store).append(append("after the backup"));
    await cp(data, killed, { recursive: true });
    await rm(path.join(killed, "parley.db"));
    expect(() => restoreSqlite(backup, killed)).toThrow(/parley\.db-wal/);
    expect(existsSync(path.join(killed, "parley.db"))).toBe(false);
  });

  test("[LOG-1] what a killed process had not moved into its file yet is restored from that file, too", async () => {
    await using folder = await createTemporaryFolder();
    const data = path.join(folder.path, "data");
    const killed = path.join(folder.path, "killed");
    const restored = path.join(folder.path, "restored");
    await using store = await openStore(data);
    await new Writer(store).append(append("acknowledged"));
    await cp(data, killed, { recursive: true });
    restoreSqlite(path.join(killed, "parley.db"), restored);
    expect((await readdir(restored)).toSorted()).toEqual(["parley.db", "parley.lock"]);
    await using copy = await openStore(restored);
    expect(textsOf(await entriesAfter(copy, room, 0))).toEqual(["acknowledged"]);
  });

  test("two restores of one backup are two generations", async () => {
    await using folder = await createTemporaryFolder();
    const epochs = new Set<string>();
    const backup = path.join(folder.path, "backup");
    {
      await using store = await openStore(path.join(folder.path, "data"));
      epochs.add((await store.open(room)).epoch);
      await store.backup(backup);
      await chmod(backup, 0o400);
    }
    for (const name of ["one", "two"]) {
      restoreSqlite(backup, path.join(folder.path, name));
      await using store = await openStore(path.join(folder.path, name));
      epochs.add((await store.open(room)).epoch);
    }
    expect(epochs.size).toBe(3);
  });
});

/** Batches in the journal. */
async function readAllJournal(store: Store): Promise<number> {
  const seen = new Map<string, number>();
  let rows = 0;
  for (;;) {
    const page = await store.readJournal(seen, 1_000);
    if (page.length === 0) return rows;
    rows += page.length;
    for (const { node, n } of page) seen.set(node, n);
  }
}

/** Entries in the first batches of the process. */
function appendsOf(batches: number): number {
  return Array.from({ length: batches }, (_, index) => 1 + ((index + 1) % 20)).reduce((sum, count) => sum + count, 0);
}
