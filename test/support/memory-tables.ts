import type { Role } from "@parley/protocol";
import type { Epoch, LogId, Millis, Seq } from "../../packages/server/src/core/log.ts";
import type {
  Append,
  AppendResult,
  InboxPosition,
  JournalHead,
  JournalRow,
  Revocation,
  Room,
  SessionClaim,
  SessionKey,
  StoredSession,
  UserKey,
} from "../../packages/server/src/store/store.ts";
import { MemoryLog } from "./memory-log.ts";

export interface MemoryJournalRow extends JournalRow {
  readonly key: string;
  readonly results: readonly AppendResult[];
}

interface MemorySession extends StoredSession {
  readonly endsAt: Millis;
}

/** All that the memory store holds, as one value that can be copied. */
export class MemoryTables {
  generation = 1;
  #lives = 0;
  logs = new Map<LogId, MemoryLog>();
  rooms = new Map<LogId, Room>();
  members = new Map<LogId, Map<string, Role>>();
  inboxes = new Map<LogId, { epoch: Epoch; seq: Seq }>();
  revocations = new Map<string, Revocation>();
  sessions = new Map<string, MemorySession>();
  /** When the lease of each node ends, or did. */
  leases = new Map<string, Millis>();
  /** Rows of each node, ascending by `n`. */
  journal = new Map<string, MemoryJournalRow[]>();

  copy(): MemoryTables {
    const copy = new MemoryTables();
    copy.generation = this.generation;
    copy.#lives = this.#lives;
    copy.logs = new Map([...this.logs].map(([log, rows]) => [log, rows.copy()]));
    copy.rooms = new Map(this.rooms);
    copy.members = new Map([...this.members].map(([log, users]) => [log, new Map(users)]));
    copy.inboxes = new Map(this.inboxes);
    copy.revocations = new Map(this.revocations);
    copy.sessions = new Map(this.sessions);
    copy.leases = new Map(this.leases);
    copy.journal = new Map([...this.journal].map(([node, rows]) => [node, [...rows]]));
    return copy;
  }

  get generationId(): string {
    return `g${this.generation}`;
  }

  open(log: LogId): MemoryLog {
    const known = this.logs.get(log);
    if (known !== undefined) return known;
    this.#lives += 1;
    const opened = new MemoryLog(`life${this.#lives}`);
    this.logs.set(log, opened);
    return opened;
  }

  append(append: Append): AppendResult {
    const log = this.open(append.log);
    const result = log.append(append, log.state(this.generationId).epoch);
    const { effect } = append;
    if (effect?.kind === "membership" && result.ok && !result.repeat) {
      this.#setMember(append.log, effect.userId, effect.role);
    }
    return result;
  }

  #setMember(log: LogId, userId: string, role: Role | null): void {
    const users = this.members.get(log) ?? new Map<string, Role>();
    this.members.set(log, users);
    if (role === null) users.delete(userId);
    else users.set(userId, role);
  }

  heads(logs: Iterable<LogId>): JournalHead[] {
    return [...new Set(logs)].map((log) => {
      const { epoch, head } = this.open(log).state(this.generationId);
      return { log, epoch, head };
    });
  }

  journalRows(node: string): MemoryJournalRow[] {
    const known = this.journal.get(node);
    if (known !== undefined) return known;
    const rows: MemoryJournalRow[] = [];
    this.journal.set(node, rows);
    return rows;
  }

  forgetJournal(before: Millis): void {
    for (const [node, rows] of this.journal) {
      this.journal.set(
        node,
        rows.filter(({ at }) => at >= before),
      );
    }
  }

  putRoom(room: Room): void {
    const log = this.open(room.log);
    log.retainEntriesMax = room.retainEntriesMax;
    log.retain();
    this.rooms.set(room.log, { ...room, createdAt: this.rooms.get(room.log)?.createdAt ?? room.createdAt });
  }

  deleteRoom(log: LogId): boolean {
    const existed = this.rooms.delete(log);
    this.members.delete(log);
    this.inboxes.delete(log);
    return this.logs.delete(log) || existed;
  }

  saveInboxPosition({ log, epoch, seq }: InboxPosition): void {
    if (this.logs.get(log)?.state(this.generationId).epoch !== epoch) return;
    const stored = this.inboxes.get(log);
    if (stored?.epoch === epoch && stored.seq >= seq) return;
    this.inboxes.set(log, { epoch, seq });
  }

  putRevocation(revocation: Revocation): void {
    const key = JSON.stringify([revocation.tenant, revocation.userId]);
    const issuedBefore = Math.max(revocation.issuedBefore, this.revocations.get(key)?.issuedBefore ?? 0);
    this.revocations.set(key, { ...revocation, issuedBefore });
  }

  putSession(session: StoredSession, now: Millis): boolean {
    const stored = this.sessions.get(session.pid);
    if (stored !== undefined && stored.generation > session.generation) return false;
    this.sessions.set(session.pid, { ...session, endsAt: now + session.keepMs });
    return true;
  }

  claimSession({ pid, tenant, userId, node }: SessionClaim, now: Millis): StoredSession | undefined {
    const stored = this.sessions.get(pid);
    if (stored === undefined || stored.endsAt <= now) return undefined;
    if (stored.tenant !== tenant || stored.userId !== userId) return undefined;
    const { endsAt: _endsAt, ...session } = stored;
    const generation = stored.generation + 1;
    this.sessions.set(pid, { ...stored, owner: node, generation });
    return { ...session, generation };
  }

  endSession({ pid, generation }: SessionKey): void {
    const stored = this.sessions.get(pid);
    if (stored !== undefined && stored.generation <= generation) this.sessions.delete(pid);
  }

  forgetSessions(now: Millis): void {
    for (const [pid, { endsAt }] of this.sessions) if (endsAt <= now) this.sessions.delete(pid);
  }

  revocation({ tenant, userId }: UserKey): Revocation | undefined {
    return this.revocations.get(JSON.stringify([tenant, userId]));
  }
}
