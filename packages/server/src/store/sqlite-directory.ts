import type { DatabaseSync, StatementSync } from "node:sqlite";
import { type LogId, roomOf, tenantOf } from "../core/log.ts";
import { integerOf, readMembership, readRevocation, readRoom, textOf } from "./rows.ts";
import type { InboxPosition, InboxState, Membership, MembershipState, Revocation, Room } from "./store.ts";

/** What is stored beside the logs: rooms, memberships, inbox positions, revocations. */
export class Directory {
  readonly #statements: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync) {
    this.#statements = prepare(database);
  }

  putRoom({ log, access, retainEntriesMax, createdAt }: Room): void {
    this.#statements.putRoom.run(tenantOf(log), roomOf(log), access, retainEntriesMax, createdAt);
  }

  room(log: LogId): Room | undefined {
    const row = this.#statements.room.get(tenantOf(log), roomOf(log));
    return row === undefined ? undefined : readRoom(row);
  }

  rooms(tenant: string, after: string, limit: number): readonly Room[] {
    return this.#statements.rooms.all(tenant, after, limit).map(readRoom);
  }

  /** Deletes the room's record and what belongs to it, not its log. False: there was no record. */
  deleteRoom(log: LogId): boolean {
    const tenant = tenantOf(log);
    const room = roomOf(log);
    this.#statements.deleteMembers.run(tenant, room);
    this.#statements.deleteInbox.run(log);
    return Number(this.#statements.deleteRoom.run(tenant, room).changes) > 0;
  }

  membership(log: LogId, userId: string): MembershipState {
    const row = this.#statements.member.get(tenantOf(log), roomOf(log), userId);
    return { room: this.room(log), role: row === undefined ? undefined : readMembership(row).role };
  }

  members(log: LogId, after: string, limit: number): readonly Membership[] {
    return this.#statements.members.all(tenantOf(log), roomOf(log), after, limit).map(readMembership);
  }

  roomsOfUser(tenant: string, userId: string, after: string, limit: number): readonly Membership[] {
    return this.#statements.roomsOfUser.all(tenant, userId, after, limit).map(readMembership);
  }

  inboxPosition(log: LogId): InboxState["position"] {
    const row = this.#statements.inbox.get(log);
    return row === undefined ? undefined : { epoch: textOf(row["epoch"]), seq: integerOf(row["seq"]) };
  }

  saveInboxPosition({ log, epoch, seq }: InboxPosition): void {
    this.#statements.putInbox.run(log, epoch, seq);
  }

  putRevocation({ tenant, userId, issuedBefore, banned }: Revocation): void {
    this.#statements.putRevocation.run(tenant, userId, issuedBefore, banned ? 1 : 0);
  }

  revocation(tenant: string, userId: string): Revocation | undefined {
    const row = this.#statements.revocation.get(tenant, userId);
    return row === undefined ? undefined : readRevocation(row);
  }
}

function prepare(database: DatabaseSync) {
  const statement = (sql: string): StatementSync => database.prepare(sql);
  const room = "SELECT tenant, room, access, retain_entries_max, created_at FROM room";
  const member = "SELECT tenant, room, user_id, role FROM membership";
  return {
    putRoom: statement(
      `INSERT INTO room (tenant, room, access, retain_entries_max, created_at) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET access = excluded.access, retain_entries_max = excluded.retain_entries_max`,
    ),
    room: statement(`${room} WHERE tenant = ? AND room = ?`),
    rooms: statement(`${room} WHERE tenant = ? AND room > ? ORDER BY room LIMIT ?`),
    deleteRoom: statement("DELETE FROM room WHERE tenant = ? AND room = ?"),
    deleteMembers: statement("DELETE FROM membership WHERE tenant = ? AND room = ?"),
    member: statement(`${member} WHERE tenant = ? AND room = ? AND user_id = ?`),
    members: statement(`${member} WHERE tenant = ? AND room = ? AND user_id > ? ORDER BY user_id LIMIT ?`),
    roomsOfUser: statement(`${member} WHERE tenant = ? AND user_id = ? AND room > ? ORDER BY room LIMIT ?`),
    inbox: statement("SELECT epoch, seq FROM inbox WHERE log = ?"),
    putInbox: statement(
      `INSERT INTO inbox (log, epoch, seq) VALUES (?, ?, ?)
       ON CONFLICT DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq
       WHERE excluded.epoch <> inbox.epoch OR excluded.seq > inbox.seq`,
    ),
    deleteInbox: statement("DELETE FROM inbox WHERE log = ?"),
    putRevocation: statement(
      `INSERT INTO revocation (tenant, user_id, issued_before, banned) VALUES (?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET issued_before = max(issued_before, excluded.issued_before), banned = excluded.banned`,
    ),
    revocation: statement(
      "SELECT tenant, user_id, issued_before, banned FROM revocation WHERE tenant = ? AND user_id = ?",
    ),
  };
}
