import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Entry, Seq } from "../core/log.ts";
import {
  append,
  bytesMax,
  changing,
  entriesAfter,
  erasureOf,
  outcomes,
  room,
  type StoreHarness,
  Writer,
} from "./contract-steps.contract.ts";
import type { Append, Store } from "./store.ts";

type Step =
  | { readonly step: "message" | "event" }
  | { readonly step: "edit" | "delete" | "erase"; readonly target: number; readonly moderator: boolean }
  | { readonly step: "trim"; readonly keep: number }
  /** A reader takes the newest page, and follows from there. */
  | { readonly step: "join"; readonly limit: number };

const target = fc.nat({ max: 30 });
const changeStep = fc.record({
  step: fc.constantFrom("edit" as const, "delete" as const, "erase" as const),
  target,
  moderator: fc.boolean(),
});
const steps = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: fc.record({ step: fc.constantFrom("message" as const, "event" as const) }) },
    { weight: 6, arbitrary: changeStep },
    { weight: 1, arbitrary: fc.record({ step: fc.constant("trim" as const), keep: fc.nat({ max: 20 }) }) },
    {
      weight: 3,
      arbitrary: fc.record({ step: fc.constant("join" as const), limit: fc.integer({ min: 1, max: 100 }) }),
    },
  ),
  { minLength: 1, maxLength: 40 },
);

/** What a client shows: messages by place, as the page and the entries after it say. */
class Reader {
  cursor: Seq;
  readonly #shown: Map<Seq, Entry>;
  /** Nothing older than the first page is known to this reader. */
  readonly #from: Seq;

  constructor(messages: readonly Entry[], more: boolean, head: Seq) {
    this.cursor = head;
    this.#shown = new Map(messages.map((message) => [message.seq, message]));
    this.#from = more ? (messages[0]?.seq ?? head) : 0;
  }

  apply(entry: Entry): void {
    this.cursor = entry.seq;
    if (entry.type === "message") this.#shown.set(entry.seq, entry);
    if (!["edit", "deletion", "erasure"].includes(entry.type)) return;
    const change = JSON.parse(entry.data);
    const message = this.#shown.get(Number(change.target));
    if (message === undefined) return;
    const at = new Date(entry.at).toISOString();
    const before = JSON.parse(message.data);
    if (entry.type === "erasure") this.#shown.delete(message.seq);
    else if (entry.type === "edit") this.#show(message, { ...before, text: change.text, editedAt: at });
    else this.#show(message, { text: "", replyTo: before.replyTo, deletedAt: at });
  }

  #show(message: Entry, data: object): void {
    this.#shown.set(message.seq, { ...message, data: JSON.stringify(data) });
  }

  /** What is shown from a place on. */
  shown(floor: Seq): unknown[] {
    return [...this.#shown.values()].filter(({ seq }) => seq >= floor && seq >= this.#from).map(plain);
  }

  /** The part of a page that this reader can know. */
  known(messages: readonly Entry[]): unknown[] {
    return messages.filter(({ seq }) => seq >= this.#from).map(plain);
  }
}

/** Without regard to the order of fields in the data. */
function plain(entry: Entry): unknown {
  return { ...entry, data: JSON.parse(entry.data) };
}

async function run(store: Store, writer: Writer, step: Step, readers: Reader[]): Promise<void> {
  const head = (await store.open(room)).head;
  switch (step.step) {
    case "trim":
      return store.trim(room, head + 1 - step.keep);
    case "join": {
      const page = await store.readMessages(room, { limit: step.limit, bytesMax });
      if (page !== undefined) readers.push(new Reader(page.messages, page.more, page.head));
      return;
    }
    case "message":
    case "event":
    case "edit":
    case "delete":
    case "erase":
      await writer.append(appendOf(step, head));
  }
}

function appendOf(step: Exclude<Step, { step: "trim" | "join" }>, head: Seq): Append {
  switch (step.step) {
    case "message":
      return append("", { data: JSON.stringify({ text: `text ${head + 1}`, replyTo: "id", data: { n: head } }) });
    case "event":
      return append("", { type: "event", data: '{"event":"e","data":1}' });
    case "erase":
      return erasureOf(1 + (step.target % Math.max(head, 1)));
    case "edit":
    case "delete": {
      const { moderator } = step;
      const place = 1 + (step.target % Math.max(head, 1));
      const effect = { kind: step.step, target: place, text: `edit ${head + 1}`, byModerator: moderator };
      return changing(effect, { actor: moderator ? "bert" : "anna" });
    }
  }
}

/** Follows the log with every reader; fails unless each that still can shows what a new reader is shown. */
async function compare(store: Store, readers: readonly Reader[]): Promise<void> {
  const page = await store.readMessages(room, { limit: 100, bytesMax });
  if (page === undefined) return;
  for (const reader of readers) {
    const entries = await entriesAfter(store, room, reader.cursor, 7);
    // A floor above its place is told to the reader, who then starts over.
    if (page.floor > reader.cursor + 1) continue;
    expect(entries.map(({ seq }) => seq)).toEqual(entries.map((_, index) => reader.cursor + 1 + index));
    for (const entry of entries) reader.apply(entry);
    expect(reader.cursor).toBe(page.head);
    expect(reader.shown(page.floor)).toEqual(reader.known(page.messages));
  }
}

export function propertyContract(open: () => Promise<StoreHarness>): void {
  describe("pages and entries", () => {
    test("[LOG-2] a page as of head H and all entries after H give the state of a later page", async () => {
      await using harness = await open();
      const { store } = harness;
      const writer = new Writer(store);
      const report = await fc.check(
        fc.asyncProperty(steps, async (script) => {
          await store.deleteRoom(room);
          const readers: Reader[] = [];
          for (const step of script) await run(store, writer, step, readers);
          await compare(store, readers);
        }),
        { numRuns: 60, seed: 20_240_501 },
      );
      expect(report.failed ? fc.defaultReportMessage(report) : "holds").toBe("holds");
    });

    test("[LOG-2] the property notices a change that is missing from the entries", async () => {
      await using harness = await open();
      const { store } = harness;
      const writer = new Writer(store);
      await writer.append(append("a"), append("b"));
      const reader = new Reader([], false, 0);
      for (const entry of await entriesAfter(store, room, 0)) reader.apply(entry);
      expect(outcomes(await writer.append(erasureOf(1)))).toEqual([3]);
      reader.cursor = 3;
      const page = await store.readMessages(room, { limit: 100, bytesMax });
      expect(reader.shown(1)).not.toEqual(reader.known(page?.messages ?? []));
    });
  });
}
