import type { Clock } from "../core/clock.ts";
import type { LogId, LogState, Millis, Seq } from "../core/log.ts";
import { checkBound } from "./append-check.ts";
import { readAddress } from "./postgres-address.ts";
import { Appends } from "./postgres-appends.ts";
import { Connections } from "./postgres-connections.ts";
import * as directory from "./postgres-directory.ts";
import { readJournal } from "./postgres-journal.ts";
import { createLog, purgeSome, readInboxes, readStates, saveInboxes, trimLog } from "./postgres-logs.ts";
import { readAfter, readMessages } from "./postgres-pages.ts";
import { describeServer, migrate, renewGeneration } from "./postgres-schema.ts";
import * as sessions from "./postgres-sessions.ts";
import {
  type AppendBatch,
  type AppendResult,
  BackupRefused,
  type EntryPage,
  type InboxPosition,
  type InboxState,
  type JournalRow,
  type Lease,
  type Membership,
  type MembershipKey,
  type MembershipState,
  type MessagePage,
  type MessageRange,
  type Revocation,
  type Room,
  type SessionClaim,
  type SessionKey,
  type Store,
  type StoredSession,
  StoreUnavailable,
  type UserKey,
} from "./store.ts";

export interface PostgresStoreOptions {
  /** `postgres://…`, as `readAddress` says. Holds a password: never logged. */
  readonly url: string;
  readonly clock: Clock;
  /** How long each append transaction took until it was durable, and of how many appends. */
  readonly onCommit?: (seconds: number, appends: number) => void;
}

/**
 * Opens the shared store: a schema of a Postgres database, created and brought up to date when need be. Any number of
 * nodes use one. Lost connections are made again when they are needed.
 * Errors: rejects with `StoreUnusable`, which names the setting, also when the server cannot be reached.
 */
export async function openPostgresStore(options: PostgresStoreOptions): Promise<Store> {
  const address = readAddress(options.url);
  await migrate(address);
  return new PostgresStore(options, new Connections(address));
}

/** Brings the schema up to date. Errors: as `openPostgresStore`. */
export async function migratePostgres(url: string): Promise<void> {
  await migrate(readAddress(url));
}

/** To be done when the database was restored from a copy: every epoch changes. Errors: as `openPostgresStore`. */
export async function restoredPostgres(url: string): Promise<void> {
  await renewGeneration(readAddress(url));
}

/** The server that holds the store. Errors: as `openPostgresStore`. */
export async function describePostgres(url: string): Promise<{ version: string; fsync: boolean }> {
  return describeServer(readAddress(url));
}

/** The store's address without the password. Errors: throws `StoreUnusable`. */
export function showPostgres(url: string): string {
  return readAddress(url).shown;
}

export function refusePostgresBackup(): never {
  throw new BackupRefused("this store is in Postgres: copy the database with pg_dump or pg_basebackup");
}

class PostgresStore implements Store {
  readonly #options: PostgresStoreOptions;
  readonly #connections: Connections;
  readonly #appends: Appends;
  #purging: Promise<void> | null = null;
  #hasGarbage = false;

  constructor(options: PostgresStoreOptions, connections: Connections) {
    this.#options = options;
    this.#connections = connections;
    this.#appends = new Appends(connections, () => options.clock.now());
  }

  async append(batch: AppendBatch): Promise<readonly AppendResult[]> {
    checkBound("appends", batch.appends.length, 1_000, 1);
    const { clock, onCommit } = this.#options;
    const startedAt = clock.monotonic();
    const results = await this.#appends.append(batch);
    onCommit?.((clock.monotonic() - startedAt) / 1_000, batch.appends.length);
    return results;
  }

  async states(logs: readonly LogId[]): Promise<readonly (LogState | undefined)[]> {
    checkBound("logs", logs.length, 1_000);
    return this.#connections.read((session) => readStates(session, logs));
  }

  async open(log: LogId): Promise<LogState> {
    const [known] = await this.states([log]);
    if (known !== undefined) return known;
    await this.#connections.write((session) => createLog(session, log));
    const [created] = await this.states([log]);
    if (created === undefined) throw new StoreUnavailable("the log was deleted as it was opened");
    return created;
  }

  async readAfter(log: LogId, after: Seq, limit: number, bytesMax: number): Promise<EntryPage | undefined> {
    checkBound("limit", limit, 500, 1);
    return this.#connections.read((session) => readAfter(session, log, after, limit, bytesMax));
  }

  async readMessages(log: LogId, range: MessageRange): Promise<MessagePage | undefined> {
    checkBound("limit", range.limit, 100, 1);
    return this.#connections.read((session) => readMessages(session, log, range));
  }

  async trim(log: LogId, floor: Seq): Promise<void> {
    if (await this.#connections.write((session) => trimLog(session, log, floor))) this.#purge();
  }

  async readJournal(after: ReadonlyMap<string, number>, limit: number): Promise<readonly JournalRow[]> {
    checkBound("limit", limit, 1_000, 1);
    return this.#connections.read((session) => readJournal(session, after, limit));
  }

  async prune(before: Millis, clientIdsBefore: Millis): Promise<boolean> {
    const isMore = await this.#connections.write((session) => sessions.prune(session, before, clientIdsBefore));
    this.#purge();
    return isMore;
  }

  async putRoom(room: Room): Promise<void> {
    await this.#connections.write((session) => directory.putRoom(session, room));
    if (room.retainEntriesMax > 0) this.#purge();
  }

  room(log: LogId): Promise<Room | undefined> {
    return this.#connections.read((session) => directory.findRoom(session, log));
  }

  async rooms(tenant: string, after: string, limit: number): Promise<readonly Room[]> {
    checkBound("limit", limit, 500, 1);
    return this.#connections.read((session) => directory.listRooms(session, tenant, after, limit));
  }

  async deleteRoom(log: LogId): Promise<boolean> {
    const deleted = await this.#connections.write((session) => directory.deleteRoom(session, log));
    if (deleted) this.#purge();
    return deleted;
  }

  async memberships(pairs: readonly MembershipKey[]): Promise<readonly MembershipState[]> {
    checkBound("pairs", pairs.length, 1_000);
    return this.#connections.read((session) => directory.readMemberships(session, pairs));
  }

  async members(log: LogId, after: string, limit: number): Promise<readonly Membership[]> {
    checkBound("limit", limit, 500, 1);
    return this.#connections.read((session) => directory.listMembers(session, log, after, limit));
  }

  async roomsOfUser(tenant: string, userId: string, after: string, limit: number): Promise<readonly Membership[]> {
    checkBound("limit", limit, 500, 1);
    return this.#connections.read((session) => directory.listRoomsOfUser(session, tenant, userId, after, limit));
  }

  async inboxes(logs: readonly LogId[]): Promise<readonly InboxState[]> {
    checkBound("logs", logs.length, 1_000);
    return this.#connections.read((session) => readInboxes(session, logs));
  }

  async saveInboxPositions(positions: readonly InboxPosition[]): Promise<void> {
    checkBound("positions", positions.length, 1_000);
    await this.#connections.write((session) => saveInboxes(session, positions));
  }

  async putRevocation(revocation: Revocation): Promise<void> {
    await this.#connections.write((session) => directory.putRevocation(session, revocation));
  }

  async revocations(users: readonly UserKey[]): Promise<readonly (Revocation | undefined)[]> {
    checkBound("users", users.length, 1_000);
    return this.#connections.read((session) => directory.readRevocations(session, users));
  }

  async putSessions(stored: readonly StoredSession[]): Promise<readonly boolean[]> {
    checkBound("sessions", stored.length, 1_000);
    return this.#connections.write((session) => sessions.putSessions(session, stored));
  }

  async claimSessions(claims: readonly SessionClaim[]): Promise<readonly (StoredSession | undefined)[]> {
    checkBound("claims", claims.length, 1_000);
    return this.#connections.write((session) => sessions.claimSessions(session, claims));
  }

  async endSessions(keys: readonly SessionKey[]): Promise<void> {
    checkBound("sessions", keys.length, 1_000);
    await this.#connections.write((session) => sessions.endSessions(session, keys));
  }

  async renewLease(node: string, ms: Millis): Promise<void> {
    await this.#connections.write((session) => sessions.renewLease(session, node, ms));
  }

  async endLease(node: string): Promise<void> {
    await this.#connections.write((session) => sessions.endLease(session, node));
  }

  leases(): Promise<readonly Lease[]> {
    return this.#connections.read((session) => sessions.readLeases(session));
  }

  async backup(): Promise<void> {
    refusePostgresBackup();
  }

  /** Finishes the calls under way, then closes the connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connections.close();
    await this.#purging;
  }

  /** Deletes what nobody sees any more, a little at a time, unless that is under way. */
  #purge(): void {
    this.#hasGarbage = true;
    this.#purging ??= this.#purgeAll().finally(() => (this.#purging = null));
  }

  async #purgeAll(): Promise<void> {
    try {
      while (this.#hasGarbage && !this.#connections.closed) {
        this.#hasGarbage = false;
        if (await this.#connections.write(purgeSome)) this.#hasGarbage = true;
      }
    } catch {
      // The next call of `prune`, on whatever node, goes on with it.
    }
  }
}
