import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { eventPacket, eventText, offsetOf, pageOffsetOf, parseOffset, readable } from "./entry-event.ts";
import { type Entry, type LogId, logId } from "./log.ts";

const at = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
const iso = "2026-01-02T03:04:05.678Z";

function entryOf(type: string, data: unknown, more: Partial<Entry> = {}): Entry {
  return { seq: 7, id: "id-7", type, actor: "ada", at, v: 1, data: JSON.stringify(data), clientId: null, ...more };
}

/** The event as a client gets it, without an offset. */
function eventOf(entry: Entry, log: LogId = "default/alpha"): unknown {
  return JSON.parse(eventPacket(eventText(log, entry), null).slice(2));
}

const common = { roomId: "alpha", seq: 7 };
const meta = { id: "id-7", seq: 7, at: iso };

describe("an entry as an event", () => {
  test.each([
    {
      entry: entryOf("message", { text: "hi", data: { x: 1 } }, { clientId: "c1" }),
      event: [
        "new_message",
        { id: "id-7", ...common, userId: "ada", createdAt: iso, clientId: "c1", text: "hi", data: { x: 1 } },
      ],
    },
    {
      entry: entryOf("edit", { target: 3, text: "new" }),
      event: ["message_edited", { id: "id-7", ...common, messageSeq: 3, userId: "ada", text: "new", editedAt: iso }],
    },
    {
      entry: entryOf("deletion", { target: 3 }),
      event: ["message_deleted", { id: "id-7", ...common, messageSeq: 3, userId: "ada", deletedAt: iso }],
    },
    {
      entry: entryOf("membership", { userId: "bob", role: null }),
      event: ["membership_changed", { ...common, at: iso, userId: "bob", role: null }],
    },
    { entry: entryOf("notification", { event: "paid", data: [1] }), event: ["paid", [1], meta] },
    { entry: entryOf("announcement", { message: "news" }), event: ["announcement", "news", meta] },
    { entry: entryOf("erased", {}), event: ["entry_erased", common] },
    { entry: entryOf("erasure", { target: 3 }), event: ["entry_erased", { entrySeq: 3, ...common }] },
    {
      entry: entryOf("of a newer node", { any: "thing" }),
      event: ["entry", { roomId: "alpha", type: "of a newer node", data: { any: "thing" } }, meta],
    },
  ])("$entry.type", ({ entry, event }) => {
    expect(readable(entry)).toBe(entry);
    expect(eventOf(entry)).toEqual(event);
  });

  test("[IN-1] any names and texts survive, lone surrogates and markup too", () => {
    const name = fc.string({ unit: "binary", minLength: 1 });
    const fields = fc.record({ text: fc.string({ unit: "binary" }), data: fc.jsonValue() });
    fc.assert(
      fc.property(name, name, name, fields, (room, actor, clientId, data) => {
        const [event, message] = argumentsOf(
          eventOf(entryOf("message", data, { actor, clientId }), logId("default", room)),
        );
        expect(event).toBe("new_message");
        expect(message).toEqual({
          id: "id-7",
          roomId: room,
          seq: 7,
          userId: actor,
          createdAt: iso,
          clientId,
          ...plain(data),
        });
      }),
    );
  });

  test.each([
    { what: "no JSON", entry: entryOf("message", {}, { data: "{" }) },
    { what: "no object", entry: entryOf("message", "text") },
    { what: "an edit of nothing", entry: entryOf("edit", { text: "new" }) },
    { what: "a notification without a name", entry: entryOf("notification", { data: 1 }) },
  ])("[LOG-2] $what in the store is an empty place, and stops nobody", ({ entry }) => {
    expect(eventOf(readable(entry))).toEqual(["entry_erased", common]);
  });
});

describe("offsets", () => {
  const room = fc.string({ unit: "binary", minLength: 1 }).filter((name) => !name.includes("\n"));
  const epoch = fc.stringMatching(/^[A-Za-z0-9_-]{1,20}\.[A-Za-z0-9_-]{1,20}$/);
  const seq = fc.nat(999_999_999_999_999);

  test("[REC-2] are read back as they were made, whatever the room is called", () => {
    fc.assert(
      fc.property(room, epoch, seq, fc.option(seq), (name, life, place, page) => {
        const log = logId("default", name);
        const offset = page === null ? offsetOf(log, life, place) : pageOffsetOf(log, life, place, page);
        expect(parseOffset(offset)).toEqual({ room: name, epoch: life, seq: place, page });
      }),
    );
  });

  test("[IN-1] of a wrong form say nothing, however odd", () => {
    for (const offset of ["", "0", ":", "a:b", "a:b:", "a:b:-1", "a:b:1.5", "a:b:1/", "a:b c:1", ":e:1", "a:e:1e3"])
      expect(parseOffset(offset)).toBeUndefined();
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (offset) => {
        const parsed = parseOffset(offset);
        expect(Number.isSafeInteger(parsed?.seq ?? 0)).toBe(true);
      }),
    );
  });
});

function argumentsOf(event: unknown): readonly unknown[] {
  if (!Array.isArray(event)) throw new Error("an event is an array");
  return event;
}

/** As JSON has it: what is undefined is not there, and -0 is 0. */
function plain(value: object): object {
  return JSON.parse(JSON.stringify(value));
}
