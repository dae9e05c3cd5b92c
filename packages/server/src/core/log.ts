import type { RoomGapReason } from "@parley/protocol";

/**
 * The words of the design as types: a log is an ordered sequence of entries, an epoch is one life of it.
 */

/** `tenant/room`; the tenant never has a slash. The server's own logs have rooms that begin with `@`. */
export type LogId = `${string}/${string}`;

/** Place of an entry in its log: 1, 2, 3, … without a gap. 0 is the place before the first. */
export type Seq = number;

/** Milliseconds since 1970, by the injected clock. */
export type Millis = number;

/** One life of a log: its random id and the store's generation. Compared for equality only. */
export type Epoch = string;

/** Other than any epoch. */
export const noEpoch: Epoch = "";

export const defaultTenant = "default";

export function logId(tenant: string, room: string): LogId {
  return `${tenant}/${room}`;
}

/** The room as clients name it. */
export function roomOf(log: LogId): string {
  return log.slice(log.indexOf("/") + 1);
}

export function tenantOf(log: LogId): string {
  return log.slice(0, log.indexOf("/"));
}

/** The log of what is meant for one user alone. */
export function inboxOf(tenant: string, userId: string): LogId {
  return `${tenant}/@user:${userId}`;
}

export const announcementsRoom = "@announcements";

/** The log that every node of a cluster follows: who may have lost a right. One for all tenants. */
export const controlLog: LogId = `${defaultTenant}/@control`;

export const entryTypes = [
  "message",
  "edit",
  "deletion",
  "membership",
  "event",
  "notification",
  "announcement",
  "control",
  "erasure",
  "erased",
] as const;

/** An unknown type, written by a newer node, passes through untouched: hence `string`. */
export type EntryType = (typeof entryTypes)[number] | (string & {});

/**
 * One element of a log, as the store keeps it. `data` is JSON text, at most `bounds.entryBytes` UTF-8 bytes; its shape
 * depends on `type` (`core/entry-data.ts`). `actor` is a user id, or `@server` for the server-side API.
 */
export interface Entry {
  readonly seq: Seq;
  readonly id: string;
  readonly type: EntryType;
  readonly actor: string;
  readonly at: Millis;
  /** Version of the shape of `data`. */
  readonly v: number;
  readonly data: string;
  readonly clientId: string | null;
}

export interface LogState {
  readonly epoch: Epoch;
  /** The highest committed `seq`; 0 in an empty log. */
  readonly head: Seq;
  /** The lowest `seq` still kept; `head + 1` when none is. */
  readonly floor: Seq;
}

/** Where a session stands in a log, as it is stored, and handed from node to node. */
export interface SessionCursor {
  readonly log: LogId;
  readonly epoch: Epoch;
  /** What follows it is lacking. -1: its client waits for a page of history. */
  readonly seq: Seq;
  /** What its client is told before the page that it waits for; null when it asked for the page. */
  readonly gap: RoomGapReason | null;
  /** The client had entries of this log before it joined from here: an offset that it remembers may be one of theirs. */
  readonly again: boolean;
  /**
   * With `seq` -1: where the page ended that its client was sent, and may have, with entries after it; null when it was
   * sent none.
   */
  readonly page: Seq | null;
}

/** A room of users, as against the server's own logs. */
export function isRoom(log: LogId): boolean {
  return !roomOf(log).startsWith("@");
}
