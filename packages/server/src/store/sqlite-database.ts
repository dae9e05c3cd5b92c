import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { LogId, LogState, Millis, Seq } from "../core/log.ts";
import { checkBound } from "./append-check.ts";
import { ClientIds } from "./client-ids.ts";
import { Appends, arrivalLogsMin } from "./sqlite-appends.ts";
import { Arrivals } from "./sqlite-arrivals.ts";
import type { Handlers } from "./sqlite-calls.ts";
import { Directory } from "./sqlite-directory.ts";
import { errorCodeOf, generationOf, sqliteCodes, type Synchronous } from "./sqlite-file.ts";
import { Journal } from "./sqlite-journal.ts";
import { type LogRow, Logs, stateOf } from "./sqlite-logs.ts";
import { Pages } from "./sqlite-pages.ts";
import type { BatchResults } from "./sqlite-results.ts";
import { StoredSessions } from "./sqlite-sessions.ts";
import type {
  AppendBatch,
  EntryPage,
  InboxPosition,
  InboxState,
  JournalRow,
  Lease,
  Membership,
  MembershipKey,
  MembershipState,
  MessagePage,
  MessageRange,
  Revocation,
  Room,
  SessionClaim,
  SessionKey,
  StoredSession,
  UserKey,
} from "./store.ts";

/** The commit itself failed in a way that leaves open whether it will be there after the file is opened again. */
export class CommitInDoubt extends Error {
  override readonly name = "CommitInDoubt";
}

/** The port on an open file, in the thread that calls: each method is one transaction, or reads one snapshot. */
export class SqliteDatabase implements Handlers {
  readonly #database: DatabaseSync;
  readonly #synchronous: Synchronous;
  readonly #beginRead: StatementSync;
  readonly #endRead: StatementSync;
  readonly #arrivals: Arrivals;
  readonly #logs: Logs;
  readonly #pages: Pages;
  readonly #appends: Appends;
  readonly #clientIds: ClientIds;
  readonly #journal: Journal;
  readonly #directory: Directory;
  readonly #sessions: StoredSessions;

  /** `synchronous`: as the file was opened. `logsMin`: how many logs a batch has whose messages are kept as they arrive. */
  constructor(database: DatabaseSync, synchronous: Synchronous, logsMin = arrivalLogsMin) {
    this.#database = database;
    this.#synchronous = synchronous;
    this.#beginRead = database.prepare("BEGIN");
    this.#endRead = database.prepare("COMMIT");
    this.#arrivals = new Arrivals(database);
    this.#logs = new Logs(database, this.#arrivals, generationOf(database));
    this.#pages = new Pages(database, this.#arrivals);
    this.#clientIds = new ClientIds(database);
    this.#appends = new Appends(database, this.#logs, this.#arrivals, this.#clientIds, logsMin);
    this.#journal = new Journal(database);
    this.#directory = new Directory(database);
    this.#sessions = new StoredSessions(database);
  }

  append(batch: AppendBatch, now: Millis): BatchResults {
    checkBound("appends", batch.appends.length, 1_000, 1);
    const committed = this.#appends.committed(batch);
    if (committed !== undefined) return committed;
    try {
      const results = this.#transaction(() => this.#appends.append(batch, now));
      this.#clientIds.commit();
      return results;
    } catch (error) {
      this.#clientIds.rollback();
      throw error;
    }
  }

  states(logs: readonly LogId[]): readonly (LogState | undefined)[] {
    checkBound("logs", logs.length, 1_000);
    return logs.map((log) => this.#state(log));
  }

  open(log: LogId): LogState {
    return this.#state(log) ?? this.#unsynced(() => stateOf(this.#logs.open(log)));
  }

  readAfter(log: LogId, after: Seq, limit: number, bytesMax: number): EntryPage | undefined {
    checkBound("limit", limit, 500, 1);
    const row = this.#logs.find(log);
    return row && { ...stateOf(row), entries: this.#pages.entriesAfter(row, after, limit, bytesMax) };
  }

  readMessages(log: LogId, range: MessageRange): MessagePage | undefined {
    checkBound("limit", range.limit, 100, 1);
    const row = this.#logs.find(log);
    return row && { ...stateOf(row), ...this.#pages.messages(row, range) };
  }

  trim(log: LogId, floor: Seq): void {
    this.#transaction(() => {
      const row = this.#logs.find(log);
      if (row === undefined) return;
      this.#settle(row);
      this.#logs.raiseFloor(row, floor);
      this.#logs.save(row);
    });
  }

  readJournal(after: ReadonlyMap<string, number>, limit: number): readonly JournalRow[] {
    checkBound("limit", limit, 1_000, 1);
    return this.#journal.read(after, limit);
  }

  prune(before: Millis, clientIdsBefore: Millis, now: Millis): boolean {
    return this.#transaction(() =>
      [this.#sessions.prune(now), this.#journal.prune(before), this.#clientIds.prune(clientIdsBefore)].includes(true),
    );
  }

  putRoom(room: Room): void {
    this.#transaction(() => {
      const log = this.#logs.open(room.log);
      this.#settle(log);
      log.retainEntriesMax = room.retainEntriesMax;
      this.#logs.retain(log);
      this.#logs.save(log);
      this.#directory.putRoom(room);
    });
  }

  room(log: LogId): Room | undefined {
    return this.#directory.room(log);
  }

  rooms(tenant: string, after: string, limit: number): readonly Room[] {
    checkBound("limit", limit, 500, 1);
    return this.#directory.rooms(tenant, after, limit);
  }

  deleteRoom(log: LogId): boolean {
    return this.#transaction(() => {
      const row = this.#logs.find(log);
      if (row !== undefined) {
        this.#settle(row);
        this.#logs.delete(row);
      }
      return this.#directory.deleteRoom(log) || row !== undefined;
    });
  }

  memberships(pairs: readonly MembershipKey[]): readonly MembershipState[] {
    checkBound("pairs", pairs.length, 1_000);
    return pairs.map(({ log, userId }) => this.#directory.membership(log, userId));
  }

  members(log: LogId, after: string, limit: number): readonly Membership[] {
    checkBound("limit", limit, 500, 1);
    return this.#directory.members(log, after, limit);
  }

  roomsOfUser(tenant: string, userId: string, after: string, limit: number): readonly Membership[] {
    checkBound("limit", limit, 500, 1);
    return this.#directory.roomsOfUser(tenant, userId, after, limit);
  }

  inboxes(logs: readonly LogId[]): readonly InboxState[] {
    checkBound("logs", logs.length, 1_000);
    return logs.map((log) => ({ state: this.#state(log), position: this.#directory.inboxPosition(log) }));
  }

  saveInboxPositions(positions: readonly InboxPosition[]): void {
    checkBound("positions", positions.length, 1_000);
    this.#transaction(() => {
      for (const position of positions) {
        if (this.#logs.find(position.log)?.epoch === position.epoch) this.#directory.saveInboxPosition(position);
      }
    });
  }

  putRevocation(revocation: Revocation): void {
    this.#transaction(() => this.#directory.putRevocation(revocation));
  }

  revocations(users: readonly UserKey[]): readonly (Revocation | undefined)[] {
    checkBound("users", users.length, 1_000);
    return users.map(({ tenant, userId }) => this.#directory.revocation(tenant, userId));
  }

  putSessions(sessions: readonly StoredSession[], now: Millis): readonly boolean[] {
    checkBound("sessions", sessions.length, 1_000);
    return this.#unsynced(() => sessions.map((session) => this.#sessions.put(session, now)));
  }

  claimSessions(claims: readonly SessionClaim[], now: Millis): readonly (StoredSession | undefined)[] {
    checkBound("claims", claims.length, 1_000);
    return this.#unsynced(() => claims.map((claim) => this.#sessions.claim(claim, now)));
  }

  endSessions(sessions: readonly SessionKey[]): void {
    checkBound("sessions", sessions.length, 1_000);
    this.#unsynced(() => {
      for (const session of sessions) this.#sessions.end(session);
    });
  }

  renewLease(node: string, ms: Millis, now: Millis): void {
    this.#unsynced(() => this.#sessions.renewLease(node, now + ms));
  }

  endLease(node: string, now: Millis): void {
    this.#unsynced(() => this.#sessions.endLease(node, now));
  }

  leases(now: Millis): readonly Lease[] {
    return this.#sessions.leases(now);
  }

  /** Deletes some of what lies below the floors. False when nothing is left to delete. */
  purgeSome(): boolean {
    return this.#logs.hasGarbage() && this.#unsynced(() => this.#logs.purgeSome());
  }

  /**
   * What is read until `endReading`, which comes before anything is written, is of one snapshot. Why: the file is locked
   * once for all of it, which for each statement costs more than most of them.
   */
  beginReading(): void {
    if (!this.#database.isTransaction) this.#beginRead.run();
  }

  endReading(): void {
    if (this.#database.isTransaction) this.#endRead.run();
  }

  /** All that the log has stands in its own tables. */
  #settle({ number }: LogRow): void {
    this.#arrivals.moveAll(number);
    this.#arrivals.strip(number);
  }

  #state(log: LogId): LogState | undefined {
    const row = this.#logs.find(log);
    return row && stateOf(row);
  }

  /**
   * A transaction that survives the death of this process, but maybe not that of the machine: for what nobody is promised
   * after that, sessions above all. In a storm of joins every one would wait for a sync, and the reads behind it, too.
   * The next append's sync covers it.
   */
  #unsynced<Value>(work: () => Value): Value {
    if (this.#synchronous === "OFF") return this.#transaction(work);
    this.#database.exec("PRAGMA synchronous = NORMAL");
    try {
      return this.#transaction(work);
    } finally {
      this.#database.exec("PRAGMA synchronous = FULL");
    }
  }

  #transaction<Value>(work: () => Value): Value {
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      const value = work();
      this.#commit();
      this.#arrivals.commit();
      return value;
    } catch (error) {
      this.#arrivals.rollback();
      this.#logs.forget();
      throw error;
    } finally {
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
    }
  }

  #commit(): void {
    try {
      this.#database.exec("COMMIT");
    } catch (error) {
      // Why: on a full disk the commit's last page is not in the file, so it cannot come back. An error of another
      // kind, as of a sync, may leave all of it there.
      if (errorCodeOf(error) === sqliteCodes.full || errorCodeOf(error) === sqliteCodes.busy) throw error;
      throw new CommitInDoubt("the commit failed", { cause: error });
    }
  }
}
