import type { Message, OutgoingMessage } from "@parley/client";
import { dayOf } from "../ui/format.ts";
import { unreadAfter } from "./reading.ts";
import type { Timeline } from "./timeline.ts";

export type Delivery =
  | { readonly state: "sending" }
  | { readonly state: "sent" }
  | { readonly state: "failed"; readonly clientId: string; readonly reason: string };

/** One row of the feed. */
export interface Row {
  /** Stays the same when a message on its way becomes a committed one. */
  readonly key: string;
  /** Null while the message is on its way. */
  readonly seq: number | null;
  readonly userId: string;
  readonly own: boolean;
  readonly text: string;
  /** ISO 8601. */
  readonly at: string;
  readonly edited: boolean;
  readonly deleted: boolean;
  /** Null for messages of others. */
  readonly delivery: Delivery | null;
  /** The first of its day: a line above it names the day. */
  readonly startsDay: boolean;
  /** The first that is new to who came back: a line above it says so. */
  readonly startsNew: boolean;
  /** Goes on from the row above: same author, soon after. */
  readonly continues: boolean;
}

const continuesWithinMs = 5 * 60_000;

/** The rows of a timeline, oldest first, as the user `userId` sees them, who came back after `newAfterSeq`. */
export function rowsOf(timeline: Timeline, userId: string, newAfterSeq?: number): readonly Row[] {
  const news = unreadAfter(timeline, userId, newAfterSeq);
  const committed = timeline.messages.map((message) => committedRow(message, userId));
  const onTheirWay = timeline.outgoing.map((message) => outgoingRow(message, userId));
  const rows = [...committed, ...onTheirWay];
  return rows.map((row, index) => {
    const above = rows[index - 1];
    const seq = timeline.messages[index]?.seq;
    // Why: a row that was shown as the first of a page keeps its height when the page before it arrives.
    const startsPage = seq !== undefined && timeline.pageStarts.has(seq);
    const startsDay = above === undefined ? timeline.older === "none" : dayOf(above.at) !== dayOf(row.at);
    const startsNew = index === news.firstIndex && !news.more;
    return {
      ...row,
      startsDay,
      startsNew,
      continues: !startsPage && !startsDay && !startsNew && above !== undefined && isSoonAfter(above, row),
    };
  });
}

function isSoonAfter(above: Row, row: Row): boolean {
  return above.userId === row.userId && Date.parse(row.at) - Date.parse(above.at) < continuesWithinMs;
}

function committedRow(message: Message, userId: string): Row {
  const own = message.userId === userId;
  return {
    key: own && message.clientId !== undefined ? `own ${message.clientId}` : message.id,
    seq: message.seq,
    userId: message.userId,
    own,
    text: message.text,
    at: message.createdAt,
    edited: message.editedAt !== undefined,
    deleted: message.deletedAt !== undefined,
    delivery: own ? { state: "sent" } : null,
    startsDay: false,
    startsNew: false,
    continues: false,
  };
}

function outgoingRow(message: OutgoingMessage, userId: string): Row {
  return {
    key: `own ${message.clientId}`,
    seq: null,
    userId,
    own: true,
    text: message.text,
    at: message.createdAt,
    edited: false,
    deleted: false,
    delivery: deliveryOf(message),
    startsDay: false,
    startsNew: false,
    continues: false,
  };
}

function deliveryOf(message: OutgoingMessage): Delivery {
  return message.status === "failed"
    ? { state: "failed", clientId: message.clientId, reason: message.error.message }
    : { state: message.status };
}
