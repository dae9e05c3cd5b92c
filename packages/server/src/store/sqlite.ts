import type { Worker } from "node:worker_threads";
import type { Clock } from "../core/clock.ts";
import type { LogId, LogState, Millis, Seq } from "../core/log.ts";
import { arrivalLogsMin } from "./sqlite-appends.ts";
import { backupSqlite } from "./sqlite-backup.ts";
import type { Arguments, Method, Result } from "./sqlite-calls.ts";
import { lockFolder, prepareFolder, storeFile, type Synchronous } from "./sqlite-file.ts";
import { appendResults } from "./sqlite-results.ts";
import { StoreThread } from "./sqlite-thread.ts";
import {
  type AppendBatch,
  type AppendResult,
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

export { backupSqlite, restoreSqlite } from "./sqlite-backup.ts";

export interface SqliteStoreOptions {
  /** The data folder, created when it is missing; `parley.db` and `parley.lock` lie in it. */
  readonly folder: string;
  readonly clock: Clock;
  /** How long each append transaction took until it was durable, and of how many appends. */
  readonly onCommit?: (seconds: number, appends: number) => void;
  /** Each thread that is started: one, and another after each that died. Tests end it. */
  readonly onThread?: (worker: Worker) => void;
  /** `OFF` loses acknowledged entries when the machine fails. Tests use it to show that they would notice. */
  readonly synchronous?: Synchronous;
  /** Logs in a batch from which its messages are kept in the order of their arrival. Tests lower it. */
  readonly arrivalLogsMin?: number;
}

/**
 * Opens the embedded store: one SQLite file, owned by this process, on a thread of its own.
 * Errors: rejects with `StoreLocked` when another process owns it, and with `StoreUnusable` when the folder or file
 * cannot be used; both name the setting.
 */
export async function openSqliteStore(options: SqliteStoreOptions): Promise<Store> {
  prepareFolder(options.folder);
  const lock = lockFolder(options.folder);
  try {
    return await SqliteStore.open(options, lock);
  } catch (error) {
    lock.close();
    throw error;
  }
}

const reopenFirstMs = 100;
const reopenMaxMs = 5_000;

type State =
  | { readonly state: "open"; readonly thread: StoreThread }
  | { readonly state: "reopening"; readonly cancel: () => void }
  | { readonly state: "closed" };

class SqliteStore implements Store {
  readonly #options: SqliteStoreOptions;
  readonly #lock: { close(): void };
  #state: State = { state: "closed" };
  /** Never rejects. */
  #lastReopening: Promise<void> = Promise.resolve();

  static async open(options: SqliteStoreOptions, lock: { close(): void }): Promise<SqliteStore> {
    const store = new SqliteStore(options, lock);
    store.#state = { state: "open", thread: await store.#start({ create: true }) };
    return store;
  }

  private constructor(options: SqliteStoreOptions, lock: { close(): void }) {
    this.#options = options;
    this.#lock = lock;
  }

  async append(batch: AppendBatch): Promise<readonly AppendResult[]> {
    return appendResults(batch, await this.#call("append", [batch, this.#options.clock.now()]));
  }
  states(logs: readonly LogId[]): Promise<readonly (LogState | undefined)[]> {
    return this.#call("states", [logs]);
  }
  open(log: LogId): Promise<LogState> {
    return this.#call("open", [log]);
  }
  readAfter(log: LogId, after: Seq, limit: number, bytesMax: number): Promise<EntryPage | undefined> {
    return this.#call("readAfter", [log, after, limit, bytesMax]);
  }
  readMessages(log: LogId, range: MessageRange): Promise<MessagePage | undefined> {
    return this.#call("readMessages", [log, range]);
  }
  trim(log: LogId, floor: Seq): Promise<void> {
    return this.#call("trim", [log, floor]);
  }
  readJournal(after: ReadonlyMap<string, number>, limit: number): Promise<readonly JournalRow[]> {
    return this.#call("readJournal", [after, limit]);
  }
  prune(before: Millis, clientIdsBefore: Millis): Promise<boolean> {
    return this.#call("prune", [before, clientIdsBefore, this.#options.clock.now()]);
  }
  putRoom(room: Room): Promise<void> {
    return this.#call("putRoom", [room]);
  }
  room(log: LogId): Promise<Room | undefined> {
    return this.#call("room", [log]);
  }
  rooms(tenant: string, after: string, limit: number): Promise<readonly Room[]> {
    return this.#call("rooms", [tenant, after, limit]);
  }
  deleteRoom(log: LogId): Promise<boolean> {
    return this.#call("deleteRoom", [log]);
  }
  memberships(pairs: readonly MembershipKey[]): Promise<readonly MembershipState[]> {
    return this.#call("memberships", [pairs]);
  }
  members(log: LogId, after: string, limit: number): Promise<readonly Membership[]> {
    return this.#call("members", [log, after, limit]);
  }
  roomsOfUser(tenant: string, userId: string, after: string, limit: number): Promise<readonly Membership[]> {
    return this.#call("roomsOfUser", [tenant, userId, after, limit]);
  }
  inboxes(logs: readonly LogId[]): Promise<readonly InboxState[]> {
    return this.#call("inboxes", [logs]);
  }
  saveInboxPositions(positions: readonly InboxPosition[]): Promise<void> {
    return this.#call("saveInboxPositions", [positions]);
  }
  putRevocation(revocation: Revocation): Promise<void> {
    return this.#call("putRevocation", [revocation]);
  }
  revocations(users: readonly UserKey[]): Promise<readonly (Revocation | undefined)[]> {
    return this.#call("revocations", [users]);
  }
  putSessions(sessions: readonly StoredSession[]): Promise<readonly boolean[]> {
    return this.#call("putSessions", [sessions, this.#options.clock.now()]);
  }
  claimSessions(claims: readonly SessionClaim[]): Promise<readonly (StoredSession | undefined)[]> {
    return this.#call("claimSessions", [claims, this.#options.clock.now()]);
  }
  endSessions(sessions: readonly SessionKey[]): Promise<void> {
    return this.#call("endSessions", [sessions]);
  }
  renewLease(node: string, ms: Millis): Promise<void> {
    return this.#call("renewLease", [node, ms, this.#options.clock.now()]);
  }
  endLease(node: string): Promise<void> {
    return this.#call("endLease", [node, this.#options.clock.now()]);
  }
  leases(): Promise<readonly Lease[]> {
    return this.#call("leases", [this.#options.clock.now()]);
  }
  backup(target: string): Promise<void> {
    return backupSqlite(this.#options.folder, target);
  }

  /** Finishes the calls under way, then closes the file and gives the folder free. */
  async [Symbol.asyncDispose](): Promise<void> {
    const last = this.#state;
    if (last.state === "closed") return;
    this.#state = { state: "closed" };
    if (last.state === "open") await last.thread.close();
    if (last.state === "reopening") last.cancel();
    await this.#lastReopening;
    this.#lock.close();
  }

  #call<M extends Method>(method: M, values: Arguments<M>): Promise<Result<M>> {
    if (this.#state.state === "open") return this.#state.thread.call(method, values);
    const why =
      this.#state.state === "closed" ? "the store is closed" : "the store's thread has died; it is being reopened";
    return Promise.reject(new StoreUnavailable(why));
  }

  #start({ create }: { create: boolean }): Promise<StoreThread> {
    const { folder, synchronous = "FULL", arrivalLogsMin: logsMin = arrivalLogsMin } = this.#options;
    const { onCommit = () => undefined, onThread = () => undefined } = this.#options;
    return StoreThread.start({
      file: storeFile(folder),
      synchronous,
      create,
      arrivalLogsMin: logsMin,
      onCommit,
      onStart: onThread,
      onEnd: () => this.#onEnd(),
    });
  }

  #onEnd(): void {
    if (this.#state.state === "open") this.#reopenAfter(reopenFirstMs);
  }

  #reopenAfter(ms: number): void {
    const cancel = this.#options.clock.after(ms, () => {
      this.#lastReopening = this.#reopen(ms);
    });
    this.#state = { state: "reopening", cancel };
  }

  async #reopen(waitedMs: number): Promise<void> {
    const reopening = this.#state;
    try {
      // Why not created: a store that vanished would come back empty, and nobody would know.
      const thread = await this.#start({ create: false });
      if (this.#state === reopening) this.#state = { state: "open", thread };
      else await thread.close();
    } catch {
      // Whatever it is, full disk or missing file, may pass; calls are told meanwhile that the store is not available.
      if (this.#state === reopening) this.#reopenAfter(Math.min(2 * waitedMs, reopenMaxMs));
    }
  }
}
