import { describe, expect, test } from "vitest";
import type { Store } from "./store.ts";
import {
  append,
  bytesMax,
  changing,
  deletionOf,
  editOf,
  entriesAfter,
  outcomes,
  room,
  seqsOf,
  startAt,
  type StoreHarness,
  textsOf,
  Writer,
} from "./contract-steps.contract.ts";

/** Messages at the odd places 1, 3, … 19, events between. */
async function mixedLog(store: Store): Promise<Writer> {
  const writer = new Writer(store);
  const appends = Array.from({ length: 20 }, (_, index) =>
    index % 2 === 0 ? append(`${index + 1}`) : append("", { type: "event", data: '{"event":"e","data":1}' }),
  );
  await writer.append(...appends);
  return writer;
}

async function messages(store: Store, range: { before?: number; after?: number; limit: number; bytesMax?: number }) {
  const page = await store.readMessages(room, { bytesMax, ...range });
  return { seqs: seqsOf(page?.messages ?? []), more: page?.more, head: page?.head };
}

export function messageContract(open: () => Promise<StoreHarness>): void {
  describe("messages", () => {
    test("an edit replaces the text, for later readers at the message's own place", async () => {
      await using harness = await open();
      const { store } = harness;
      const writer = new Writer(store);
      await writer.append(append("", { data: '{"text":"a","replyTo":"id-0","data":{"x":[1]},"later":2}' }));
      const edit = editOf(1, "b", { at: startAt + 60_000 });
      expect(outcomes(await writer.append(append("c"), edit))).toEqual([2, 3]);
      const editedAt = new Date(startAt + 60_000).toISOString();
      const [first, , third] = await entriesAfter(store, room, 0);
      expect(first).toMatchObject({ seq: 1, type: "message", actor: "anna" });
      expect(JSON.parse(first?.data ?? "")).toEqual({
        text: "b",
        replyTo: "id-0",
        data: { x: [1] },
        later: 2,
        editedAt,
      });
      expect(third).toMatchObject({ seq: 3, type: "edit", data: '{"target":1,"text":"b"}' });
      const page = await store.readMessages(room, { limit: 10, bytesMax });
      expect(textsOf(page?.messages ?? [])).toEqual(["b", "c"]);
      expect(page?.head).toBe(3);
    });

    test("a deletion leaves a tombstone, and no text anywhere in the log", async () => {
      await using harness = await open();
      const { store } = harness;
      const writer = new Writer(store);
      await writer.append(append("", { data: '{"text":"secret","replyTo":"id-0","data":"secret"}' }));
      await writer.append(editOf(1, "secret 2"), editOf(1, "secret 3"), deletionOf(1, { at: startAt + 60_000 }));
      const entries = await entriesAfter(store, room, 0);
      expect(JSON.stringify(entries)).not.toContain("secret");
      expect(entries.map(({ type }) => type)).toEqual(["message", "erased", "erased", "deletion"]);
      const deletedAt = new Date(startAt + 60_000).toISOString();
      expect(JSON.parse(entries[0]?.data ?? "")).toEqual({ text: "", replyTo: "id-0", deletedAt });
      expect(await messages(store, { limit: 10 })).toMatchObject({ seqs: [1], head: 4 });
      expect(outcomes(await writer.append(editOf(1, "x"), deletionOf(1)))).toEqual(["not_found", "not_found"]);
    });

    test("a change is for the author and for moderators, and for messages alone", async () => {
      await using harness = await open();
      const writer = new Writer(harness.store);
      const event = append("", { type: "event", data: '{"text":"a"}' });
      const broken = append("", { data: "no json" });
      await writer.append(append("a"), event, broken);
      const results = await writer.append(
        editOf(1, "x", { actor: "bert" }),
        deletionOf(1, { actor: "bert" }),
        editOf(2, "x"),
        editOf(3, "x"),
        editOf(0, "x"),
        editOf(-1, "x"),
        editOf(6, "x"),
        editOf(1, "x".repeat(65_530)),
        changing({ kind: "edit", target: 1, text: "m", byModerator: true }, { actor: "bert" }),
        changing({ kind: "delete", target: 1, byModerator: true }, { actor: "bert" }),
      );
      expect(outcomes(results)).toEqual([
        "forbidden",
        "forbidden",
        "not_found",
        "not_found",
        "not_found",
        "not_found",
        "not_found",
        "bad_request",
        4,
        5,
      ]);
    });

    test("an edit that makes its message larger than an entry may be is refused", async () => {
      await using harness = await open();
      const writer = new Writer(harness.store);
      await writer.append(append("", { data: JSON.stringify({ text: "a", data: "x".repeat(40_000) }) }));
      const results = await writer.append(editOf(1, "y".repeat(30_000)), editOf(1, "b"));
      expect(outcomes(results)).toEqual(["bad_request", 2]);
    });

    test("a message can be changed by the batch that brings it", async () => {
      await using harness = await open();
      const results = await new Writer(harness.store).append(append("a"), editOf(1, "b"), append("c"), deletionOf(3));
      expect(outcomes(results)).toEqual([1, 2, 3, 4]);
      const page = await harness.store.readMessages(room, { limit: 10, bytesMax });
      expect(textsOf(page?.messages ?? [])).toEqual(["b", ""]);
    });

    test("pages hold messages alone, oldest first, from the newest, before and after a place", async () => {
      await using harness = await open();
      const { store } = harness;
      await mixedLog(store);
      expect(await messages(store, { limit: 3 })).toEqual({ seqs: [15, 17, 19], more: true, head: 20 });
      expect(await messages(store, { before: 15, limit: 3 })).toEqual({ seqs: [9, 11, 13], more: true, head: 20 });
      expect(await messages(store, { before: 6, limit: 3 })).toEqual({ seqs: [1, 3, 5], more: false, head: 20 });
      expect(await messages(store, { before: 1, limit: 3 })).toEqual({ seqs: [], more: false, head: 20 });
      expect(await messages(store, { before: 999, limit: 1 })).toEqual({ seqs: [19], more: true, head: 20 });
      expect(await messages(store, { after: 0, limit: 3 })).toEqual({ seqs: [1, 3, 5], more: true, head: 20 });
      expect(await messages(store, { after: 5, limit: 100 })).toEqual({
        seqs: [7, 9, 11, 13, 15, 17, 19],
        more: false,
        head: 20,
      });
      expect(await messages(store, { after: 19, limit: 3 })).toEqual({ seqs: [], more: false, head: 20 });
      expect(await messages(store, { after: 999, limit: 3 })).toEqual({ seqs: [], more: false, head: 20 });
      expect(await messages(store, { limit: 10 })).toMatchObject({ more: false });
    });

    test("pages, put together both ways, are the whole log", async () => {
      await using harness = await open();
      const { store } = harness;
      await mixedLog(store);
      await store.trim(room, 4);
      const odd = [5, 7, 9, 11, 13, 15, 17, 19];
      const backward: number[] = [];
      for (let before = 21, more: boolean | undefined = true; more === true; ) {
        const page = await messages(store, { before, limit: 3 });
        backward.unshift(...page.seqs);
        before = page.seqs[0] ?? 0;
        more = page.more;
      }
      const forward: number[] = [];
      for (let after = 0, more: boolean | undefined = true; more === true; ) {
        const page = await messages(store, { after, limit: 3 });
        forward.push(...page.seqs);
        after = page.seqs.at(-1) ?? 99;
        more = page.more;
      }
      expect(backward).toEqual(odd);
      expect(forward).toEqual(odd);
      expect(seqsOf(await entriesAfter(store, room, 0, 7))).toEqual(
        Array.from({ length: 17 }, (_, index) => index + 4),
      );
      expect(seqsOf((await store.readAfter(room, 10, 3, bytesMax))?.entries ?? [])).toEqual([11, 12, 13]);
      expect((await store.readAfter(room, 99, 3, bytesMax))?.entries).toEqual([]);
    });

    test("a page ends near its bound of bytes, and has one entry at least", async () => {
      await using harness = await open();
      const { store } = harness;
      await new Writer(store).append(...Array.from({ length: 9 }, () => append("x".repeat(988))));
      const read = async (bytes: number): Promise<number[]> =>
        seqsOf((await store.readAfter(room, 2, 500, bytes))?.entries ?? []);
      expect(await read(1)).toEqual([3]);
      expect(await read(3_500)).toEqual([3, 4, 5]);
      expect(await messages(store, { limit: 100, bytesMax: 1 })).toEqual({ seqs: [9], more: true, head: 9 });
      expect(await messages(store, { limit: 100, bytesMax: 2_500 })).toMatchObject({ seqs: [8, 9], more: true });
      expect(await messages(store, { after: 0, limit: 100, bytesMax: 2_500 })).toMatchObject({
        seqs: [1, 2],
        more: true,
      });
      expect(await messages(store, { after: 8, limit: 100, bytesMax: 1 })).toMatchObject({ seqs: [9], more: false });
    });

    test("a page beyond its bounds is a bug of the caller", async () => {
      await using harness = await open();
      const { store } = harness;
      await store.open(room);
      await expect(store.readAfter(room, 0, 501, bytesMax)).rejects.toThrow(RangeError);
      await expect(store.readMessages(room, { limit: 0, bytesMax })).rejects.toThrow(RangeError);
      await expect(store.readMessages(room, { limit: 101, bytesMax })).rejects.toThrow(RangeError);
    });
  });
}
