import { describe, expect, test } from "vitest";
import { type LogId, logId } from "../core/log.ts";
import {
  append,
  bytesMax,
  deletionOf,
  editOf,
  entriesAfter,
  epochsOf,
  erasureOf,
  membership,
  outcomes,
  room,
  seqsOf,
  startAt,
  type StoreHarness,
  textsOf,
  Writer,
} from "./contract-steps.contract.ts";

export function appendContract(open: () => Promise<StoreHarness>): void {
  describe("append", () => {
    test("[LOG-2] entries get the next seqs of their log, in the order given", async () => {
      await using harness = await open();
      const writer = new Writer(harness.store);
      const other = logId("default", "room-2");
      const results = await writer.append(append("a"), append("b", { log: other }), append("c"), append("d"));
      expect(outcomes(results)).toEqual([1, 1, 2, 3]);
      expect(outcomes(await writer.append(append("e", { log: other }), append("f")))).toEqual([2, 4]);
      const page = await harness.store.readAfter(room, 0, 500, bytesMax);
      expect(textsOf(page?.entries ?? [])).toEqual(["a", "c", "d", "f"]);
      expect(page).toMatchObject({ head: 4, floor: 1, epoch: epochsOf(results)[0] });
    });

    test("[LOG-2] an entry comes back as it was given", async () => {
      await using harness = await open();
      const given = append("snow ☃ 𝄞 \u2028", { actor: "@server", clientId: "c-1", v: 3, type: "message" });
      const note = append("", { type: "later-type", data: '{"x":"\\u0000"}' });
      await new Writer(harness.store).append(given, note);
      const [first, second] = await entriesAfter(harness.store, room, 0);
      const { log: _log, effect: _effect, ...fields } = given;
      expect(first).toEqual({ ...fields, seq: 1 });
      expect(second).toMatchObject({ seq: 2, type: "later-type", data: note.data, clientId: null });
    });

    test("[LOG-2] concurrent appends get distinct, gapless seqs, and readers only ever see a whole beginning", async () => {
      await using harness = await open();
      const logs = [room, logId("default", "room-2"), logId("other", "room-1")];
      const seen = new Map<LogId, (number | string)[]>(logs.map((log) => [log, []]));
      const write = async (node: string): Promise<void> => {
        const writer = new Writer(harness.store, node);
        for (let batch = 0; batch < 15; batch++) {
          const appends = Array.from({ length: 1 + ((batch * 7) % 11) }, (_, index) =>
            append(`${node} ${batch}`, { log: logs[(batch + index) % logs.length] ?? room }),
          );
          const results = outcomes(await writer.append(...appends));
          for (const [index, seq] of results.entries()) seen.get(appends[index]?.log ?? room)?.push(seq);
        }
      };
      const read = async (): Promise<void> => {
        for (let round = 0; round < 30; round++) {
          for (const log of logs) {
            const page = await harness.store.readAfter(log, 0, 500, bytesMax);
            const count = page?.entries.length ?? 0;
            expect(page?.head ?? 0).toBe(count);
            expect(seqsOf(page?.entries ?? [])).toEqual(Array.from({ length: count }, (_, index) => index + 1));
          }
        }
      };
      await Promise.all([write("node-1"), write("node-2"), write("node-3"), read()]);
      for (const [log, seqs] of seen) {
        expect(seqs.toSorted((a, b) => Number(a) - Number(b))).toEqual(seqs.map((_, index) => index + 1));
        expect((await harness.store.states([log]))[0]?.head).toBe(seqs.length);
      }
    });

    test("[LOG-3] a repeat under the same client id is answered with the first one's seq, id and time", async () => {
      await using harness = await open();
      const writer = new Writer(harness.store);
      const first = append("once", { clientId: "c-1" });
      await writer.append(append("before"), first);
      const again = append("once", { clientId: "c-1" });
      const [result] = await writer.append(again);
      expect(result).toMatchObject({ ok: true, seq: 2, id: first.id, at: first.at, repeat: true });
      expect((await harness.store.states([room]))[0]?.head).toBe(2);
    });

    test("[LOG-3] repeats that race, in one batch and between nodes, commit once", async () => {
      await using harness = await open();
      const racing = (): ReturnType<typeof append> => append("once", { clientId: "c-1" });
      const nodes = ["node-1", "node-2", "node-3"].map((node) => new Writer(harness.store, node));
      const results = await Promise.all(nodes.map((node) => node.append(racing(), append("other"), racing())));
      const racers = results.flatMap(([one, , two]) => [one, two]);
      expect(new Set(racers.map((result) => result?.ok && result.seq)).size).toBe(1);
      expect(new Set(racers.map((result) => result?.ok && result.id)).size).toBe(1);
      expect(racers.filter((result) => result?.ok && !result.repeat)).toHaveLength(1);
      expect(seqsOf(await entriesAfter(harness.store, room, 0))).toEqual([1, 2, 3, 4]);
    });

    test("[LOG-3] a client id counts for one user in one room", async () => {
      await using harness = await open();
      const writer = new Writer(harness.store);
      const results = await writer.append(
        append("a", { clientId: "c" }),
        append("b", { clientId: "c", actor: "bert" }),
        append("c", { clientId: "c", log: logId("default", "room-2") }),
        append("d", { clientId: "c", log: logId("other", "room-1") }),
      );
      expect(outcomes(results)).toEqual([1, 2, 1, 1]);
    });

    test("[LOG-3] another body under a client id is refused as a conflict, also after the first was edited", async () => {
      await using harness = await open();
      const writer = new Writer(harness.store);
      await writer.append(append("one", { clientId: "c" }), editOf(1, "two"));
      const other = append("two", { clientId: "c" });
      const otherType = append("one", { clientId: "c", type: "event" });
      const results = await writer.append(other, otherType, append("one", { clientId: "c" }), append("next"));
      expect(outcomes(results)).toEqual(["conflict", "conflict", 1, 3]);
    });

    test("[LOG-3] a bad append fails alone, whatever is wrong with it", async () => {
      await using harness = await open();
      const bad = [
        append("x", { id: "" }),
        append("x", { id: "i".repeat(1_025) }),
        append("x", { type: "a\0b" }),
        append("x", { actor: "a\0b" }),
        append("x", { data: '{"text":"\0"}' }),
        append("x", { clientId: "\ud800" }),
        append("x", { data: JSON.stringify({ text: "ä".repeat(40_000) }) }),
        append("x", { at: Number.NaN }),
        append("x", { at: 1.5 }),
        append("x", { v: Number.POSITIVE_INFINITY }),
        append("x", { log: "/no-tenant" }),
        append("x", { log: logId("default", "a\0b") }),
        editOf(Number.NaN, "x"),
        editOf(1, "a\0b"),
        erasureOf(0.5),
        membership("a\0b", "member"),
      ];
      const results = await new Writer(harness.store).append(append("a"), ...bad, append("b"));
      expect(outcomes(results)).toEqual([1, ...bad.map(() => "bad_request"), 2]);
      expect(textsOf(await entriesAfter(harness.store, room, 0))).toEqual(["a", "b"]);
    });

    test("[LOG-3] repeats and refusals among new entries of several logs leave no gap in any of them", async () => {
      await using harness = await open();
      const writer = new Writer(harness.store);
      // By their bytes the third name stands before the second, by units of UTF-16 after it.
      const logs = ["a", "\u{1f600}", "\ufb00", "z"].map((name) => logId("default", name));
      const first = await writer.append(...logs.map((log) => append("once", { log, clientId: "c" })));
      expect(outcomes(first)).toEqual([1, 1, 1, 1]);
      const batch = logs
        .toReversed()
        .flatMap((log) => [
          append("new", { log, clientId: "n" }),
          append("once", { log, clientId: "c" }),
          editOf(99, "x", { log }),
          append("new", { log, clientId: "n" }),
          append("", { log, type: "event", data: '{"event":"\\"{é}"}' }),
          append("another", { log, clientId: "c" }),
          append("last", { log }),
        ]);
      const results = await writer.append(...batch);
      const expected = [2, 1, "not_found", 2, 3, "conflict", 4];
      expect(outcomes(results)).toEqual(logs.flatMap(() => expected));
      expect(await harness.store.append({ node: writer.node, n: writer.n, appends: batch })).toEqual(results);
      for (const log of logs) {
        const entries = await entriesAfter(harness.store, log, 0);
        expect(entries.map(({ seq, clientId }) => [seq, clientId])).toEqual([
          [1, "c"],
          [2, "n"],
          [3, null],
          [4, null],
        ]);
        expect(entries[2]?.data).toBe('{"event":"\\"{é}"}');
      }
    });

    test("[LOG-3] a refused append does not use its client id up", async () => {
      await using harness = await open();
      const writer = new Writer(harness.store);
      expect(outcomes(await writer.append(editOf(1, "x", { clientId: "c" })))).toEqual(["not_found"]);
      await writer.append(append("a"));
      expect(outcomes(await writer.append(editOf(1, "x", { clientId: "c" })))).toEqual([2]);
    });

    test("[LOG-3] the repeat of a batch under its number gives the same results, and changes nothing", async () => {
      await using harness = await open();
      const writer = new Writer(harness.store);
      await writer.append(append("a", { clientId: "c" }), append("a"));
      const appends = [
        append("b"),
        append("a", { clientId: "c" }),
        append("z", { clientId: "c" }),
        editOf(1, "b", { actor: "bert" }),
        append("d", { clientId: "d" }),
        membership("bert", "member"),
        deletionOf(9),
      ];
      const results = await writer.append(...appends);
      expect(outcomes(results)).toEqual([3, 1, "conflict", "forbidden", 4, 5, "not_found"]);
      await writer.append(append("later", { log: room }), editOf(3, "changed"), deletionOf(4));
      expect(await harness.store.append({ node: "node-1", n: 2, appends })).toEqual(results);
      expect((await harness.store.states([room]))[0]?.head).toBe(8);
      await expect(harness.store.append({ node: "node-1", n: 2, appends: [append("new")] })).rejects.toThrow(Error);
    });

    test("[LOG-3] client ids are forgotten when told so, and not before", async () => {
      await using harness = await open();
      const writer = new Writer(harness.store);
      const old = append("old", { clientId: "c-1", at: startAt });
      const young = append("young", { clientId: "c-2", at: startAt + 5_000 });
      await writer.append(old, young);
      await harness.store.prune(0, startAt + 5_000);
      expect(outcomes(await writer.append({ ...young, id: "r1" }, { ...old, id: "r2", at: startAt + 9_000 }))).toEqual([
        2, 3,
      ]);
      expect(outcomes(await writer.append({ ...old, id: "r3" }))).toEqual([3]);
    });

    test("[LOG-3] a client id outlives its entry", async () => {
      await using harness = await open();
      const writer = new Writer(harness.store);
      const first = append("a", { clientId: "c" });
      await writer.append(first, append("b"), append("d", { clientId: "e" }), erasureOf(3));
      await harness.store.trim(room, 3);
      const results = await writer.append(append("a", { clientId: "c" }), append("d", { clientId: "e" }));
      expect(results).toMatchObject([
        { seq: 1, id: first.id, repeat: true },
        { seq: 3, repeat: true },
      ]);
    });

    test("a batch of none or of too many is a bug of the caller", async () => {
      await using harness = await open();
      await expect(harness.store.append({ node: "n", n: 1, appends: [] })).rejects.toThrow(RangeError);
      const many = Array.from({ length: 1_001 }, () => append("x"));
      await expect(harness.store.append({ node: "n", n: 1, appends: many })).rejects.toThrow(RangeError);
    });
  });
}

export function lifeContract(open: () => Promise<StoreHarness>): void {
  describe("lives, floors and tombstones", () => {
    test("an unknown log has no state, until it is opened or written", async () => {
      await using harness = await open();
      const { store } = harness;
      expect(await store.states([room])).toEqual([undefined]);
      expect(await store.readAfter(room, 0, 10, bytesMax)).toBeUndefined();
      expect(await store.readMessages(room, { limit: 10, bytesMax })).toBeUndefined();
      const opened = await store.open(room);
      expect(opened).toEqual({ epoch: expect.stringMatching(/^[A-Za-z0-9._-]{1,64}$/), head: 0, floor: 1 });
      expect(await store.open(room)).toEqual(opened);
      expect(await store.states([logId("default", "none"), room])).toEqual([undefined, opened]);
      expect(await store.readAfter(room, 0, 10, bytesMax)).toEqual({ ...opened, entries: [] });
      expect(await store.readMessages(room, { limit: 10, bytesMax })).toEqual({ ...opened, messages: [], more: false });
      expect(epochsOf(await new Writer(store).append(append("a")))).toEqual([opened.epoch]);
    });

    test("a room that was deleted and made again has another epoch, and nothing of the first", async () => {
      await using harness = await open();
      const { store } = harness;
      const writer = new Writer(store);
      await store.putRoom({ log: room, access: "members", retainEntriesMax: 0, createdAt: startAt });
      const [first] = await writer.append(append("a", { clientId: "c" }), membership("anna", "owner"));
      expect(await store.deleteRoom(room)).toBe(true);
      expect(await store.deleteRoom(room)).toBe(false);
      expect(await store.states([room])).toEqual([undefined]);
      expect(await store.room(room)).toBeUndefined();
      expect(await store.members(room, "", 10)).toEqual([]);
      const [again] = await writer.append(append("a", { clientId: "c" }));
      expect(again).toMatchObject({ ok: true, seq: 1, repeat: false });
      expect(again?.ok && again.epoch).not.toBe(first?.ok && first.epoch);
      expect(textsOf(await entriesAfter(store, room, 0))).toEqual(["a"]);
    });

    test("a restore begins a new generation: every epoch changes, and all else is there", async () => {
      await using harness = await open();
      const writer = new Writer(harness.store);
      await writer.append(append("a", { clientId: "c" }), append("b"));
      const before = await harness.store.open(room);
      const restored = await harness.restored();
      const after = await restored.open(room);
      expect(after).toMatchObject({ head: before.head, floor: before.floor });
      expect(after.epoch).not.toBe(before.epoch);
      expect(textsOf(await entriesAfter(restored, room, 0))).toEqual(["a", "b"]);
      const results = await new Writer(restored, "node-2").append(append("a", { clientId: "c" }), append("c"));
      expect(outcomes(results)).toEqual([1, 3]);
      expect(epochsOf(results)).toEqual([after.epoch, after.epoch]);
    });

    test("[LOG-2] a trim raises the floor for good, at most to the place after the head", async () => {
      await using harness = await open();
      const { store } = harness;
      const writer = new Writer(store);
      await writer.append(...Array.from({ length: 10 }, (_, index) => append(`${index + 1}`)));
      await store.trim(room, 4);
      await store.trim(room, 2);
      expect(await store.readAfter(room, 0, 500, bytesMax)).toMatchObject({ floor: 4, head: 10 });
      expect(seqsOf(await entriesAfter(store, room, 0))).toEqual([4, 5, 6, 7, 8, 9, 10]);
      const page = await store.readMessages(room, { before: 6, limit: 10, bytesMax });
      expect(seqsOf(page?.messages ?? [])).toEqual([4, 5]);
      expect(page?.more).toBe(false);
      expect(outcomes(await writer.append(editOf(3, "x"), erasureOf(3)))).toEqual(["not_found", "not_found"]);
      await store.trim(room, 99);
      expect(await store.open(room)).toMatchObject({ floor: 11, head: 10 });
      expect(outcomes(await writer.append(append("next")))).toEqual([11]);
      await store.trim(logId("default", "unknown"), 5);
    });

    test("[LOG-2] a room keeps its newest entries only, as many as its setting says", async () => {
      await using harness = await open();
      const { store } = harness;
      const writer = new Writer(store);
      await store.putRoom({ log: room, access: "public", retainEntriesMax: 3, createdAt: startAt });
      await writer.append(append("1"), append("2"));
      expect(await store.open(room)).toMatchObject({ floor: 1, head: 2 });
      await writer.append(append("3"), append("4"), append("5"));
      expect(await store.open(room)).toMatchObject({ floor: 3, head: 5 });
      expect(textsOf(await entriesAfter(store, room, 0))).toEqual(["3", "4", "5"]);
      await store.putRoom({ log: room, access: "public", retainEntriesMax: 1, createdAt: startAt });
      expect(await store.open(room)).toMatchObject({ floor: 5, head: 5 });
      await store.putRoom({ log: room, access: "public", retainEntriesMax: 0, createdAt: startAt });
      await writer.append(append("6"), append("7"), append("8"));
      expect(await store.open(room)).toMatchObject({ floor: 5, head: 8 });
    });

    test("[LOG-2] an erased entry keeps its place, and nothing else", async () => {
      await using harness = await open();
      const { store } = harness;
      const writer = new Writer(store);
      await writer.append(append("a"), append("secret", { clientId: "c" }), editOf(2, "secret too"), append("b"));
      await writer.append(append("", { type: "event", data: '{"event":"e","data":"secret"}' }));
      expect(
        outcomes(await writer.append(erasureOf(2), erasureOf(5), erasureOf(2), erasureOf(6), erasureOf(99))),
      ).toEqual([6, 7, "not_found", "not_found", "not_found"]);
      const entries = await entriesAfter(store, room, 0);
      expect(entries.map(({ type }) => type)).toEqual([
        "message",
        "erased",
        "erased",
        "message",
        "erased",
        "erasure",
        "erasure",
      ]);
      expect(seqsOf(entries)).toEqual([1, 2, 3, 4, 5, 6, 7]);
      expect(entries[1]).toMatchObject({ type: "erased", actor: "", data: "{}", clientId: null });
      expect(JSON.stringify(entries)).not.toContain("secret");
      const page = await store.readMessages(room, { limit: 10, bytesMax });
      expect(textsOf(page?.messages ?? [])).toEqual(["a", "b"]);
      expect(outcomes(await writer.append(editOf(2, "x"), deletionOf(2)))).toEqual(["not_found", "not_found"]);
    });

    test("[LOG-2] an entry that changed something else cannot be erased: readers behind it need it", async () => {
      await using harness = await open();
      const writer = new Writer(harness.store);
      const member = membership("bert", "member");
      await writer.append(append("a"), append("b"), editOf(1, "c"), deletionOf(2), member);
      const results = await writer.append(erasureOf(3), erasureOf(4), erasureOf(5));
      expect(outcomes(results)).toEqual(["not_found", "not_found", "not_found"]);
      const entries = await entriesAfter(harness.store, room, 2);
      expect(entries.map(({ type }) => type)).toEqual(["edit", "deletion", "membership"]);
    });
  });
}
