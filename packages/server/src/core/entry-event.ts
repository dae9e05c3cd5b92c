import { type ControlChange, controlChangeSchema, entryData } from "@parley/protocol";
import { type Entry, type Epoch, type LogId, roomOf, type Seq } from "./log.ts";

/**
 * An entry as the event that clients get: the text of a JSON array that is still open at its end, so that the offset
 * can be added for those who want it. Built once per cluster, by the node that appended or read the entry.
 */
export type EventText = string;

export function eventText(log: LogId, entry: Entry): EventText {
  const room = JSON.stringify(roomOf(log));
  switch (entry.type) {
    case "message":
      return `["new_message",${messageText(room, entry)}`;
    case "edit":
    case "deletion":
      return changeText(room, entry);
    case "membership":
      return `["membership_changed",{"roomId":${room},"seq":${entry.seq},"at":"${isoTime(entry.at)}",${entry.data.slice(1)}`;
    case "event":
    case "notification": {
      const { event, data } = entryData.event.parse(JSON.parse(entry.data));
      return `[${JSON.stringify(event)},${JSON.stringify(data)},${metaText(entry)}`;
    }
    case "announcement": {
      const { message } = entryData.announcement.parse(JSON.parse(entry.data));
      return `["announcement",${JSON.stringify(message)},${metaText(entry)}`;
    }
    case "control":
      return `["control",${entry.data}`;
    case "erasure": {
      const { target } = entryData.erasure.parse(JSON.parse(entry.data));
      return `${erasurePrefix}${target},"roomId":${room},"seq":${entry.seq}}`;
    }
    case "erased":
      return `["entry_erased",{"roomId":${room},"seq":${entry.seq}}`;
    default:
      // Why: a newer node may write types that this one does not know; they pass through untouched.
      return `["entry",{"roomId":${room},"type":${JSON.stringify(entry.type)},"data":${entry.data}},${metaText(entry)}`;
  }
}

/**
 * An entry as it was read from the store, or an empty place when its data cannot be understood: one bad row must not
 * stop a room.
 */
export function readable(entry: Entry): Entry {
  try {
    const data: unknown = JSON.parse(entry.data);
    if (typeof data === "object" && data !== null) {
      if (entry.type !== "message") eventText("default/room", entry);
      return entry;
    }
  } catch {
    // What is not readable is not delivered.
  }
  return { ...entry, type: "erased", data: "{}" };
}

/** A message as JSON text; `room` is the room's name as JSON. The entry's data is spliced in without parsing it. */
export function messageText(room: string, entry: Entry): string {
  const client = entry.clientId === null ? "" : `"clientId":${JSON.stringify(entry.clientId)},`;
  return `{"id":"${entry.id}","roomId":${room},"seq":${entry.seq},"userId":${JSON.stringify(entry.actor)},"createdAt":"${isoTime(entry.at)}",${client}${entry.data.slice(1)}`;
}

function changeText(room: string, entry: Entry): EventText {
  const { target, text } =
    entry.type === "edit"
      ? entryData.edit.parse(JSON.parse(entry.data))
      : { ...entryData.deletion.parse(JSON.parse(entry.data)), text: "" };
  const common = `"id":"${entry.id}","roomId":${room},"seq":${entry.seq},"messageSeq":${target},"userId":${JSON.stringify(entry.actor)}`;
  return entry.type === "edit"
    ? `["message_edited",{${common},"text":${JSON.stringify(text)},"editedAt":"${isoTime(entry.at)}"}`
    : `["message_deleted",{${common},"deletedAt":"${isoTime(entry.at)}"}`;
}

function metaText(entry: Entry): string {
  return `{"id":"${entry.id}","seq":${entry.seq},"at":"${isoTime(entry.at)}"}`;
}

let lastTime = Number.NaN;
let lastIsoTime = "";

/** ISO 8601. Entries of one batch share their millisecond, so the last text is kept. */
function isoTime(at: number): string {
  if (at !== lastTime) {
    lastTime = at;
    lastIsoTime = new Date(at).toISOString();
  }
  return lastIsoTime;
}

const erasurePrefix = '["entry_erased",{"entrySeq":';
const deletionPrefix = '["message_deleted",';

/** Whether the event tells that an entry before it has lost its text, which must not be delivered any more. */
export function empties(event: EventText): boolean {
  return event.startsWith(deletionPrefix) || event.startsWith(erasurePrefix);
}

const membershipPrefix = '["membership_changed",';

/** Who gained, changed or lost (`role` null) a membership by this event; null for every other event. */
export function membershipChangeIn(event: EventText): { readonly userId: string; readonly role: string | null } | null {
  if (!event.startsWith(membershipPrefix)) return null;
  return entryData.membership.parse(JSON.parse(event.slice(membershipPrefix.length)));
}

const controlPrefix = '["control",';

/**
 * What an entry of `@control` says, and the node that wrote it. `change` is null when it cannot be understood: a newer
 * node may tell of a loss that this one does not know.
 */
export function controlChangeIn(event: EventText): { readonly from: string; readonly change: ControlChange | null } {
  if (!event.startsWith(controlPrefix)) return { from: "", change: null };
  const data = entryData.control.safeParse(JSON.parse(event.slice(controlPrefix.length)));
  if (!data.success) return { from: "", change: null };
  const change = controlChangeSchema.safeParse(data.data.change);
  return { from: data.data.from, change: change.success ? change.data : null };
}

/** What a client remembers of the last event it got, and presents when it comes back: `room:epoch:seq`. */
export function offsetOf(log: LogId, epoch: Epoch, seq: Seq): string {
  return `${roomOf(log)}:${epoch}:${seq}`;
}

/** The offset of a page of history, which is told apart from the entry at its end: `room:epoch:seq/page`. */
export function pageOffsetOf(log: LogId, epoch: Epoch, seq: Seq, page: number): string {
  return `${offsetOf(log, epoch, seq)}/${page}`;
}

export interface Offset {
  readonly room: string;
  readonly epoch: Epoch;
  readonly seq: Seq;
  /** Number of the page of history that ends there; null for an entry. */
  readonly page: number | null;
}

const offsetForm = /^(?<room>.+):(?<epoch>[A-Za-z0-9._-]+):(?<seq>\d{1,15})(?:\/(?<page>\d{1,15}))?$/s;

/** Undefined for anything that no node of ours can have written. Room names may contain colons. */
export function parseOffset(offset: string): Offset | undefined {
  const groups = offsetForm.exec(offset)?.groups;
  if (groups?.["room"] === undefined || groups["epoch"] === undefined) return undefined;
  const page = groups["page"] === undefined ? null : Number(groups["page"]);
  return { room: groups["room"], epoch: groups["epoch"], seq: Number(groups["seq"]), page };
}

/** The Socket.IO packet of an event on `/`, with or without the offset as its last argument. */
export function eventPacket(event: EventText, offset: string | null): string {
  return offset === null ? `42${event}]` : `42${event},${JSON.stringify(offset)}]`;
}
