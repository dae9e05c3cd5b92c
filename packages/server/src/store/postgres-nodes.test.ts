import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../../../../test/support/eventually.ts";
import { PostgresServer } from "../../../../test/support/postgres.ts";
import { systemClock } from "../core/clock.ts";
import { type LogId, logId } from "../core/log.ts";
import {
  append,
  editOf,
  entriesAfter,
  membership,
  outcomes,
  room,
  seqsOf,
  textsOf,
  Writer,
} from "./contract-steps.contract.ts";
import { describePostgres, openPostgresStore } from "./postgres.ts";
import { beginSession } from "./postgres-session.ts";
import { type AppendResult, BackupRefused, type Store, StoreUnavailable, StoreUnusable } from "./store.ts";

let server: PostgresServer;

beforeAll(async () => {
  server = await PostgresServer.start();
}, 120_000);

afterAll(() => server[Symbol.asyncDispose]());

let schemas = 0;

/** Stores of so many nodes on one schema of its own. */
async function openNodes(count: number) {
  await using opening = new AsyncDisposableStack();
  schemas += 1;
  const schema = `nodes_${schemas}`;
  const nodes = await Promise.all(Array.from({ length: count }, () => openStore(schema)));
  for (const node of nodes) opening.use(node);
  const [store, second] = [nodes[0], nodes.at(-1)];
  if (store === undefined || second === undefined) throw new Error("no nodes");
  const opened = opening.move();
  return { nodes, store, second, schema, [Symbol.asyncDispose]: () => opened.disposeAsync() };
}

function openStore(schema: string): Promise<Store> {
  return openPostgresStore({ url: server.url(schema), clock: systemClock });
}

function logsOf(count: number): readonly LogId[] {
  return Array.from({ length: count }, (_, index) => logId("default", `room-${index}`));
}

describe("several nodes on one Postgres", { timeout: 120_000 }, () => {
  test("nodes that start at once bring the schema up to date once, and work", async () => {
    await using opened = await openNodes(4);
    const { nodes, schema } = opened;
    expect(await server.sql(`SELECT count(*), max(version) FROM ${schema}.parley_schema`)).toEqual(["1|1"]);
    const results = await Promise.all(nodes.map((store, index) => new Writer(store, `n${index}`).append(append("a"))));
    expect(new Set(results.flatMap(outcomes))).toEqual(new Set([1, 2, 3, 4]));
  });

  test("[LOG-2] batches on the same rooms in opposite orders wait for each other and never fail", async () => {
    await using opened = await openNodes(3);
    const logs = logsOf(12);
    const write = async (store: Store, index: number): Promise<void> => {
      const writer = new Writer(store, `node-${index}`);
      const order = index % 2 === 0 ? logs : logs.toReversed();
      for (let batch = 0; batch < 25; batch++) {
        // Every third batch takes two round trips, because it changes things.
        const change = batch % 3 === 0 ? [membership(`user-${index}`, "member", logs[batch % 12])] : [];
        const results = await writer.append(...order.map((log) => append(`${index} ${batch}`, { log })), ...change);
        expect(results.every(({ ok }) => ok)).toBe(true);
      }
    };
    await Promise.all(opened.nodes.map(write));
    for (const log of logs) {
      const entries = await entriesAfter(opened.store, log, 0);
      expect(seqsOf(entries)).toEqual(entries.map((_, index) => index + 1));
      for (const index of [0, 1, 2]) {
        const own = entries.filter(({ data }) => data.startsWith(`{"text":"${index} `));
        expect(textsOf(own)).toEqual(Array.from({ length: 25 }, (_, batch) => `${index} ${batch}`));
      }
    }
  });

  test("[LOG-3] a repeat that races with the first on another node commits once, and breaks nobody's batch", async () => {
    await using opened = await openNodes(2);
    const writers = [new Writer(opened.store, "node-1"), new Writer(opened.second, "node-2")];
    for (let round = 0; round < 40; round++) {
      const results = await Promise.all(
        writers.map((writer) =>
          writer.append(append("before"), append("once", { clientId: `c-${round}` }), append("after")),
        ),
      );
      expect(results.flat().every(({ ok }) => ok)).toBe(true);
      expect(new Set(results.map(([, racer]) => racer?.ok && racer.seq)).size).toBe(1);
    }
    const entries = await entriesAfter(opened.store, room, 0);
    expect(seqsOf(entries)).toEqual(Array.from({ length: 5 * 40 }, (_, index) => index + 1));
    expect(textsOf(entries).filter((text) => text === "once")).toHaveLength(40);
  });

  test("[LOG-3] what the database alone refuses is found, and fails alone", async () => {
    await using opened = await openNodes(1);
    const { store } = opened;
    // No index of Postgres takes keys of more than about 2,700 bytes that cannot be compressed.
    const long = Array.from({ length: 1_000 }, (_, index) => String.fromCodePoint(0x4e00 + ((index * 7_919) % 20_000)));
    const bad = logId("default", long.join(""));
    const writer = new Writer(store);
    const given = Array.from({ length: 9 }, (_, index) => append(`${index}`, index === 6 ? { log: bad } : {}));
    const expected = [1, 2, 3, 4, 5, 6, "bad_request", 7, 8];
    const results = await writer.append(...given);
    expect(outcomes(results)).toEqual(expected);
    expect(await store.append({ node: "node-1", n: 1, appends: given })).toEqual(results);
    const changing = await writer.append(editOf(1, "x"), append("a", { log: bad, clientId: "c" }), append("b"));
    expect(outcomes(changing)).toEqual([9, "bad_request", 10]);
  });

  test("[LOG-2] what was trimmed, and rooms that were deleted, leave nothing behind", async () => {
    await using opened = await openNodes(1);
    const { store } = opened;
    const [trimmed = room, deleted = room] = logsOf(2);
    const writer = new Writer(store);
    for (let batch = 0; batch < 3; batch++) {
      const many = Array.from({ length: 900 }, (_, index) =>
        append("x", { log: index % 2 === 0 ? trimmed : deleted, type: index % 3 === 0 ? "event" : "message" }),
      );
      await writer.append(...many);
    }
    await store.trim(trimmed, 1_300);
    await store.deleteRoom(deleted);
    const count = `SELECT count(*) FROM ${opened.schema}.entry UNION ALL SELECT count(*) FROM ${opened.schema}.garbage`;
    const left = await eventually("the deletion of all garbage", async () => {
      const rows = await server.sql(count);
      return rows[1] === "0" ? rows : undefined;
    });
    expect(left).toEqual(["51", "0"]);
    await writer.append(append("again", { log: deleted }));
    expect(seqsOf(await entriesAfter(store, deleted, 0))).toEqual([1]);
  });

  test("[REC-2] a session that is written again while another node prunes it stays", async () => {
    await using opened = await openNodes(2);
    const { store, second, schema } = opened;
    const key = { pid: "p", tenant: "main", userId: "anna" };
    const session = { ...key, id: "i", owner: "node-1", generation: 1, keepMs: 60_000, cursors: [] };
    await store.putSessions([session]);
    await server.sql(`UPDATE ${schema}.session SET ends_at = 0`);
    const writer = new Client({ connectionString: server.url() });
    await writer.connect();
    try {
      await writer.query("BEGIN");
      await writer.query(`UPDATE ${schema}.session SET ends_at = ${schema}.now_ms() + 60000`);
      const pruned = second.prune(0, 0);
      await eventually("prune waits", async () =>
        (await server.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")).at(0),
      );
      await writer.query("COMMIT");
      await pruned;
    } finally {
      await writer.end();
    }
    expect(await store.claimSessions([{ ...key, node: "node-2" }])).toEqual([{ ...session, generation: 2 }]);
  });

  test("[REC-2] nodes that write, claim and end the same sessions in opposite orders wait for each other and never fail", async () => {
    await using opened = await openNodes(3);
    const keys = Array.from({ length: 200 }, (_, index) => ({ pid: `p-${index}`, tenant: "main", userId: "anna" }));
    const write = async (store: Store, index: number): Promise<void> => {
      const order = index % 2 === 0 ? keys : keys.toReversed();
      for (let generation = 1; generation <= 15; generation++) {
        const session = { id: "i", owner: `node-${index}`, generation, keepMs: 60_000, cursors: [] };
        await store.putSessions(order.map((key) => ({ ...key, ...session })));
        await store.claimSessions(order.map((key) => ({ ...key, node: `node-${index}` })));
        await store.endSessions(order.map(({ pid }) => ({ pid, generation: 1_000 })));
      }
    };
    await expect(Promise.all(opened.nodes.map(write))).resolves.toBeDefined();
  });

  test("[LOG-1] a store that is closed finishes all that was asked before, also what waits for a connection", async () => {
    await using opened = await openNodes(1);
    const { store } = opened;
    const writer = new Writer(store);
    await writer.append(append("a"));
    const appends = Array.from({ length: 50 }, (_, index) => writer.append(append(`${index}`)));
    const revocation = { tenant: "default", issuedBefore: 1, banned: true };
    const writes = Array.from({ length: 30 }, (_, index) => store.putRevocation({ ...revocation, userId: `${index}` }));
    const closed = store[Symbol.asyncDispose]();
    await expect(store.states([room])).rejects.toThrow(StoreUnavailable);
    expect((await Promise.all(appends)).flatMap(outcomes)).toEqual(appends.map((_, index) => index + 2));
    await Promise.all(writes);
    await closed;
    expect(await server.sql(`SELECT count(*) FROM ${opened.schema}.revocation`)).toEqual(["30"]);
  });

  test("the time of each commit, and the number of its appends, are told", async () => {
    const commits: number[] = [];
    await using store = await openPostgresStore({
      url: server.url("told"),
      clock: systemClock,
      onCommit: (seconds, appends) => {
        expect(seconds).toBeGreaterThan(0);
        commits.push(appends);
      },
    });
    const results: readonly AppendResult[] = await new Writer(store).append(append("a"), append("b"));
    expect(outcomes(results)).toEqual([1, 2]);
    expect(commits).toEqual([2]);
    await expect(store.backup("anywhere")).rejects.toThrow(BackupRefused);
  });
});

describe("a Postgres that cannot be used", () => {
  test("a schema of a newer version, or of something else, is left alone", async () => {
    await (await openStore("newer"))[Symbol.asyncDispose]();
    await server.sql("INSERT INTO newer.parley_schema (version) VALUES (99)");
    await expect(openStore("newer")).rejects.toThrow(/newer version of Parley \(schema 99\).*PARLEY_STORE_URL/);
    await server.sql("CREATE SCHEMA foreign_tables; CREATE TABLE foreign_tables.message (text text)");
    await expect(openStore("foreign_tables")).rejects.toThrow(/not Parley's.*PARLEY_STORE_URL/);
    await expect(openStore("no-name")).rejects.toThrow(StoreUnusable);
  });

  test.each([
    { set: "default", expected: "1MB" },
    { set: "'256kB'", expected: "256kB" },
  ])("pages go to the disk early; where the server says when, that stays ($set)", async ({ set, expected }) => {
    await server.sql(`ALTER DATABASE postgres SET backend_flush_after = ${set}`);
    const client = new Client({ connectionString: server.url() });
    await client.connect();
    try {
      await beginSession(client, "public", null);
      const { rows } = await client.query("SHOW backend_flush_after");
      expect(rows).toEqual([{ backend_flush_after: expected }]);
    } finally {
      await client.end();
      await server.sql("ALTER DATABASE postgres RESET backend_flush_after");
    }
  });

  test("the setting is named, and the password is not", async () => {
    const url = "postgres://parley:hush-hush@127.0.0.1:1/nowhere";
    const error: unknown = await openPostgresStore({ url, clock: systemClock }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(StoreUnusable);
    expect(String(error)).toContain("PARLEY_STORE_URL");
    expect(String(error)).toContain("127.0.0.1:1/nowhere");
    expect(String(error)).not.toContain("hush");
    expect(await describePostgres(server.url())).toEqual({ version: expect.stringMatching(/^\d+/), fsync: false });
  });
});
