import { describe, expect, test } from "vitest";
import { inboxOf, type LogId, logId } from "../core/log.ts";
import type { JournalRow, Room, Store } from "./store.ts";
import {
  append,
  editOf,
  epochsOf,
  membership,
  room,
  startAt,
  type StoreHarness,
  Writer,
} from "./contract-steps.contract.ts";

function numbers(rows: readonly JournalRow[]): string[] {
  return rows.map(({ node, n }) => `${node} ${n}`).toSorted();
}

function roomOf(log: LogId, change: Partial<Room> = {}): Room {
  return { log, access: "members", retainEntriesMax: 0, createdAt: startAt, ...change };
}

export function journalContract(open: () => Promise<StoreHarness>): void {
  describe("journal", () => {
    test("every batch leaves a row with the heads that it advanced, a refused one too", async () => {
      await using harness = await open();
      const { store } = harness;
      const other = logId("default", "room-2");
      const writer = new Writer(store);
      const [first, , third] = await writer.append(append("a"), append("b"), append("c", { log: other }));
      await writer.append(editOf(9, "nothing there"));
      await writer.append(append("d"));
      const rows = await store.readJournal(new Map(), 1_000);
      expect(rows.map(({ node, n }) => [node, n])).toEqual([
        ["node-1", 1],
        ["node-1", 2],
        ["node-1", 3],
      ]);
      expect(rows[0]?.heads.toSorted((a, b) => a.log.localeCompare(b.log))).toEqual([
        { log: room, epoch: first?.ok && first.epoch, head: 2 },
        { log: other, epoch: third?.ok && third.epoch, head: 1 },
      ]);
      expect(rows[1]?.heads).toEqual([]);
      expect(rows[2]?.heads).toMatchObject([{ log: room, head: 3 }]);
    });

    test("rows are read above a number for each node, and from the first for nodes not named", async () => {
      await using harness = await open();
      const { store } = harness;
      for (const node of ["b", "a", "c"]) {
        const writer = new Writer(store, node);
        for (let n = 0; n < 4; n++) await writer.append(append("x"));
      }
      const after = new Map([
        ["a", 2],
        ["c", 4],
        ["gone", 7],
      ]);
      expect(numbers(await store.readJournal(after, 1_000))).toEqual(["a 3", "a 4", "b 1", "b 2", "b 3", "b 4"]);
      const some = await store.readJournal(new Map(), 5);
      expect(some).toHaveLength(5);
      const seen = new Map<string, number>();
      for (let rows: readonly JournalRow[] = some; rows.length > 0; rows = await store.readJournal(seen, 5)) {
        for (const { node, n } of rows) {
          expect(n).toBe((seen.get(node) ?? 0) + 1);
          seen.set(node, n);
        }
      }
      expect(seen).toEqual(
        new Map([
          ["a", 4],
          ["b", 4],
          ["c", 4],
        ]),
      );
    });

    test("rows written before a time are pruned", async () => {
      await using harness = await open();
      const { store } = harness;
      const writer = new Writer(store);
      await writer.append(append("a"));
      await writer.append(append("b"));
      await harness.advance(60_000);
      await writer.append(append("c"));
      const [, , third] = await store.readJournal(new Map(), 10);
      await store.prune(third?.at ?? 0, 0);
      expect(numbers(await store.readJournal(new Map(), 10))).toEqual(["node-1 3"]);
    });
  });
}

async function threeMembers(store: Store): Promise<void> {
  const other = logId("default", "room-2");
  const foreign = logId("other", "room-1");
  await new Writer(store).append(
    membership("anna", "owner"),
    membership("bert", "member"),
    membership("émile", "member"),
    membership("anna", "member", other),
    membership("anna", "owner", foreign),
    membership("bert", "owner"),
  );
}

export function directoryContract(open: () => Promise<StoreHarness>): void {
  describe("rooms, memberships, inboxes, revocations", () => {
    test("a room is stored, changed and found, by itself and in the order of names", async () => {
      await using harness = await open();
      const { store } = harness;
      await store.putRoom(roomOf(room));
      await store.putRoom(roomOf(room, { access: "public", retainEntriesMax: 7, createdAt: startAt + 9 }));
      expect(await store.room(room)).toEqual(roomOf(room, { access: "public", retainEntriesMax: 7 }));
      expect(await store.states([room])).toMatchObject([{ head: 0, floor: 1 }]);
      const names = ["Z", "a/b", "b", "é", "\u{ff5e}", "𝄞"];
      for (const name of names) await store.putRoom(roomOf(logId("t", name)));
      const page = await store.rooms("t", "", 4);
      expect(page.map(({ log }) => log)).toEqual(["t/Z", "t/a/b", "t/b", "t/é"]);
      const rest = await store.rooms("t", "é", 500);
      expect(rest.map(({ log }) => log)).toEqual(["t/\u{ff5e}", "t/𝄞"]);
      expect(await store.room(logId("t", "none"))).toBeUndefined();
    });

    test("a membership is stored by its entry, in the same transaction, and read with its room", async () => {
      await using harness = await open();
      const { store } = harness;
      await threeMembers(store);
      await store.putRoom(roomOf(room));
      const pairs = [
        { log: room, userId: "bert" },
        { log: room, userId: "carl" },
        { log: logId("default", "room-2"), userId: "anna" },
      ];
      expect(await store.memberships(pairs)).toEqual([
        { room: roomOf(room), role: "owner" },
        { room: roomOf(room), role: undefined },
        { room: undefined, role: "member" },
      ]);
      await new Writer(store, "node-2").append(membership("bert", null), membership("nobody", null));
      expect(await store.memberships(pairs.slice(0, 1))).toMatchObject([{ role: undefined }]);
      expect((await store.states([room]))[0]?.head).toBe(6);
    });

    test("[LOG-3] a repeated membership change is not applied a second time", async () => {
      await using harness = await open();
      const { store } = harness;
      const writer = new Writer(store);
      const joined = { ...membership("anna", "member"), clientId: "c" };
      await writer.append(joined, membership("anna", null));
      await writer.append({ ...joined, id: "again" });
      expect(await store.memberships([{ log: room, userId: "anna" }])).toMatchObject([{ role: undefined }]);
    });

    test("members of a room and rooms of a user are read in pages", async () => {
      await using harness = await open();
      const { store } = harness;
      await threeMembers(store);
      expect(await store.members(room, "", 2)).toEqual([
        { log: room, userId: "anna", role: "owner" },
        { log: room, userId: "bert", role: "owner" },
      ]);
      expect(await store.members(room, "bert", 2)).toEqual([{ log: room, userId: "émile", role: "member" }]);
      expect((await store.roomsOfUser("default", "anna", "", 500)).map(({ log }) => log)).toEqual([
        "default/room-1",
        "default/room-2",
      ]);
      expect(await store.roomsOfUser("default", "anna", "room-1", 1)).toEqual([
        { log: "default/room-2", userId: "anna", role: "member" },
      ]);
    });

    test("a list beyond its bounds is a bug of the caller", async () => {
      await using harness = await open();
      const { store } = harness;
      const many = Array.from({ length: 1_001 }, () => room);
      for (const limit of [0, 501]) {
        await expect(store.rooms("default", "", limit)).rejects.toThrow(RangeError);
        await expect(store.members(room, "", limit)).rejects.toThrow(RangeError);
        await expect(store.roomsOfUser("default", "anna", "", limit)).rejects.toThrow(RangeError);
      }
      await expect(store.readJournal(new Map(), 1_001)).rejects.toThrow(RangeError);
      await expect(store.states(many)).rejects.toThrow(RangeError);
      await expect(store.inboxes(many)).rejects.toThrow(RangeError);
      await expect(store.memberships(many.map((log) => ({ log, userId: "anna" })))).rejects.toThrow(RangeError);
      const positions = many.map((log) => ({ log, epoch: "e", seq: 1 }));
      await expect(store.saveInboxPositions(positions)).rejects.toThrow(RangeError);
    });

    test("an inbox position moves forward only, and stands in the present life of its log", async () => {
      await using harness = await open();
      const { store } = harness;
      const inbox = inboxOf("default", "anna");
      const none = inboxOf("default", "bert");
      const writer = new Writer(store);
      const [epoch = ""] = epochsOf(await writer.append(append("a", { log: inbox }), append("b", { log: inbox })));
      const save = (seq: number, life = epoch): Promise<void> =>
        store.saveInboxPositions([
          { log: inbox, epoch: life, seq },
          { log: none, epoch: life, seq: 1 },
        ]);
      expect(await store.inboxes([none, inbox])).toEqual([
        { state: undefined, position: undefined },
        { state: { epoch, head: 2, floor: 1 }, position: undefined },
      ]);
      await save(2);
      await save(1);
      await save(9, "another.life");
      expect(await store.inboxes([inbox, none])).toMatchObject([
        { position: { epoch, seq: 2 } },
        { position: undefined },
      ]);
      await store.deleteRoom(inbox);
      const [next = ""] = epochsOf(await writer.append(append("c", { log: inbox })));
      expect(await store.inboxes([inbox])).toMatchObject([{ state: { epoch: next }, position: undefined }]);
      await save(1, next);
      expect(await store.inboxes([inbox])).toMatchObject([{ position: { epoch: next, seq: 1 } }]);
    });

    test("of several positions of an inbox that are saved at once the furthest stands", async () => {
      await using harness = await open();
      const { store } = harness;
      const inbox = inboxOf("default", "anna");
      const [epoch = ""] = epochsOf(await new Writer(store).append(append("a", { log: inbox })));
      await store.saveInboxPositions([2, 3, 1].map((seq) => ({ log: inbox, epoch, seq })));
      expect(await store.inboxes([inbox])).toMatchObject([{ position: { epoch, seq: 3 } }]);
    });

    test("[LOG-1] after a restore, an inbox position of the time before is replaced by the present one's", async () => {
      await using harness = await open();
      const inbox = inboxOf("default", "anna");
      const [old = ""] = epochsOf(await new Writer(harness.store).append(append("a", { log: inbox })));
      await harness.store.saveInboxPositions([{ log: inbox, epoch: old, seq: 1 }]);
      const restored = await harness.restored();
      const [{ state, position } = {}] = await restored.inboxes([inbox]);
      expect(position).toEqual({ epoch: old, seq: 1 });
      expect(state?.epoch).not.toBe(old);
      await restored.saveInboxPositions([{ log: inbox, epoch: state?.epoch ?? "", seq: 0 }]);
      expect(await restored.inboxes([inbox])).toMatchObject([{ position: { epoch: state?.epoch, seq: 0 } }]);
    });

    test("a revocation moves forward only; a ban can be lifted", async () => {
      await using harness = await open();
      const { store } = harness;
      const anna = { tenant: "default", userId: "anna" };
      const bert = { tenant: "default", userId: "bert" };
      expect(await store.revocations([anna])).toEqual([undefined]);
      await store.putRevocation({ ...anna, issuedBefore: 200, banned: true });
      await store.putRevocation({ ...anna, issuedBefore: 100, banned: false });
      await store.putRevocation({ ...bert, issuedBefore: 0, banned: true });
      const annasNow = { ...anna, issuedBefore: 200, banned: false };
      expect(await store.revocations([bert, { tenant: "other", userId: "anna" }, anna, anna])).toEqual([
        { ...bert, issuedBefore: 0, banned: true },
        undefined,
        annasNow,
        annasNow,
      ]);
      expect(await store.revocations([])).toEqual([]);
      const tooMany = Array.from({ length: 1_001 }, () => anna);
      await expect(store.revocations(tooMany)).rejects.toThrow(RangeError);
    });

    test("a closed store takes no calls", async () => {
      await using harness = await open();
      const { store } = harness;
      await store[Symbol.asyncDispose]();
      await expect(store.open(room)).rejects.toMatchObject({ name: "StoreUnavailable" });
      await expect(new Writer(store).append(append("a"))).rejects.toMatchObject({ name: "StoreUnavailable" });
    });
  });
}
