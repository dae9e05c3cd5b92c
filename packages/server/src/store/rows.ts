import { roleSchema, roomAccessSchema, roomGapReasonSchema } from "@parley/protocol";
import { z } from "zod";
import { type Entry, type LogId, logId, type SessionCursor } from "../core/log.ts";
import type { Membership, Revocation, Room, StoredSession } from "./store.ts";

/** The edge between rows and the rest: a row is read into a typed value here, or throws. */
export type Row = Readonly<Record<string, unknown>>;

export function textOf(value: unknown): string {
  if (typeof value !== "string") throw new TypeError(`a column holds ${typeof value}, not text`);
  return value;
}

export function integerOf(value: unknown): number {
  if (typeof value !== "number") throw new TypeError(`a column holds ${typeof value}, not an integer`);
  return value;
}

export function bytesOf(value: unknown): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new TypeError(`a column holds ${typeof value}, not bytes`);
  return value;
}

export function integerOrNull(value: unknown): number | null {
  return value === null ? null : integerOf(value);
}

export function readLogId(name: string): LogId {
  const slash = name.indexOf("/");
  return logId(name.slice(0, slash), name.slice(slash + 1));
}

export function readEntry(row: Row): Entry {
  const clientId = row["client_id"];
  return {
    seq: integerOf(row["seq"]),
    id: textOf(row["id"]),
    type: textOf(row["type"]),
    actor: textOf(row["actor"]),
    at: integerOf(row["at"]),
    v: integerOf(row["v"]),
    data: textOf(row["data"]),
    clientId: clientId === null ? null : textOf(clientId),
  };
}

export function readRoom(row: Row): Room {
  return {
    log: logId(textOf(row["tenant"]), textOf(row["room"])),
    access: roomAccessSchema.parse(row["access"]),
    retainEntriesMax: integerOf(row["retain_entries_max"]),
    createdAt: integerOf(row["created_at"]),
  };
}

export function readMembership(row: Row): Membership {
  return {
    log: logId(textOf(row["tenant"]), textOf(row["room"])),
    userId: textOf(row["user_id"]),
    role: roleSchema.parse(row["role"]),
  };
}

export function readRevocation(row: Row): Revocation {
  return {
    tenant: textOf(row["tenant"]),
    userId: textOf(row["user_id"]),
    issuedBefore: integerOf(row["issued_before"]),
    banned: integerOf(row["banned"]) !== 0,
  };
}

const cursorRows = z.array(
  z.tuple([z.string(), z.string(), z.int(), roomGapReasonSchema.nullable(), z.boolean(), z.int().nullable()]),
);

/** The column `cursors` of a session. */
export function writeCursors(cursors: readonly SessionCursor[]): string {
  return JSON.stringify(cursors.map(({ log, epoch, seq, gap, again, page }) => [log, epoch, seq, gap, again, page]));
}

export function readSession(row: Row): StoredSession {
  return {
    pid: textOf(row["pid"]),
    id: textOf(row["id"]),
    tenant: textOf(row["tenant"]),
    userId: textOf(row["user_id"]),
    owner: textOf(row["owner"]),
    generation: integerOf(row["generation"]),
    keepMs: integerOf(row["keep_ms"]),
    cursors: cursorRows
      .parse(JSON.parse(textOf(row["cursors"])))
      .map(
        ([log, epoch, seq, gap, again, page]): SessionCursor => ({ log: readLogId(log), epoch, seq, gap, again, page }),
      ),
  };
}
