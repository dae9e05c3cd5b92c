import { roleSchema, roomAccessSchema } from "@parley/protocol";
import type { LogId } from "../core/log.ts";
import { newSeed } from "./postgres-appends.ts";
import type { Session, Statement } from "./postgres-session.ts";
import { integerOf, readLogId, type Row, textOf } from "./rows.ts";
import type { Membership, MembershipKey, MembershipState, Revocation, Room, UserKey } from "./store.ts";

export async function putRoom(session: Session, room: Room): Promise<void> {
  const { log, access, retainEntriesMax, createdAt } = room;
  await session.rows(statements.putRoom, [log, newSeed(), retainEntriesMax, access, createdAt]);
}

export async function findRoom(session: Session, log: LogId): Promise<Room | undefined> {
  const [row] = await session.rows(statements.room, [log]);
  return row && readRoom(row);
}

export async function listRooms(
  session: Session,
  tenant: string,
  after: string,
  limit: number,
): Promise<readonly Room[]> {
  return (await session.rows(statements.rooms, [tenant, after, limit])).map(readRoom);
}

export async function deleteRoom(session: Session, log: LogId): Promise<boolean> {
  const [row] = await session.rows(statements.deleteRoom, [log]);
  return row?.["deleted"] === true;
}

export async function readMemberships(
  session: Session,
  pairs: readonly MembershipKey[],
): Promise<readonly MembershipState[]> {
  const rows = await session.rows(statements.memberships, [
    pairs.map(({ log }) => log),
    pairs.map(({ userId }) => userId),
  ]);
  return rows.map((row) => ({
    room: row["access"] === null ? undefined : readRoom(row),
    role: row["role"] === null ? undefined : roleSchema.parse(row["role"]),
  }));
}

export async function listMembers(
  session: Session,
  log: LogId,
  after: string,
  limit: number,
): Promise<readonly Membership[]> {
  return (await session.rows(statements.members, [log, after, limit])).map(readMembership);
}

export async function listRoomsOfUser(
  session: Session,
  tenant: string,
  userId: string,
  after: string,
  limit: number,
): Promise<readonly Membership[]> {
  return (await session.rows(statements.roomsOfUser, [tenant, userId, after, limit])).map(readMembership);
}

export async function putRevocation(session: Session, revocation: Revocation): Promise<void> {
  const { tenant, userId, issuedBefore, banned } = revocation;
  await session.rows(statements.putRevocation, [tenant, userId, issuedBefore, banned]);
}

export async function readRevocations(
  session: Session,
  users: readonly UserKey[],
): Promise<readonly (Revocation | undefined)[]> {
  const rows = await session.rows(statements.revocations, [
    users.map(({ tenant }) => tenant),
    users.map(({ userId }) => userId),
  ]);
  return rows.map((row) =>
    row["issued_before"] === null
      ? undefined
      : {
          tenant: textOf(row["tenant"]),
          userId: textOf(row["user_id"]),
          issuedBefore: integerOf(row["issued_before"]),
          banned: row["banned"] === true,
        },
  );
}

function readRoom(row: Row): Room {
  return {
    log: readLogId(textOf(row["log"])),
    access: roomAccessSchema.parse(row["access"]),
    retainEntriesMax: integerOf(row["retain_entries_max"]),
    createdAt: integerOf(row["created_at"]),
  };
}

function readMembership(row: Row): Membership {
  return {
    log: readLogId(textOf(row["log"])),
    userId: textOf(row["user_id"]),
    role: roleSchema.parse(row["role"]),
  };
}

const roomColumns = "room.log, room.access, room.retain_entries_max, room.created_at";
/** Logs of tenant `$tenant` whose room stands behind `$after`: a tenant has no slash, and `0` follows on it. */
const ofTenant = (tenant: string, after: string): string =>
  `log > ${tenant} || '/' || ${after} AND log < ${tenant} || '0'`;

const statements = {
  putRoom: {
    name: "put_room",
    text: `WITH opened AS (
        INSERT INTO log (name, life, head, floor, retain_entries_max)
        VALUES ($1, hashtextextended($1, $2) & 9007199254740991, 0, 1, $3)
        ON CONFLICT (name) DO UPDATE SET retain_entries_max = excluded.retain_entries_max,
          floor = CASE WHEN excluded.retain_entries_max = 0 THEN log.floor
            ELSE greatest(log.floor, log.head + 1 - excluded.retain_entries_max) END
        RETURNING name, life, floor
      ), left_over AS (
        INSERT INTO garbage (log, life, until) SELECT name, life, floor FROM opened WHERE floor > 1
        ON CONFLICT (log, life) DO UPDATE SET until = greatest(garbage.until, excluded.until)
      )
      INSERT INTO room (log, retain_entries_max, access, created_at) VALUES ($1, $3, $4, $5)
      ON CONFLICT (log) DO UPDATE SET access = excluded.access, retain_entries_max = excluded.retain_entries_max`,
  },
  room: { name: "room", text: `SELECT ${roomColumns} FROM room WHERE log = $1` },
  rooms: {
    name: "rooms",
    text: `SELECT ${roomColumns} FROM room WHERE ${ofTenant("$1::text", "$2::text")} ORDER BY log LIMIT $3`,
  },
  deleteRoom: { name: "delete_room", text: "SELECT delete_room($1) AS deleted" },
  memberships: {
    name: "memberships",
    text: `SELECT ${roomColumns}, membership.role
      FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS given (log, user_id, place)
      LEFT JOIN room ON room.log = given.log
      LEFT JOIN membership ON membership.log = given.log AND membership.user_id = given.user_id
      ORDER BY place`,
  },
  members: {
    name: "members",
    text: "SELECT log, user_id, role FROM membership WHERE log = $1 AND user_id > $2 ORDER BY user_id LIMIT $3",
  },
  roomsOfUser: {
    name: "rooms_of_user",
    text: `SELECT log, user_id, role FROM membership
      WHERE user_id = $2 AND ${ofTenant("$1::text", "$3::text")} ORDER BY log LIMIT $4`,
  },
  putRevocation: {
    name: "put_revocation",
    text: `INSERT INTO revocation (tenant, user_id, issued_before, banned) VALUES ($1, $2, $3, $4)
      ON CONFLICT (tenant, user_id) DO UPDATE SET
        issued_before = greatest(revocation.issued_before, excluded.issued_before), banned = excluded.banned`,
  },
  revocations: {
    name: "revocations",
    text: `SELECT given.tenant, given.user_id, revocation.issued_before, revocation.banned
      FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS given (tenant, user_id, place)
      LEFT JOIN revocation ON revocation.tenant = given.tenant AND revocation.user_id = given.user_id
      ORDER BY place`,
  },
} as const satisfies Record<string, Statement>;
