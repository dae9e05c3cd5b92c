import { describe, expect, test } from "vitest";
import { logId } from "../core/log.ts";
import { room, type StoreHarness } from "./contract-steps.contract.ts";
import type { Lease, SessionClaim, Store, StoredSession } from "./store.ts";

const inbox = logId("default", "@user:anna");
const keepMs = 60_000;

function sessionOf(pid: string, change: Partial<StoredSession> = {}): StoredSession {
  return {
    pid,
    generation: 1,
    id: `id-of-${pid}`,
    tenant: "default",
    userId: "anna",
    owner: "node-1",
    keepMs,
    cursors: [
      { log: room, epoch: "life.generation", seq: 7, gap: null, again: true, page: null },
      { log: inbox, epoch: "life.generation", seq: -1, gap: "too_far", again: false, page: 7 },
    ],
    ...change,
  };
}

function claimOf(pid: string, change: Partial<SessionClaim> = {}): SessionClaim {
  return { pid, tenant: "default", userId: "anna", node: "node-2", ...change };
}

async function claimed(store: Store, claim: SessionClaim): Promise<StoredSession | undefined> {
  return (await store.claimSessions([claim]))[0];
}

export function sessionContract(open: () => Promise<StoreHarness>): void {
  describe("sessions", () => {
    test("[REC-2] a claim gives the session as it was written last, its former owner and the next generation", async () => {
      await using harness = await open();
      const { store } = harness;
      const later = sessionOf("a", {
        id: "later",
        cursors: [{ log: room, epoch: "", seq: 9, gap: null, again: false, page: null }],
      });
      const strange = sessionOf("ß/\u{1f600}", { userId: "émile", cursors: [] });
      expect(await store.putSessions([sessionOf("a"), strange])).toEqual([true, true]);
      expect(await store.putSessions([later])).toEqual([true]);
      const claims = [claimOf("none"), claimOf("a"), claimOf(strange.pid, { userId: "émile" })];
      expect(await store.claimSessions(claims)).toEqual([
        undefined,
        { ...later, generation: 2 },
        { ...strange, generation: 2 },
      ]);
      expect(await claimed(store, claimOf("a", { node: "node-3" }))).toEqual({
        ...later,
        owner: "node-2",
        generation: 3,
      });
    });

    test("[REC-2] who was claimed from can neither write nor end the session any more", async () => {
      await using harness = await open();
      const { store } = harness;
      await store.putSessions([sessionOf("a"), sessionOf("b")]);
      await store.claimSessions([claimOf("a")]);
      expect(await store.putSessions([sessionOf("b", { id: "again" }), sessionOf("a", { id: "late" })])).toEqual([
        true,
        false,
      ]);
      await store.endSessions([sessionOf("a")]);
      expect(await claimed(store, claimOf("a"))).toMatchObject({ id: "id-of-a", owner: "node-2", generation: 3 });
      const own = sessionOf("a", { owner: "node-2", generation: 3, id: "own" });
      expect(await store.putSessions([own])).toEqual([true]);
      await store.endSessions([own]);
      expect(await claimed(store, claimOf("a"))).toBeUndefined();
    });

    test("[REC-2] of racing claims each gets a generation of its own, and the last of them alone may write", async () => {
      await using harness = await open();
      const { store } = harness;
      const pids = ["a", "b", "c"];
      await store.putSessions(pids.map((pid) => sessionOf(pid)));
      const nodes = ["node-2", "node-3", "node-4", "node-5"];
      const races = await Promise.all(
        // Why reversed: claims that lock in the order given must not wait for each other.
        nodes.map((node, index) =>
          store.claimSessions((index % 2 === 0 ? pids : pids.toReversed()).map((pid) => claimOf(pid, { node }))),
        ),
      );
      for (const pid of pids) {
        const won = races.flat().filter((session) => session?.pid === pid);
        const generations = won.map((session) => session?.generation ?? 0);
        expect(generations.toSorted((one, other) => one - other)).toEqual([2, 3, 4, 5]);
        const puts = await Promise.all(
          [2, 3, 4, 5].map((generation) => store.putSessions([sessionOf(pid, { generation })])),
        );
        expect(puts.flat()).toEqual([false, false, false, true]);
      }
    });

    test("[REC-3] another user's session cannot be claimed, and is none the worse for it", async () => {
      await using harness = await open();
      const { store } = harness;
      await store.putSessions([sessionOf("a")]);
      expect(await claimed(store, claimOf("a", { userId: "bert" }))).toBeUndefined();
      expect(await claimed(store, claimOf("a", { tenant: "other" }))).toBeUndefined();
      expect(await claimed(store, claimOf("a"))).toEqual(sessionOf("a", { generation: 2 }));
    });

    test("[REC-2] a session can be claimed for as long as its last write says, by the store's clock", async () => {
      await using harness = await open();
      const { store } = harness;
      await store.putSessions([sessionOf("short"), sessionOf("long", { keepMs: 10 * keepMs }), sessionOf("renewed")]);
      await harness.advance(keepMs - 10_000);
      await store.putSessions([sessionOf("renewed")]);
      await harness.advance(20_000);
      const found = await store.claimSessions([claimOf("short"), claimOf("long"), claimOf("renewed")]);
      expect(found.map((session) => session?.pid)).toEqual([undefined, "long", "renewed"]);
      // A claim alone makes it last no longer.
      await harness.advance(keepMs);
      expect(await claimed(store, claimOf("renewed"))).toBeUndefined();
      expect(await claimed(store, claimOf("long"))).toMatchObject({ generation: 3 });
    });

    test("a session that has ended is pruned, and may be written again", async () => {
      await using harness = await open();
      const { store } = harness;
      const claimedBefore = sessionOf("a", { generation: 5 });
      await store.putSessions([claimedBefore, sessionOf("b", { keepMs: 10 * keepMs, generation: 5 })]);
      await store.prune(0, 0);
      expect(await store.putSessions([sessionOf("a"), sessionOf("b")])).toEqual([false, false]);
      await harness.advance(2 * keepMs);
      await store.prune(0, 0);
      expect(await store.putSessions([sessionOf("a"), sessionOf("b")])).toEqual([true, false]);
    });

    test("who prunes is told whether there may be more than go at once", async () => {
      await using harness = await open();
      const { store } = harness;
      const pids = Array.from({ length: 10_500 }, (_, index) => `pid-${index}`);
      const put = async (generation: number): Promise<number> => {
        let written = 0;
        for (let from = 0; from < pids.length; from += 1_000) {
          const batch = pids.slice(from, from + 1_000).map((pid) => sessionOf(pid, { generation }));
          written += (await store.putSessions(batch)).filter(Boolean).length;
        }
        return written;
      };
      expect(await put(5)).toBe(pids.length);
      expect(await store.prune(0, 0)).toBe(false);
      await harness.advance(2 * keepMs);
      for (let calls = 1; await store.prune(0, 0); calls += 1) expect(calls).toBeLessThan(2);
      expect(await put(1)).toBe(pids.length);
    }, 60_000);

    test("batches have bounds, and may be empty", async () => {
      await using harness = await open();
      const { store } = harness;
      expect(await store.putSessions([])).toEqual([]);
      expect(await store.claimSessions([])).toEqual([]);
      await store.endSessions([]);
      const many = Array.from({ length: 1_000 }, (_, index) => sessionOf(`pid-${index}`));
      expect((await store.putSessions(many)).every(Boolean)).toBe(true);
      expect((await store.claimSessions(many.map(({ pid }) => claimOf(pid)))).map((one) => one?.id)).toEqual(
        many.map(({ id }) => id),
      );
      await store.endSessions(many.map(({ pid }) => ({ pid, generation: 2 })));
      expect(await store.claimSessions(many.map(({ pid }) => claimOf(pid)))).toEqual(many.map(() => undefined));
      const tooMany = [...many, sessionOf("one more")];
      await expect(store.putSessions(tooMany)).rejects.toThrow(RangeError);
      await expect(store.claimSessions(tooMany.map(({ pid }) => claimOf(pid)))).rejects.toThrow(RangeError);
      await expect(store.endSessions(tooMany)).rejects.toThrow(RangeError);
    });
  });
}

export function leaseContract(open: () => Promise<StoreHarness>): void {
  describe("leases", () => {
    async function leaseOf(store: Store, node: string): Promise<Lease | undefined> {
      return (await store.leases()).find((lease) => lease.node === node);
    }

    test("[PRES-1] a lease runs from its last renewal, by the store's clock", async () => {
      await using harness = await open();
      const { store } = harness;
      expect(await store.leases()).toEqual([]);
      await store.renewLease("node-1", 30_000);
      await store.renewLease("node-2", 90_000);
      const { remainingMs = 0 } = (await leaseOf(store, "node-1")) ?? {};
      expect(remainingMs).toBeGreaterThan(15_000);
      expect(remainingMs).toBeLessThanOrEqual(30_000);
      await harness.advance(60_000);
      expect((await leaseOf(store, "node-1"))?.remainingMs).toBeLessThan(0);
      expect((await leaseOf(store, "node-2"))?.remainingMs).toBeGreaterThan(0);
      await store.renewLease("node-1", 30_000);
      expect((await leaseOf(store, "node-1"))?.remainingMs).toBeGreaterThan(15_000);
    });

    test("[PRES-1] a lease that was ended is listed as ended for ten minutes, then no more", async () => {
      await using harness = await open();
      const { store } = harness;
      await store.renewLease("node-1", 30_000);
      await store.endLease("node-1");
      await store.endLease("nobody");
      expect((await leaseOf(store, "node-1"))?.remainingMs).toBeLessThan(0);
      expect(await leaseOf(store, "nobody")).toBeUndefined();
      await harness.advance(300_000);
      await store.endLease("node-1");
      await store.prune(0, 0);
      expect((await leaseOf(store, "node-1"))?.remainingMs).toBeLessThanOrEqual(-300_000);
      await harness.advance(300_000);
      expect(await leaseOf(store, "node-1")).toBeUndefined();
      await store.prune(0, 0);
      await store.renewLease("node-1", 30_000);
      expect((await leaseOf(store, "node-1"))?.remainingMs).toBeGreaterThan(0);
    });
  });
}
