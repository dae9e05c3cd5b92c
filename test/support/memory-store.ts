import type { Clock } from "../../packages/server/src/core/clock.ts";
import {
  type LogId,
  type LogState,
  type Millis,
  roomOf,
  type Seq,
  tenantOf,
} from "../../packages/server/src/core/log.ts";
import { batchKey, checkBound, isStorable } from "../../packages/server/src/store/append-check.ts";
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
  OutcomeUnknown,
  type Revocation,
  type Room,
  type SessionClaim,
  type SessionKey,
  type Store,
  type StoredSession,
  StoreUnavailable,
  type UserKey,
} from "../../packages/server/src/store/store.ts";
import { MemoryTables } from "./memory-tables.ts";

/** What befalls an append: refused before it acts, or its answer is lost after (or before) it was committed. */
export type AppendFault = "unavailable" | "unknown_committed" | "unknown_not_committed";

export interface MemoryStoreOptions {
  readonly clock: Clock;
  /** Milliseconds of one way to the store or back, drawn for each way; without it calls settle at once. */
  readonly latencyMs?: () => number;
}

/**
 * The `Store` port in memory, for simulations: deterministic (every wait is on the clock, every life of a log has the
 * next number) and with faults to order. Any number of simulated nodes may share one.
 */
export class MemoryStore implements Store {
  readonly #clock: Clock;
  readonly #latencyMs: (() => number) | undefined;
  readonly #appendFaults: AppendFault[] = [];
  readonly #backups = new Map<string, MemoryTables>();
  #tables = new MemoryTables();
  #down = false;
  /** Calls that reached the store, by method: for tests that bound what their subject asks. */
  readonly calls = new Map<string, number>();

  constructor(options: MemoryStoreOptions) {
    this.#clock = options.clock;
    this.#latencyMs = options.latencyMs;
  }

  /** The next appends fail in this order. */
  failNextAppends(...faults: readonly AppendFault[]): void {
    this.#appendFaults.push(...faults);
  }

  /** While down, every call rejects with `StoreUnavailable`. */
  setDown(down: boolean): void {
    this.#down = down;
  }

  /** Nothing that was ordered befalls it any more. */
  heal(): void {
    this.#down = false;
    this.#appendFaults.length = 0;
  }

  /** What a restore does: this backup is the present from now on, under a new generation. */
  restore(target: string): void {
    const backup = this.#backups.get(target);
    if (backup === undefined) throw new Error(`no backup ${target}`);
    const generation = this.#tables.generation + 1;
    this.#tables = backup.copy();
    this.#tables.generation = generation;
  }

  async append(batch: AppendBatch): Promise<readonly AppendResult[]> {
    checkBound("appends", batch.appends.length, 1_000, 1);
    await this.#travel();
    this.#arrive("append");
    const fault = this.#appendFaults.shift();
    if (fault === "unavailable") throw new StoreUnavailable("simulated");
    const results = fault === "unknown_not_committed" ? [] : this.#commit(batch);
    await this.#travel();
    if (fault !== undefined) throw new OutcomeUnknown("simulated");
    return results;
  }

  #commit(batch: AppendBatch): readonly AppendResult[] {
    const rows = this.#tables.journalRows(batch.node);
    const key = batchKey(batch);
    const committed = rows.find(({ n }) => n === batch.n);
    if (committed !== undefined) {
      if (committed.key !== key) throw new Error(`node ${batch.node} gives batch ${batch.n} a second time`);
      return committed.results;
    }
    const results = batch.appends.map((append) =>
      isStorable(append) ? this.#tables.append(append) : ({ ok: false, code: "bad_request" } as const),
    );
    const advanced = batch.appends.filter((_, index) => isNew(results[index])).map(({ log }) => log);
    const heads = this.#tables.heads(advanced);
    for (const { log } of heads) this.#tables.open(log).retain();
    rows.push({ node: batch.node, n: batch.n, at: this.#clock.now(), heads, key, results });
    rows.sort((one, other) => one.n - other.n);
    return results;
  }

  states(logs: readonly LogId[]): Promise<readonly (LogState | undefined)[]> {
    return this.#call("states", () => {
      checkBound("logs", logs.length, 1_000);
      return logs.map((log) => this.#tables.logs.get(log)?.state(this.#tables.generationId));
    });
  }

  open(log: LogId): Promise<LogState> {
    return this.#call("open", () => this.#tables.open(log).state(this.#tables.generationId));
  }

  readAfter(log: LogId, after: Seq, limit: number, bytesMax: number): Promise<EntryPage | undefined> {
    return this.#call("readAfter", () => {
      checkBound("limit", limit, 500, 1);
      return this.#tables.logs.get(log)?.readAfter(after, limit, bytesMax, this.#tables.generationId);
    });
  }

  readMessages(log: LogId, range: MessageRange): Promise<MessagePage | undefined> {
    return this.#call("readMessages", () => {
      checkBound("limit", range.limit, 100, 1);
      return this.#tables.logs.get(log)?.readMessages(range, this.#tables.generationId);
    });
  }

  trim(log: LogId, floor: Seq): Promise<void> {
    return this.#call("trim", () => this.#tables.logs.get(log)?.trim(floor));
  }

  readJournal(after: ReadonlyMap<string, number>, limit: number): Promise<readonly JournalRow[]> {
    return this.#call("readJournal", () => {
      checkBound("limit", limit, 1_000, 1);
      const rows = [...this.#tables.journal].flatMap(([node, all]) =>
        all.filter(({ n }) => n > (after.get(node) ?? 0)),
      );
      return rows.slice(0, limit).map(({ node, n, at, heads }) => ({ node, n, at, heads }));
    });
  }

  prune(before: Millis, clientIdsBefore: Millis): Promise<boolean> {
    return this.#call("prune", () => {
      this.#tables.forgetJournal(before);
      this.#tables.forgetSessions(this.#clock.now());
      for (const log of this.#tables.logs.values()) log.forgetClientIds(clientIdsBefore);
      return false;
    });
  }

  putRoom(room: Room): Promise<void> {
    return this.#call("putRoom", () => this.#tables.putRoom(room));
  }

  room(log: LogId): Promise<Room | undefined> {
    return this.#call("room", () => this.#tables.rooms.get(log));
  }

  rooms(tenant: string, after: string, limit: number): Promise<readonly Room[]> {
    return this.#call("rooms", () => {
      checkBound("limit", limit, 500, 1);
      const all = [...this.#tables.rooms.values()].filter(({ log }) => tenantOf(log) === tenant);
      return pageByName(all, ({ log }) => roomOf(log), after, limit);
    });
  }

  deleteRoom(log: LogId): Promise<boolean> {
    return this.#call("deleteRoom", () => this.#tables.deleteRoom(log));
  }

  memberships(pairs: readonly MembershipKey[]): Promise<readonly MembershipState[]> {
    return this.#call("memberships", () => {
      checkBound("pairs", pairs.length, 1_000);
      return pairs.map(({ log, userId }) => ({
        room: this.#tables.rooms.get(log),
        role: this.#tables.members.get(log)?.get(userId),
      }));
    });
  }

  members(log: LogId, after: string, limit: number): Promise<readonly Membership[]> {
    return this.#call("members", () => {
      checkBound("limit", limit, 500, 1);
      const all = [...(this.#tables.members.get(log) ?? [])].map(([userId, role]) => ({ log, userId, role }));
      return pageByName(all, (member) => member.userId, after, limit);
    });
  }

  roomsOfUser(tenant: string, userId: string, after: string, limit: number): Promise<readonly Membership[]> {
    return this.#call("roomsOfUser", () => {
      checkBound("limit", limit, 500, 1);
      const all = [...this.#tables.members].flatMap(([log, users]) => {
        const role = users.get(userId);
        return role === undefined || tenantOf(log) !== tenant ? [] : [{ log, userId, role }];
      });
      return pageByName(all, ({ log }) => roomOf(log), after, limit);
    });
  }

  inboxes(logs: readonly LogId[]): Promise<readonly InboxState[]> {
    return this.#call("inboxes", () => {
      checkBound("logs", logs.length, 1_000);
      return logs.map((log) => ({
        state: this.#tables.logs.get(log)?.state(this.#tables.generationId),
        position: this.#tables.inboxes.get(log),
      }));
    });
  }

  saveInboxPositions(positions: readonly InboxPosition[]): Promise<void> {
    return this.#call("saveInboxPositions", () => {
      checkBound("positions", positions.length, 1_000);
      for (const position of positions) this.#tables.saveInboxPosition(position);
    });
  }

  putRevocation(revocation: Revocation): Promise<void> {
    return this.#call("putRevocation", () => this.#tables.putRevocation(revocation));
  }

  revocations(users: readonly UserKey[]): Promise<readonly (Revocation | undefined)[]> {
    return this.#call("revocations", () => {
      checkBound("users", users.length, 1_000);
      return users.map((user) => this.#tables.revocation(user));
    });
  }

  putSessions(sessions: readonly StoredSession[]): Promise<readonly boolean[]> {
    return this.#call("putSessions", () => {
      checkBound("sessions", sessions.length, 1_000);
      if (new Set(sessions.map(({ pid }) => pid)).size < sessions.length) throw new RangeError("a pid is there twice");
      return sessions.map((session) => this.#tables.putSession(session, this.#clock.now()));
    });
  }

  claimSessions(claims: readonly SessionClaim[]): Promise<readonly (StoredSession | undefined)[]> {
    return this.#call("claimSessions", () => {
      checkBound("claims", claims.length, 1_000);
      return claims.map((claim) => this.#tables.claimSession(claim, this.#clock.now()));
    });
  }

  endSessions(sessions: readonly SessionKey[]): Promise<void> {
    return this.#call("endSessions", () => {
      checkBound("sessions", sessions.length, 1_000);
      for (const session of sessions) this.#tables.endSession(session);
    });
  }

  renewLease(node: string, ms: Millis): Promise<void> {
    return this.#call("renewLease", () => void this.#tables.leases.set(node, this.#clock.now() + ms));
  }

  endLease(node: string): Promise<void> {
    return this.#call("endLease", () => {
      const now = this.#clock.now();
      const endsAt = this.#tables.leases.get(node);
      if (endsAt !== undefined) this.#tables.leases.set(node, Math.min(endsAt, now - 1));
    });
  }

  leases(): Promise<readonly Lease[]> {
    return this.#call("leases", () => {
      const now = this.#clock.now();
      return [...this.#tables.leases]
        .map(([node, endsAt]) => ({ node, remainingMs: endsAt - now }))
        .filter(({ remainingMs }) => remainingMs > -600_000);
    });
  }

  /** Keeps the copy in this store, for `restore`. */
  backup(target: string): Promise<void> {
    return this.#call("backup", () => {
      if (this.#backups.has(target)) throw new Error(`${target} exists`);
      this.#backups.set(target, this.#tables.copy());
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#down = true;
  }

  async #call<Result>(method: string, act: () => Result): Promise<Result> {
    await this.#travel();
    this.#arrive(method);
    const result = act();
    await this.#travel();
    return result;
  }

  #arrive(method: string): void {
    if (this.#down) throw new StoreUnavailable("simulated");
    this.calls.set(method, (this.calls.get(method) ?? 0) + 1);
  }

  async #travel(): Promise<void> {
    const wait = this.#latencyMs?.();
    if (wait !== undefined) await new Promise<void>((resolve) => void this.#clock.after(wait, resolve));
  }
}

function isNew(result: AppendResult | undefined): boolean {
  return result !== undefined && result.ok && !result.repeat;
}

/** Names stand in the order of their UTF-8 bytes, as databases compare them; JavaScript compares UTF-16 units. */
function pageByName<Row>(all: readonly Row[], nameOf: (row: Row) => string, after: string, limit: number): Row[] {
  const compare = (one: string, other: string): number => Buffer.compare(Buffer.from(one), Buffer.from(other));
  return all
    .filter((row) => compare(nameOf(row), after) > 0)
    .toSorted((one, other) => compare(nameOf(one), nameOf(other)))
    .slice(0, limit);
}
