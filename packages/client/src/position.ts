import type { Position } from "@parley/protocol";

/** Where an entry stands: in which log, and there at which position. */
export interface Place {
  readonly log: string;
  readonly position: Position;
}

export const announcementsLog = "@announcements";
export const inboxPrefix = "@user:";

// Read from the right: the name of a log may contain colons. A page of history has its number behind a slash.
const offsetForm = /^(.+):([A-Za-z0-9._-]+):(\d{1,15})(?:\/\d{1,15})?$/s;

/**
 * Reads an offset, which the server puts after the arguments of an entry, `roomId:epoch:seq`, and of a page of history,
 * `roomId:epoch:seq/page`. Undefined for anything else.
 */
export function parseOffset(offset: unknown): Place | undefined {
  const parts = typeof offset === "string" ? offsetForm.exec(offset) : null;
  const [, log, epoch, seq] = parts ?? [];
  if (log === undefined || epoch === undefined || seq === undefined) return undefined;
  return { log, position: { epoch, seq: Number(seq) } };
}

/** How an entry follows the position reached: `next` alone is to be delivered. */
export type Following = "next" | "repeated" | "gap" | "other_epoch";

export function following(reached: Position, entry: Position): Following {
  if (entry.epoch !== reached.epoch) return "other_epoch";
  if (entry.seq <= reached.seq) return "repeated";
  return entry.seq === reached.seq + 1 ? "next" : "gap";
}
