import type { Message } from "@parley/client";
import { expect, test } from "vitest";
import { comeBack, seeEnd, unreadAfter } from "./reading.ts";
import { rowsOf } from "./rows.ts";
import { emptyTimeline, resetTimeline } from "./timeline.ts";

const me = "me";
const unknown = { readSeq: undefined, newAfterSeq: undefined };

/** A room whose messages were written by these users, from the `seq` given on. */
function roomOf(authors: readonly string[], fromSeq = 1) {
  const messages = authors.map((userId, index): Message => {
    const seq = fromSeq + index;
    return { id: `id-${seq}`, roomId: "r", seq, userId, text: "", createdAt: "2030-01-01T00:00:00.000Z" };
  });
  return resetTimeline(emptyTimeline, messages, me);
}

test("to who comes for the first time nothing is new", () => {
  expect(comeBack(unknown, roomOf(["her", "her"]), me)).toEqual({ readSeq: 2, newAfterSeq: undefined });
});

test("what others wrote since is new, until the user has come back once more", () => {
  const room = roomOf(["her", "her", "him"]);
  const back = comeBack({ ...unknown, readSeq: 1 }, room, me);
  expect(back).toEqual({ readSeq: 1, newAfterSeq: 1 });
  expect(rowsOf(room, me, back.newAfterSeq).map((row) => row.startsNew)).toEqual([false, true, false]);
  const seen = seeEnd(back, room);
  expect(seen).toEqual({ readSeq: 3, newAfterSeq: 1 });
  expect(comeBack(seen, room, me)).toEqual({ readSeq: 3, newAfterSeq: undefined });
});

test("the message under the line names its author again", () => {
  expect(rowsOf(roomOf(["her", "her", "her"]), me, 1).map((row) => row.continues)).toEqual([false, false, true]);
});

test("whoever wrote, elsewhere too, had read what stands above", () => {
  expect(comeBack({ ...unknown, readSeq: 1 }, roomOf(["her", "him", me]), me).newAfterSeq).toBeUndefined();
});

test("in a room that became shorter nothing is new, and what comes then is", () => {
  const read = comeBack({ ...unknown, readSeq: 9 }, roomOf(["her", "her"]), me);
  expect(read).toEqual({ readSeq: 2, newAfterSeq: undefined });
  expect(unreadAfter(roomOf(["her", "her", "him"]), me, read.readSeq).count).toBe(1);
});

test("of unread messages before the first one shown there is no line yet, and no whole number", () => {
  const room = roomOf(["her", "him"], 50);
  expect(unreadAfter(room, me, 48)).toEqual({ firstIndex: 0, count: 2, more: true });
  expect(unreadAfter(room, me, 49)).toEqual({ firstIndex: 0, count: 2, more: false });
  expect(rowsOf(room, me, 48).some((row) => row.startsNew)).toBe(false);
});
