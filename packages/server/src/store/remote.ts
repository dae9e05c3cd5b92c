import type { LogId, LogState, Millis, Seq } from "../core/log.ts";
import { errorOf, lostCall } from "./call-failure.ts";
import type { Arguments, Method, Result, StoreAnswer, UnsentCall } from "./remote-calls.ts";
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

interface Pending {
  readonly method: Method;
  readonly resolve: (value: never) => void;
  readonly reject: (error: Error) => void;
}

/**
 * A store that another process of this machine holds open. Its clock is that process's; what was asked of it before it
 * was lost, and not answered, may have been committed.
 */
export class RemoteStore implements Store {
  readonly #ask: (request: UnsentCall) => void;
  readonly #pending = new Map<number, Pending>();
  #lastId = 0;
  #lost = false;

  /** `ask` brings a request to `answerCall` on the other side, in order; its answer comes to `answered`, in any. */
  constructor(ask: (request: UnsentCall) => void) {
    this.#ask = ask;
  }

  append(batch: AppendBatch): Promise<readonly AppendResult[]> {
    return this.#call("append", [batch]);
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
    return this.#call("prune", [before, clientIdsBefore]);
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
    return this.#call("putSessions", [sessions]);
  }
  claimSessions(claims: readonly SessionClaim[]): Promise<readonly (StoredSession | undefined)[]> {
    return this.#call("claimSessions", [claims]);
  }
  endSessions(sessions: readonly SessionKey[]): Promise<void> {
    return this.#call("endSessions", [sessions]);
  }
  renewLease(node: string, ms: Millis): Promise<void> {
    return this.#call("renewLease", [node, ms]);
  }
  endLease(node: string): Promise<void> {
    return this.#call("endLease", [node]);
  }
  leases(): Promise<readonly Lease[]> {
    return this.#call("leases", []);
  }
  backup(target: string): Promise<void> {
    return this.#call("backup", [target]);
  }

  /** The other process closes the store; here calls under way are lost, and later ones refused. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.lose("the store was closed");
  }

  answered(answer: StoreAnswer): void {
    const pending = this.#pending.get(answer.id);
    this.#pending.delete(answer.id);
    if (answer.ok) pending?.resolve(answer.value);
    else pending?.reject(errorOf(answer.failure));
  }

  /** No answer will come any more. */
  lose(why: string): void {
    this.#lost = true;
    for (const { method, reject } of this.#pending.values()) reject(lostCall(method, why));
    this.#pending.clear();
  }

  #call<M extends Method>(method: M, values: Arguments<M>): Promise<Result<M>> {
    if (this.#lost) return Promise.reject(new StoreUnavailable("the store's process is gone"));
    return new Promise((resolve, reject) => {
      this.#lastId += 1;
      this.#pending.set(this.#lastId, { method, resolve, reject });
      this.#ask({ id: this.#lastId, method, values });
    });
  }
}
