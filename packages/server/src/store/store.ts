import type { Role, RoomAccess } from "@parley/protocol";
import type { Entry, Epoch, LogId, LogState, Millis, Seq, SessionCursor } from "../core/log.ts";

/**
 * Port: the durable truth. Every method may reject with `StoreUnavailable` (nothing was changed), and every write with
 * `OutcomeUnknown`; reads, and writes other than `append`, are always safe to repeat. A count or limit outside of its
 * stated bounds is a bug and rejects with `RangeError`.
 * One contract suite (`store.contract.ts`) runs on every implementation.
 */
export interface Store extends AsyncDisposable {
  /**
   * Commits a batch in one transaction (fsync on) and assigns each new entry the next `seq` of its log, in the order
   * given. Creates logs that do not exist. Results stand in the order of `batch.appends`; a refused append leaves the
   * others alone (LOG-3). Repeating a batch with the same `(node, n)` after `OutcomeUnknown` gives the same results;
   * another batch under a committed `(node, n)` is a bug and rejects with an `Error`.
   * The same transaction writes the journal row `(node, n, heads)`, also when every append was refused, and raises the
   * floor of logs whose room keeps `retainEntriesMax`.
   * Errors: `StoreUnavailable` (nothing was committed), `OutcomeUnknown` (a lost worker or connection).
   */
  append(batch: AppendBatch): Promise<readonly AppendResult[]>;

  /** The state of each log, `undefined` for one that was never written or opened. At most 1,000 logs. */
  states(logs: readonly LogId[]): Promise<readonly (LogState | undefined)[]>;

  /** The state of a log, which is created empty when it does not exist. */
  open(log: LogId): Promise<LogState>;

  /**
   * Entries with `seq > after`, ascending, at most `limit` (1..500) and about `bytesMax` of data (always at least one
   * entry, if there is one), in one snapshot with the log's state. A message that was edited or deleted comes with its
   * present state as `data`. An erased entry, and an edit that a later change of its message superseded, comes as type
   * `erased` with data `{}` and an empty actor. Empty at the head; from the floor on when `after` lies below it.
   * An unknown log gives `undefined`. Reads ≤ limit + 1 rows by the primary key `(log_id, seq)`.
   */
  readAfter(log: LogId, after: Seq, limit: number, bytesMax: number): Promise<EntryPage | undefined>;

  /**
   * Messages alone (type `message`), in their present state as of the head in the same snapshot, oldest first, at most
   * `limit` (1..100) and about `bytesMax` of data: the newest below `before`, or the oldest above `after`, or else the
   * newest of all. Deleted messages are among them, erased ones are not. `more`: messages lie beyond the page in the
   * direction asked for. An unknown log gives `undefined`.
   * Reads ≤ limit + 1 rows.
   */
  readMessages(log: LogId, range: MessageRange): Promise<MessagePage | undefined>;

  /** Raises the floor to `floor` (at most head + 1): entries below it are deleted, with what belongs to them. Never lowers it. */
  trim(log: LogId, floor: Seq): Promise<void>;

  /**
   * Journal rows with `n` above the one given for their node, of every node, also of nodes not named, ascending by `n`
   * per node, at most `limit` (1..1,000).
   */
  readJournal(after: ReadonlyMap<string, number>, limit: number): Promise<readonly JournalRow[]>;

  /**
   * Deletes journal rows written before `before`, client ids of entries before `clientIdsBefore`, and sessions that have
   * ended. At most 10,000 of each a call; true when there may be more.
   */
  prune(before: Millis, clientIdsBefore: Millis): Promise<boolean>;

  /** Creates a room and opens its log, or changes its settings; `createdAt` stays that of its creation. */
  putRoom(room: Room): Promise<void>;
  room(log: LogId): Promise<Room | undefined>;
  /** Rooms of a tenant with `room > after` by name, at most `limit` (1..500). */
  rooms(tenant: string, after: string, limit: number): Promise<readonly Room[]>;
  /** Deletes a room, its log, memberships and all. A room made again under that name has another epoch. False when there was none. */
  deleteRoom(log: LogId): Promise<boolean>;

  /** Role of each pair, `undefined` without a membership, with the room's record. At most 1,000 pairs. */
  memberships(pairs: readonly MembershipKey[]): Promise<readonly MembershipState[]>;
  /** Members of a room with `userId > after`, at most `limit` (1..500). */
  members(log: LogId, after: string, limit: number): Promise<readonly Membership[]>;
  /** Rooms of a user with `room > after`, at most `limit` (1..500). */
  roomsOfUser(tenant: string, userId: string, after: string, limit: number): Promise<readonly Membership[]>;

  /** The stored position of each user's inbox with the state of its log. At most 1,000 users. */
  inboxes(logs: readonly LogId[]): Promise<readonly InboxState[]>;
  /**
   * Moves stored inbox positions forward, never back. One of another epoch than its log's present one is ignored; the
   * present one replaces any other. At most 1,000.
   */
  saveInboxPositions(positions: readonly InboxPosition[]): Promise<void>;

  /** Tokens of this user issued before `issuedBefore` (seconds since 1970) are revoked from now on; a later call moves it forward. `banned` refuses all tokens. */
  putRevocation(revocation: Revocation): Promise<void>;
  /** What was last put for each user, `undefined` where nothing was. At most 1,000 users. */
  revocations(users: readonly UserKey[]): Promise<readonly (Revocation | undefined)[]>;

  /**
   * Writes sessions, whole. One whose stored generation is higher than the one given was claimed by another node: it is
   * left as it is, and its place in the result is false. At most 1,000, each `pid` once.
   */
  putSessions(sessions: readonly StoredSession[]): Promise<readonly boolean[]>;
  /**
   * Makes nodes the owners of sessions, and raises their generations by one: the claimant alone may write them from now
   * on. Gives each as it was stored, with its former owner and the new generation; undefined when there is none under
   * this `pid`, it has ended, or it is another user's. Of racing claims each gets its own generation. At most 1,000, each `pid` once.
   */
  claimSessions(claims: readonly SessionClaim[]): Promise<readonly (StoredSession | undefined)[]>;
  /** Deletes sessions whose stored generation is not higher than the one given. At most 1,000. */
  endSessions(sessions: readonly SessionKey[]): Promise<void>;

  /** The node is alive for `ms` from now, by the store's clock. */
  renewLease(node: string, ms: Millis): Promise<void>;
  /** Ends the lease now: the node is leaving. */
  endLease(node: string): Promise<void>;
  /** Leases that have not ended, or did less than ten minutes ago; `remainingMs` is negative for those. */
  leases(): Promise<readonly Lease[]>;

  /** Copies the running store into the new file `target`, consistent as of one commit. Errors: `BackupRefused` when it exists or cannot be written. */
  backup(target: string): Promise<void>;
}

export interface AppendBatch {
  readonly node: string;
  /** The node numbers its batches 1, 2, 3, …; one is in flight. */
  readonly n: number;
  /** 1 to 1,000. */
  readonly appends: readonly Append[];
}

/** An entry on its way in. `id`, `at` and `data` are the caller's; the store adds the `seq`. */
export interface Append {
  readonly log: LogId;
  readonly id: string;
  readonly type: string;
  readonly actor: string;
  readonly at: Millis;
  readonly v: number;
  readonly data: string;
  /** Idempotency (LOG-3): within `(log, actor, clientId)` one commit; other `type` or `data` under it: `conflict`. A repeat has no effect. */
  readonly clientId: string | null;
  /** What the same transaction does besides. */
  readonly effect: AppendEffect | null;
}

/**
 * A target that is not there is `not_found`: one that is not kept, no message, deleted or erased. To be erased it may
 * also be a deleted message, or an entry of a type that changes no other (`event`, `notification`, `announcement`, …).
 */
export type AppendEffect =
  /** Replaces the text of a message; refused `forbidden` unless `actor` wrote it or `byModerator`. */
  | { readonly kind: "edit"; readonly target: Seq; readonly text: string; readonly byModerator: boolean }
  /** Empties the text and data of a message, which stays as a tombstone with `deletedAt`. Same right as an edit. */
  | { readonly kind: "delete"; readonly target: Seq; readonly byModerator: boolean }
  /** Empties an entry for good, with the edit that a message's text came from; their places stay, as type `erased`. */
  | { readonly kind: "erase"; readonly target: Seq }
  /** Stores, changes (`role`) or removes (`null`) a membership. */
  | { readonly kind: "membership"; readonly userId: string; readonly role: Role | null };

export type AppendResult =
  | {
      readonly ok: true;
      readonly seq: Seq;
      readonly id: string;
      readonly at: Millis;
      readonly epoch: Epoch;
      /** True when an earlier commit under the same `clientId` is what this answers; then nothing was appended. */
      readonly repeat: boolean;
    }
  | { readonly ok: false; readonly code: "conflict" | "not_found" | "forbidden" | "bad_request" };

export interface EntryPage extends LogState {
  readonly entries: readonly Entry[];
}

export interface MessageRange {
  readonly before?: Seq;
  readonly after?: Seq;
  readonly limit: number;
  readonly bytesMax: number;
}

export interface MessagePage extends LogState {
  readonly messages: readonly Entry[];
  readonly more: boolean;
}

export interface JournalRow {
  readonly node: string;
  readonly n: number;
  readonly at: Millis;
  readonly heads: readonly JournalHead[];
}

export interface JournalHead {
  readonly log: LogId;
  readonly epoch: Epoch;
  readonly head: Seq;
}

export interface Room {
  readonly log: LogId;
  readonly access: RoomAccess;
  /** Entries kept; 0 keeps all. */
  readonly retainEntriesMax: number;
  readonly createdAt: Millis;
}

export interface MembershipKey {
  readonly log: LogId;
  readonly userId: string;
}

export interface MembershipState {
  readonly room: Room | undefined;
  readonly role: Role | undefined;
}

export interface Membership extends MembershipKey {
  readonly role: Role;
}

export interface InboxPosition {
  readonly log: LogId;
  readonly epoch: Epoch;
  readonly seq: Seq;
}

/** `state` is undefined for an inbox that never had an entry. */
export interface InboxState {
  readonly state: LogState | undefined;
  readonly position: { readonly epoch: Epoch; readonly seq: Seq } | undefined;
}

export interface UserKey {
  readonly tenant: string;
  readonly userId: string;
}

export interface Revocation extends UserKey {
  /** Seconds since 1970, as in a token's `iat`; 0 revokes none. */
  readonly issuedBefore: number;
  readonly banned: boolean;
}

export interface SessionKey {
  /** Secret of the client. */
  readonly pid: string;
  readonly generation: number;
}

export interface SessionClaim {
  readonly pid: string;
  readonly tenant: string;
  readonly userId: string;
  readonly node: string;
}

/** What a node that never saw the client needs to go on with its session (REC-2). */
export interface StoredSession extends SessionKey {
  /** Socket id that the client sees. */
  readonly id: string;
  readonly tenant: string;
  /** Empty, which no user's id is: it has ended, and its generation alone is kept. */
  readonly userId: string;
  /** The node that serves it, or did last. */
  readonly owner: string;
  /** It can be claimed for so long from this write on, by the store's clock. */
  readonly keepMs: Millis;
  /** Where its client stands for certain; it may have more. */
  readonly cursors: readonly SessionCursor[];
}

export interface Lease {
  readonly node: string;
  readonly remainingMs: Millis;
}

/** Another process works on this store. `setting` is the name of what to change. */
export class StoreLocked extends Error {
  override readonly name = "StoreLocked";
  readonly setting: string;

  constructor(setting: string, message: string) {
    super(message);
    this.setting = setting;
  }
}

/** The store cannot be opened as it is: unwritable, damaged, written by a newer version. `setting` as above. */
export class StoreUnusable extends Error {
  override readonly name = "StoreUnusable";
  readonly setting: string;

  constructor(setting: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.setting = setting;
  }
}

/** A backup or restore that would overwrite something, cannot be written, or whose source is no store. Nothing was changed. */
export class BackupRefused extends Error {
  override readonly name = "BackupRefused";
}

/** Nothing was committed; the same call may succeed later. The message is for the log, never for a decision. */
export class StoreUnavailable extends Error {
  override readonly name = "StoreUnavailable";
}

/** The store was lost while it worked on an append: it may have been committed or not. */
export class OutcomeUnknown extends Error {
  override readonly name = "OutcomeUnknown";
}
