import { DatabaseSync } from "node:sqlite";
import { describe, expect, test } from "vitest";
import { bodyDigest, ClientIds, clientIdKey, type KnownClientId } from "./client-ids.ts";
import { sqliteMigrations } from "./migrations/sqlite.ts";

const batchSize = 1_000;

function openDatabase(): DatabaseSync {
  const database = new DatabaseSync(":memory:");
  for (const sql of sqliteMigrations) database.exec(sql);
  return database;
}

function keyOf(number: number): string {
  return clientIdKey(1, "anna", `client ${number}`);
}

function known(number: number): KnownClientId {
  return { seq: number, id: `id-${number}`, at: number, body: bodyDigest("message", `${number}`) };
}

/** Adds the ids from `from` on as one transaction, which is taken back when `fails`. */
function addBatch(database: DatabaseSync, clientIds: ClientIds, from: number, fails = false): void {
  database.exec("BEGIN");
  for (let number = from; number < from + batchSize; number++) clientIds.add(keyOf(number), known(number));
  clientIds.write();
  database.exec(fails ? "ROLLBACK" : "COMMIT");
  if (fails) clientIds.rollback();
  else clientIds.commit();
}

/** A transaction whose appends have no client ids. */
function addNone(clientIds: ClientIds): void {
  clientIds.write();
  clientIds.commit();
}

function missing(clientIds: ClientIds, numbers: Iterable<number>): number[] {
  return [...numbers].filter((number) => clientIds.find(keyOf(number))?.id !== `id-${number}`);
}

function sample(total: number): number[] {
  return Array.from({ length: 2_000 }, (_, index) => Math.floor((index * total) / 2_000));
}

function count(database: DatabaseSync, table: string): number {
  return Number(database.prepare(`SELECT count(*) AS rows FROM ${table}`).get()?.["rows"]);
}

describe("client ids", () => {
  test("[LOG-3] every id is found while it is new, while it moves to a segment, and in segments", () => {
    using database = openDatabase();
    const clientIds = new ClientIds(database);
    const total = 150_000;
    for (let from = 0; from < total; from += batchSize) {
      addBatch(database, clientIds, from);
      addNone(clientIds);
      expect(missing(clientIds, [0, from, from + batchSize - 1, Math.floor(from / 2)])).toEqual([]);
      expect(clientIds.find(keyOf(from + batchSize))).toBeUndefined();
    }
    expect(count(database, "client_segment")).toBe(1);
    expect(missing(clientIds, sample(total))).toEqual([]);
    expect(clientIds.find(keyOf(7))).toEqual(known(7));
  });

  test("[LOG-3] every id is found after a restart at any moment", () => {
    using database = openDatabase();
    let clientIds = new ClientIds(database);
    let from = 0;
    // Before a segment is begun, when it is due, while it is written, while the next one is, and after that.
    for (const restartAt of [20_000, 66_000, 100_000, 190_000, 300_000]) {
      for (; from < restartAt; from += batchSize) addBatch(database, clientIds, from);
      clientIds = new ClientIds(database);
      expect(missing(clientIds, sample(restartAt))).toEqual([]);
    }
    expect(count(database, "client_segment")).toBe(2);
  });

  test("[LOG-3] what a failed transaction added is unknown again, and nothing else is", () => {
    using database = openDatabase();
    const clientIds = new ClientIds(database);
    const total = 140_000;
    for (let from = 0; from < total; from += batchSize) {
      addBatch(database, clientIds, total + from, true);
      expect(clientIds.find(keyOf(total + from))).toBeUndefined();
      if (from % (2 * batchSize) === 0) addNone(clientIds);
      addBatch(database, clientIds, from);
    }
    expect(missing(clientIds, sample(total))).toEqual([]);
    const again = new ClientIds(database);
    expect(missing(again, sample(total))).toEqual([]);
    expect(again.find(keyOf(2 * total - batchSize))).toBeUndefined();
  });

  test("[LOG-3] old segments are deleted a part at a time, and what is younger stays", () => {
    using database = openDatabase();
    const clientIds = new ClientIds(database);
    const total = 131_000;
    for (let from = 0; from < total; from += batchSize) addBatch(database, clientIds, from);
    const blocks = count(database, "client_id");
    const youngest = 65_999;
    expect(clientIds.prune(youngest)).toBe(false);
    expect(missing(clientIds, [youngest])).toEqual([]);
    const before = 70_000;
    for (let call = 1; count(database, "client_segment") > 0; call++) {
      const isMore = clientIds.prune(before);
      expect(isMore).toBe(count(database, "client_segment") > 0);
      expect(count(database, "client_id")).toBeGreaterThanOrEqual(blocks - call * 157);
      expect(clientIds.find(keyOf(before - 1))).toBeUndefined();
      expect(missing(clientIds, [before, total - 1])).toEqual([]);
    }
    expect(count(database, "client_id")).toBe(0);
    for (let from = total; from < 2 * total; from += batchSize) addBatch(database, clientIds, from);
    expect(
      missing(
        clientIds,
        sample(total).map((number) => number + total),
      ),
    ).toEqual([]);
  });

  test("[LOG-3] a clock that was ahead for a while forgets nothing that comes after it", () => {
    using database = openDatabase();
    const clientIds = new ClientIds(database);
    clientIds.prune(1_000_000);
    addBatch(database, clientIds, 5_000);
    clientIds.prune(1_000);
    expect(missing(clientIds, [5_000, 5_999])).toEqual([]);
  });

  test("an id from a clock that was ahead keeps no other segment than its own", () => {
    using database = openDatabase();
    const clientIds = new ClientIds(database);
    database.exec("BEGIN");
    clientIds.add(keyOf(-1), { ...known(-1), at: 1_000_000_000 });
    clientIds.write();
    database.exec("COMMIT");
    clientIds.commit();
    for (let from = 0; count(database, "client_segment") < 3; from += batchSize) addBatch(database, clientIds, from);
    while (clientIds.prune(500_000));
    expect(count(database, "client_segment")).toBe(1);
    expect(clientIds.find(keyOf(-1))?.id).toBe("id--1");
    expect(new ClientIds(database).find(keyOf(-1))?.id).toBe("id--1");
  });

  test("[LOG-3] a segment is as young as its youngest id, also when the clock was set back and the process began anew", () => {
    using database = openDatabase();
    const before = new ClientIds(database);
    const young = { ...known(0), at: 1_000_000 };
    before.add(keyOf(0), young);
    before.write();
    before.commit();
    const clientIds = new ClientIds(database);
    for (let from = batchSize; count(database, "client_segment") === 0; from += batchSize) {
      addBatch(database, clientIds, from);
    }
    while (clientIds.prune(young.at));
    expect(clientIds.find(keyOf(0))).toEqual(young);
  });

  test("[LOG-3] ids of other logs and users are others", () => {
    const keys = [
      clientIdKey(1, "a", "b"),
      clientIdKey(2, "a", "b"),
      clientIdKey(1, "ab", ""),
      clientIdKey(11, "a", "b"),
    ];
    expect(new Set(keys).size).toBe(keys.length);
    expect(bodyDigest("message", "x")).not.toBe(bodyDigest("event", "x"));
  });
});
