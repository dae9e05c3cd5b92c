import type { Timeline } from "./timeline.ts";

/** How far a user has read the room. Pure: each function gives the next reading. */
export interface Reading {
  /** What was the last message when the end was last in sight. Undefined: nothing is known of this user yet. */
  readonly readSeq: number | undefined;
  /** Where the user had stopped on coming back to something unread: a line stands below it. */
  readonly newAfterSeq: number | undefined;
}

/** Messages of others after a `seq`. */
export interface Unread {
  /** Index of the first one among the timeline's messages; −1 when there is none. */
  readonly firstIndex: number;
  readonly count: number;
  /** There may be more of them before the first message shown. */
  readonly more: boolean;
}

/** `afterSeq` undefined: nothing is unread. */
export function unreadAfter(timeline: Timeline, userId: string, afterSeq: number | undefined): Unread {
  const isUnread = (message: Timeline["messages"][number]): boolean =>
    afterSeq !== undefined && message.seq > afterSeq && message.userId !== userId;
  const { messages, older } = timeline;
  const firstSeq = messages[0]?.seq ?? 0;
  return {
    firstIndex: messages.findIndex(isUnread),
    count: messages.filter(isUnread).length,
    more: older !== "none" && afterSeq !== undefined && firstSeq > afterSeq + 1,
  };
}

/** The user looks at the room again, or for the first time: then all there is counts as read. */
export function comeBack({ readSeq }: Reading, timeline: Timeline, userId: string): Reading {
  const last = lastSeqOf(timeline);
  const lastOwn = timeline.messages.findLast((message) => message.userId === userId)?.seq ?? 0;
  // Why not beyond the last: after a restore the room is shorter. Why the own one: whoever wrote, elsewhere too, had read.
  const read = Math.min(last, Math.max(readSeq ?? last, lastOwn));
  return { readSeq: read, newAfterSeq: unreadAfter(timeline, userId, read).count > 0 ? read : undefined };
}

/** The end is in sight. */
export function seeEnd(reading: Reading, timeline: Timeline): Reading {
  return { ...reading, readSeq: lastSeqOf(timeline) };
}

/** A message of the user's own has come: what stands above it is no news any more. */
export function answer(seq: number): Reading {
  return { readSeq: seq, newAfterSeq: undefined };
}

function lastSeqOf({ messages }: Timeline): number {
  return messages.at(-1)?.seq ?? 0;
}
