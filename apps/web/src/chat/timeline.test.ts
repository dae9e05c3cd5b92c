import { type Message, type OutgoingMessage, ParleyError } from "@parley/client";
import { describe, expect, test } from "vitest";
import { rowsOf } from "./rows.ts";
import * as timelines from "./timeline.ts";

const me = "me";

function message(seq: number, fields: Partial<Message> = {}): Message {
  const createdAt = new Date(2030, 0, 1, 12, seq).toISOString();
  return { id: `id-${seq}`, roomId: "r", seq, userId: "other", text: `text ${seq}`, createdAt, ...fields };
}

function outgoing(
  clientId: string,
  state: { status: "sending" } | { status: "sent"; id: string; seq: number },
): OutgoingMessage {
  return { clientId, roomId: "r", text: clientId, createdAt: new Date(2030, 0, 1, 13).toISOString(), ...state };
}

function failed(clientId: string): OutgoingMessage {
  const error = new ParleyError("forbidden", "not here");
  return { ...outgoing(clientId, { status: "sending" }), status: "failed", error };
}

/** A timeline whose first page holds the messages of these seqs. */
function loaded(...seqs: number[]): timelines.Timeline {
  const page = seqs.map((seq) => message(seq));
  return timelines.resetTimeline(timelines.emptyTimeline, page, me);
}

const seqsOf = (timeline: timelines.Timeline) => timeline.messages.map(({ seq }) => seq);
const clientIdsOf = (timeline: timelines.Timeline) => timeline.outgoing.map(({ clientId }) => clientId);

describe("messages", () => {
  test("follow in order, and one that is shown is not added again", () => {
    const timeline = [message(3), message(4), message(3)].reduce(
      (before, next) => timelines.addMessage(before, next, me),
      loaded(1, 2),
    );
    expect(seqsOf(timeline)).toEqual([1, 2, 3, 4]);
  });

  test("are edited, deleted and erased in place", () => {
    const edit = { id: "e", roomId: "r", seq: 4, messageSeq: 1, userId: me, text: "new", editedAt: "now" };
    const deletion = { id: "d", roomId: "r", seq: 5, messageSeq: 2, userId: me, deletedAt: "now" };
    const changed = timelines.eraseMessage(
      timelines.deleteMessage(timelines.editMessage(loaded(1, 2, 3), edit), deletion),
      3,
    );
    expect(changed.messages).toMatchObject([
      { text: "new", editedAt: "now" },
      { text: "", deletedAt: "now" },
    ]);
  });

  test("are replaced by the latest page after a gap", () => {
    expect(seqsOf(timelines.resetTimeline(loaded(1, 2), [message(90)], me))).toEqual([90]);
  });
});

describe("earlier messages", () => {
  test("may lie before a first one that is not the first of the room", () => {
    expect([loaded(1).older, loaded(7).older, loaded().older]).toEqual(["none", "some", "none"]);
  });

  test("come before the others, until there are no more", () => {
    const asked = timelines.olderAsked(loaded(7, 8));
    const page = timelines.addOlder(asked, [message(5), message(6)], 7, true);
    expect([seqsOf(page), page.older, page.startMoved]).toEqual([[5, 6, 7, 8], "some", true]);
    const askedAgain = timelines.olderAsked(page);
    expect(timelines.addOlder(askedAgain, [message(4)], 5, false).older).toBe("none");
    expect(timelines.addOlder(askedAgain, [], 5, true).older).toBe("none");
  });

  test("are forgotten when there are very many, and can be asked for again", () => {
    const many = loaded(...Array.from({ length: 2_000 }, (_, index) => index + 1));
    expect(timelines.forgetFirst(many)).toBe(many);
    const kept = timelines.forgetFirst(timelines.addMessage(many, message(2_001), me));
    expect([kept.messages.length, kept.messages[0]?.seq, kept.messages.at(-1)?.seq]).toEqual([1_000, 1_002, 2_001]);
    expect([kept.older, kept.startMoved]).toEqual(["some", true]);
    const page = timelines.addOlder(timelines.olderAsked(kept), [message(1_001)], 1_002, true);
    expect(page.messages.slice(0, 2).map(({ seq }) => seq)).toEqual([1_001, 1_002]);
  });

  test("are ignored when the timeline has started over meanwhile", () => {
    const asked = timelines.olderAsked(loaded(7, 8));
    const fresh = timelines.resetTimeline(asked, [message(90)], me);
    expect(timelines.addOlder(fresh, [message(6)], 7, true)).toBe(fresh);
  });

  test("come also when the first one shown is erased meanwhile", () => {
    const asked = timelines.eraseMessage(timelines.olderAsked(loaded(7, 8)), 7);
    const page = timelines.addOlder(asked, [message(5), message(6)], 7, true);
    expect([seqsOf(page), page.older]).toEqual([[5, 6, 8], "some"]);
  });

  test("that could not be loaded say so, unless the timeline has started over meanwhile", () => {
    const asked = timelines.olderAsked(loaded(7, 8));
    expect(timelines.olderFailed(asked, 7).older).toBe("failed");
    const fresh = timelines.resetTimeline(asked, [message(90)], me);
    expect(timelines.olderFailed(fresh, 7)).toBe(fresh);
  });

  test("leave the height of the rows below them as it was", () => {
    const page = [message(7, { userId: "a" }), message(8, { userId: "a" })];
    const before = timelines.resetTimeline(timelines.emptyTimeline, page, me);
    const after = timelines.addOlder(timelines.olderAsked(before), [message(6, { userId: "a" })], 7, true);
    expect(rowsOf(after, me).slice(1)).toEqual(rowsOf(before, me));
  });
});

describe("messages on their way", () => {
  test("stand last, and make room for the committed one under the same key", () => {
    const sending = timelines.changeOutgoing(loaded(1), outgoing("c", { status: "sending" }));
    const sent = timelines.changeOutgoing(sending, outgoing("c", { status: "sent", id: "id-2", seq: 2 }));
    const committed = timelines.addMessage(sent, message(2, { userId: me, clientId: "c" }), me);
    expect([sending, sent, committed].map((timeline) => rowsOf(timeline, me).at(-1))).toMatchObject([
      { key: "own c", delivery: { state: "sending" } },
      { key: "own c", delivery: { state: "sent" } },
      { key: "own c", delivery: { state: "sent" } },
    ]);
    expect(clientIdsOf(committed)).toEqual([]);
  });

  test("are not shown twice when the message comes before its acknowledgement", () => {
    const sending = timelines.changeOutgoing(loaded(1), outgoing("c", { status: "sending" }));
    const committed = timelines.addMessage(sending, message(2, { userId: me, clientId: "c" }), me);
    const sent = timelines.changeOutgoing(committed, outgoing("c", { status: "sent", id: "id-2", seq: 2 }));
    expect(rowsOf(sent, me).map(({ key }) => key)).toEqual(["id-1", "own c"]);
  });

  test("stay when somebody else uses their clientId", () => {
    const sending = timelines.changeOutgoing(loaded(1), outgoing("c", { status: "sending" }));
    expect(clientIdsOf(timelines.addMessage(sending, message(2, { clientId: "c" }), me))).toEqual(["c"]);
    expect(clientIdsOf(timelines.resetTimeline(sending, [message(2, { clientId: "c" })], me))).toEqual(["c"]);
  });

  test("go when the latest page has them", () => {
    const sending = timelines.changeOutgoing(loaded(1), outgoing("c", { status: "sending" }));
    const page = [message(2, { userId: me, clientId: "c" })];
    expect(clientIdsOf(timelines.resetTimeline(sending, page, me))).toEqual([]);
  });

  test("go when they turn out to be committed before the latest page", () => {
    const sending = timelines.changeOutgoing(loaded(90), outgoing("c", { status: "sending" }));
    const sent = timelines.changeOutgoing(sending, outgoing("c", { status: "sent", id: "id-7", seq: 7 }));
    expect(clientIdsOf(sent)).toEqual([]);
    const next = timelines.changeOutgoing(sending, outgoing("c", { status: "sent", id: "id-91", seq: 91 }));
    expect(clientIdsOf(next)).toEqual(["c"]);
    expect(clientIdsOf(timelines.resetTimeline(next, [message(190)], me))).toEqual([]);
  });

  test("keep their place when they fail, and go last when they are sent again", () => {
    const both = ["a", "b"].reduce(
      (timeline, clientId) => timelines.changeOutgoing(timeline, outgoing(clientId, { status: "sending" })),
      loaded(1),
    );
    const failing = timelines.changeOutgoing(both, failed("a"));
    expect(rowsOf(failing, me)[1]?.delivery).toEqual({ state: "failed", clientId: "a", reason: "not here" });
    const again = timelines.changeOutgoing(failing, outgoing("a", { status: "sending" }));
    expect([clientIdsOf(failing), clientIdsOf(again)]).toEqual([
      ["a", "b"],
      ["b", "a"],
    ]);
    expect(clientIdsOf(timelines.discardOutgoing(again, "b"))).toEqual(["a"]);
  });
});

describe("rows", () => {
  test("name a day once, and an author once for messages that follow soon", () => {
    const at = (day: number, minute: number) => ({ createdAt: new Date(2030, 0, day, 9, minute).toISOString() });
    const page = [
      message(1, { userId: "a", ...at(1, 0) }),
      message(2, { userId: "a", ...at(1, 4) }),
      message(3, { userId: "a", ...at(1, 30) }),
      message(4, { userId: "b", ...at(1, 31) }),
      message(5, { userId: "b", ...at(2, 0) }),
    ];
    const rows = rowsOf(timelines.resetTimeline(timelines.emptyTimeline, page, me), me);
    expect(rows.map(({ startsDay }) => startsDay)).toEqual([true, false, false, false, true]);
    expect(rows.map(({ continues }) => continues)).toEqual([false, true, false, false, false]);
  });

  test("say how own messages went, and nothing of that for others", () => {
    const timeline = timelines.addMessage(loaded(1), message(2, { userId: me }), me);
    expect(rowsOf(timeline, me).map(({ own, delivery }) => [own, delivery?.state])).toEqual([
      [false, undefined],
      [true, "sent"],
    ]);
  });
});
