import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../../../../test/support/eventually.ts";
import { PostgresServer } from "../../../../test/support/postgres.ts";
import { TcpProxy } from "../../../../test/support/tcp-proxy.ts";
import { systemClock } from "../core/clock.ts";
import { type LogId, logId, type LogState } from "../core/log.ts";
import { append, editOf, entriesAfter, outcomes, room, seqsOf, textsOf, Writer } from "./contract-steps.contract.ts";
import { openPostgresStore } from "./postgres.ts";
import { type Append, type AppendResult, OutcomeUnknown, type Store, StoreUnavailable } from "./store.ts";

let server: PostgresServer;

beforeAll(async () => {
  server = await PostgresServer.start();
}, 120_000);

afterAll(() => server[Symbol.asyncDispose]());

function openStore(url: string): Promise<Store> {
  return openPostgresStore({ url, clock: systemClock });
}

function through(proxy: TcpProxy, url: string): string {
  const address = new URL(url);
  address.port = new URL(proxy.url).port;
  return address.href;
}

/** The batch's results, asked for again and again under the same number. */
function foundOut(store: Store, n: number, appends: readonly Append[]): Promise<readonly AppendResult[]> {
  return eventually("the outcome", () => store.append({ node: "node-1", n, appends }));
}

function stateAfter(store: Store): Promise<LogState> {
  return eventually("the store's return", () => store.open(room));
}

/** A session that holds locks. */
class Blocker {
  readonly #client = new Client(server.url());

  static async begin(sql: string): Promise<Blocker> {
    const blocker = new Blocker();
    await blocker.#client.connect();
    await blocker.#client.query("BEGIN");
    await blocker.#client.query(sql);
    return blocker;
  }

  async query(sql: string): Promise<void> {
    await this.#client.query(sql);
  }

  async end(): Promise<void> {
    await this.#client.query("COMMIT");
    await this.#client.end();
  }
}

/** Resolves when so many sessions wait for a lock of this kind. */
async function waitingFor(kind: "relation" | "transactionid" | "advisory", sessions = 1): Promise<void> {
  await eventually(`a wait for ${kind}`, async () => {
    const waits = await server.sql("SELECT wait_event FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
    return waits.filter((event) => event === kind).length >= sessions || undefined;
  });
}

async function errorOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe("a connection that is lost", { timeout: 60_000 }, () => {
  test.each([
    ["in one round trip", [append("lost"), append("too", { clientId: "c" })]],
    ["in two", [append("lost"), editOf(1, "edited")]],
  ])("[LOG-1] the answer to a commit is lost: the outcome is unknown, and then found out (%s)", async (_, appends) => {
    const schema = `answer_${appends[1]?.type ?? ""}`;
    await using proxy = await TcpProxy.before(server.url());
    await using store = await openStore(through(proxy, server.url(schema)));
    await new Writer(store).append(append("before"));
    const blocker = await Blocker.begin(`LOCK ${schema}.journal IN EXCLUSIVE MODE`);
    const answer = errorOf(store.append({ node: "node-1", n: 2, appends }));
    await waitingFor("relation");
    // All is sent now; what comes back from here on is held.
    for (const link of proxy.links) link.setPace("stalled");
    await blocker.end();
    await eventually("the commit", async () => {
      const [head] = await server.sql(`SELECT head FROM ${schema}.log`);
      return head === "3" ? head : undefined;
    });
    proxy.cut();
    expect(await answer).toBeInstanceOf(OutcomeUnknown);
    expect(outcomes(await foundOut(store, 2, appends))).toEqual([2, 3]);
    expect(seqsOf(await entriesAfter(store, room, 0))).toEqual([1, 2, 3]);
  });

  test("[LOG-1] a lost batch that still waits in the database commits once, also when it is sent again meanwhile", async () => {
    await using proxy = await TcpProxy.before(server.url());
    await using store = await openStore(through(proxy, server.url("zombie")));
    await new Writer(store).append(append("before"));
    const blocker = await Blocker.begin("SELECT * FROM zombie.log FOR UPDATE");
    const appends = [append("lost")];
    const answer = errorOf(store.append({ node: "node-1", n: 2, appends }));
    await waitingFor("transactionid");
    proxy.cut();
    expect(await answer).toBeInstanceOf(OutcomeUnknown);
    const again = foundOut(store, 2, appends);
    await waitingFor("advisory");
    await blocker.end();
    expect(outcomes(await again)).toEqual([2]);
    expect(textsOf(await entriesAfter(store, room, 0))).toEqual(["before", "lost"]);
  });

  test("nothing was sent, so nothing was committed: while there is no connection, the store is unavailable", async () => {
    await using proxy = await TcpProxy.before(server.url());
    await using store = await openStore(through(proxy, server.url("refusing")));
    const writer = new Writer(store);
    await writer.append(append("a"));
    proxy.refuses = true;
    proxy.cut();
    // The first call may still meet the connection that was cut under it.
    await eventually("the loss to be noticed", async () => {
      const error = await errorOf(store.append({ node: "node-1", n: 2, appends: [append("b")] }));
      return error instanceof StoreUnavailable ? error : undefined;
    });
    await expect(store.states([room])).rejects.toThrow(StoreUnavailable);
    proxy.refuses = false;
    expect(await stateAfter(store)).toMatchObject({ head: 1 });
    writer.n = 1;
    expect(outcomes(await writer.append(append("b")))).toEqual([2]);
  });

  test("a connection of the pool that is cut under a call ends that call alone", async () => {
    await using proxy = await TcpProxy.before(server.url());
    await using store = await openStore(through(proxy, server.url("cut_call")));
    const blocker = await Blocker.begin("LOCK cut_call.lease IN ACCESS EXCLUSIVE MODE");
    const read = errorOf(store.leases());
    const write = errorOf(store.renewLease("node-1", 30_000));
    await waitingFor("relation", 2);
    proxy.cut();
    expect(await read).toBeInstanceOf(StoreUnavailable);
    expect(await write).toBeInstanceOf(OutcomeUnknown);
    await blocker.end();
    await store.renewLease("node-1", 30_000);
    expect(await store.leases()).toMatchObject([{ node: "node-1" }]);
  });

  test("calls that wait for a connection are bounded: beyond, one is refused at once", async () => {
    await using store = await openStore(server.url("crowded"));
    await store.open(room);
    const blocker = await Blocker.begin("LOCK crowded.log IN ACCESS EXCLUSIVE MODE");
    // What the pool has connections for, and what may wait.
    const calls = Array.from({ length: 8 + 10_000 }, () => errorOf(store.states([room])));
    await expect(store.states([room])).rejects.toThrow("too many calls wait for Postgres");
    await blocker.end();
    await Promise.all(calls);
    expect(await store.states([room])).toMatchObject([{ head: 0 }]);
  });
});

describe("a race that is lost", { timeout: 60_000 }, () => {
  test("[LOG-1] a batch that Postgres ends to resolve a deadlock is run again, and its sender hears nothing of it", async () => {
    const url = new URL(server.url("deadlock"));
    url.searchParams.set("options", "-c deadlock_timeout=3s");
    await using store = await openStore(url.href);
    const other = logId("default", "room-2");
    const writer = new Writer(store);
    await writer.append(append("a"), append("b", { log: other }));
    const lock = (log: LogId): string => `SELECT 1 FROM deadlock.log WHERE name = '${log}' FOR UPDATE`;
    // It never finds a deadlock itself.
    const blocker = await Blocker.begin(`SET LOCAL deadlock_timeout = '1h'; ${lock(other)}`);
    const results = writer.append(append("c"), append("d", { log: other }));
    await waitingFor("transactionid");
    await blocker.query(lock(room));
    await blocker.end();
    expect(outcomes(await results)).toEqual([2, 2]);
    expect(textsOf(await entriesAfter(store, room, 0))).toEqual(["a", "c"]);
  });
});

describe("a server that is lost", { timeout: 120_000 }, () => {
  test("[LOG-1] Postgres killed under load: what was acknowledged is there, once, and the same store goes on", async () => {
    await using store = await openStore(server.url("killed"));
    const before = await store.open(room);
    const acknowledged: string[] = [];
    let kills = 0;
    const write = async (): Promise<void> => {
      for (let n = 1; kills < 3 || n % 50 !== 0; n++) {
        const appends = Array.from({ length: 20 }, (_, index) => append(`${n} ${index}`));
        const results = await foundOut(store, n, appends);
        expect(results.every(({ ok }) => ok)).toBe(true);
        acknowledged.push(...textsOf(appends.map((one) => ({ ...one, seq: 0 }))));
      }
    };
    const kill = async (): Promise<void> => {
      while (kills < 3) {
        const reached = acknowledged.length + 200;
        await eventually("some commits", () => (acknowledged.length >= reached ? true : undefined));
        await server.kill();
        await server.resume();
        kills += 1;
      }
    };
    await Promise.all([write(), kill()]);
    const entries = await entriesAfter(store, room, 0);
    expect(textsOf(entries)).toEqual(acknowledged);
    expect(seqsOf(entries)).toEqual(acknowledged.map((_, index) => index + 1));
    // The same server on the same timeline: positions stay good.
    expect((await store.open(room)).epoch).toBe(before.epoch);
  });

  test("[LOG-1] a promoted standby that lacks commits begins other epochs; no node needs a restart", async () => {
    await using primary = await PostgresServer.start();
    await using store = await openStore(primary.url("failover"));
    const writer = new Writer(store);
    await writer.append(append("1"), append("2"));
    await using standby = await primary.standby();
    await eventually("the standby to follow", async () =>
      (await standby.sql("SELECT head FROM failover.log")).find((head) => head === "2"),
    );
    await using reader = await openStore(standby.url("failover"));
    await expect(reader.states([room])).rejects.toThrow(/standby/);
    await standby.stop();
    const [lost] = await writer.append(append("3"));
    expect(lost).toMatchObject({ ok: true, seq: 3 });
    const before = await store.open(room);
    await primary.kill();
    await standby.resume();
    await standby.promote();
    await standby.replace(primary);
    const after = await stateAfter(store);
    expect(after.head).toBe(2);
    // By its timeline alone: another node's clients may have started over by then.
    const [now, then] = [after.epoch, before.epoch].map((epoch) => epoch.split(".").slice(1));
    expect(now?.[0]).toBe(then?.[0]);
    expect(now?.[1]).not.toBe(then?.[1]);
    const [next] = await writer.append(append("another 3"));
    expect(next).toMatchObject({ ok: true, seq: 3, epoch: after.epoch });
    expect((await store.readJournal(new Map([["node-1", 1]]), 10))[0]?.heads).toEqual([
      { log: room, epoch: after.epoch, head: 3 },
    ]);
  });

  test("a database whose identity cannot be read at the moment is away, and one that tells it nobody has a fixed one", async () => {
    await using own = await PostgresServer.start();
    await own.sql("ALTER FUNCTION pg_catalog.pg_control_system() RENAME TO hidden");
    const fail = (condition: string): Promise<unknown> =>
      own.sql(`CREATE OR REPLACE FUNCTION pg_catalog.pg_control_system(OUT system_identifier bigint)
        LANGUAGE plpgsql AS $$ BEGIN RAISE ${condition}; END $$`);
    await fail("query_canceled");
    await using store = await openStore(own.url("unnamed"));
    await expect(store.open(room)).rejects.toThrow(StoreUnavailable);
    await fail("insufficient_privilege");
    expect((await store.open(room)).epoch).toMatch(/\.0$/);
  });

  test("[LOG-1] data that were set back unseen begin other epochs, as soon as a node that knows better connects", async () => {
    await using own = await PostgresServer.start();
    await using store = await openStore(own.url("snapshot"));
    const writer = new Writer(store);
    await writer.append(append("1"));
    const first = await store.open(room);
    await own.save();
    expect((await stateAfter(store)).epoch).toBe(first.epoch);
    await writer.append(append("2"));
    await own.setBack();
    const after = await stateAfter(store);
    expect(after).toMatchObject({ head: 1 });
    expect(after.epoch).not.toBe(first.epoch);
    writer.n = 1;
    expect(await writer.append(append("another 2"))).toMatchObject([{ seq: 2, epoch: after.epoch }]);
  });
});
