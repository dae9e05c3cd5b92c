import type { Position } from "@parley/protocol";
import type { Connection, User } from "../gateway/connection.ts";
import type { Feed, Taken } from "./feed.ts";
import { isSameEvent, type LastEvent } from "./last-event.ts";
import { type LeftRooms, withLeft } from "./left-rooms.ts";
import type { LogId, Seq } from "./log.ts";
import { Replies } from "./replies.ts";
import { advanceTo, rewindTo, type Rewound, undoRewind } from "./rewind.ts";
import { Subscriber } from "./subscriber.ts";
import {
  fromHistory,
  holds,
  type Notice,
  noticeRun,
  repeatedRun,
  type Run,
  runsUpTo,
  Unconfirmed,
} from "./unconfirmed.ts";
import { WaitingPages } from "./waiting-pages.ts";

/** What a session asks of its node. Shared by all sessions of the node. */
export interface SessionEvents {
  /** Something waits to be written: visit me in this turn. */
  onDue(session: Session): void;
  /** The next entry lies below the tail of the subscriber's feed. */
  onBehind(subscriber: Subscriber): void;
  /** These runs have arrived at the client for certain. */
  onArrived(session: Session, runs: readonly Run[]): void;
  delivered(entries: number): void;
}

/** Of a session that no other node had before; each claim of another node raises it. */
export const firstGeneration = 1;

export interface SessionIdentity {
  readonly id: string;
  readonly pid: string | null;
  readonly offsets: boolean;
  readonly kept: boolean;
  readonly generation: number;
  readonly user: User;
}

const none: readonly Subscriber[] = [];
const full = { kind: "full" } as const;

/** Signals that wait are written at once when there is as much to write. */
const waitingSignalBytesMax = 2_048;

/**
 * The state of one client's socket on `/`: its rooms as cursors, and what it has not confirmed. It outlives its
 * connection for a while, so that the same client can come back to it.
 *
 * Why one object: a node has a hundred thousand, nearly all idle. What they seldom have is null until they do.
 */
export class Session {
  /** Socket id that the client sees. */
  readonly id: string;
  /** Secret by which a stock client recovers the session; null when recovery is off. */
  readonly pid: string | null;
  readonly offsets: boolean;
  /** Kept in the store, so that any node can go on with it. */
  readonly kept: boolean;
  /** Rises with each claim by a node: who holds an older one has lost the session. */
  readonly generation: number;
  user: User;
  connection: Connection | null = null;
  /** Rooms, the announcements and the inbox; few, so a list. */
  subscribers: readonly Subscriber[] = none;
  queued = false;
  /** Since when no connection serves it, in whole milliseconds of the monotonic clock: no box, as a fraction has. */
  detachedAt = 0;
  /** It is not here any more: ended for good, or another node's. */
  dropped = false;
  /** Rooms that it is not in any more. */
  left: LeftRooms = null;
  /** When its last write to the store was sent, likewise; -1 before the first. */
  keptAt = -1;
  /** Entries that have arrived since. */
  arrivedSinceKept = 0;
  /** Rises whenever a right of its user may have changed: an answer of before may not hold any more. */
  doubts = 0;
  /**
   * What the client remembered when it began, or when it was taken from the store: until something has arrived since, that
   * is no answer to it.
   */
  remembered: LastEvent | null = null;

  readonly #events: SessionEvents;
  #unconfirmed: Unconfirmed | null = null;
  #replies: Replies | null = null;
  #confirmNow = false;
  /** Null nearly always. */
  #waitingPages: WaitingPages | null = null;
  /** CONNECT was answered: entries may be written. */
  #open = false;
  /** Something was written, and is not answered: since the last ping, and before it. */
  #wroteSincePing = false;
  #wroteBeforePing = false;
  /** Subscribers that the next flush has something for. */
  #due: Subscriber[] | null = null;
  /** Its cursors are those of the store: its client may have more. */
  #fromStore = false;
  /** The last page that has arrived: the client may still remember it as its last event. */
  #arrivedPage = 0;
  #arrivedPageLog: LogId | null = null;
  /** What its client was found to lack, until the connection on which it gets it is open. */
  #rewound: readonly Rewound[] | null = null;

  constructor(identity: SessionIdentity, events: SessionEvents) {
    this.id = identity.id;
    this.pid = identity.pid;
    this.offsets = identity.offsets;
    this.kept = identity.kept;
    this.generation = identity.generation;
    this.user = identity.user;
    this.#events = events;
  }

  find(log: LogId): Subscriber | undefined {
    return this.subscribers.find((subscriber) => subscriber.log === log);
  }

  /** A new cursor for the log; an older one must have been removed. */
  add(log: LogId, epoch: string, cursor: Seq): Subscriber {
    const subscriber = new Subscriber(this, log, epoch, cursor);
    // Why not spread: that leaves room for sixteen more in each of a hundred thousand lists.
    this.subscribers = this.subscribers.concat(subscriber);
    return subscriber;
  }

  remove(subscriber: Subscriber): void {
    this.subscribers = this.subscribers.filter((other) => other !== subscriber).slice();
  }

  /** It is not in this room any more, of which its client may remember an offset up to this place. */
  leaves(log: LogId, upTo: Position): void {
    this.left = withLeft(this.left, log, upTo);
  }

  /** Its client has left the room: whoever comes back is not told any more that it was closed before. */
  withdrawClosing(log: LogId): void {
    this.#unconfirmed?.withdrawClosing(log);
    this.#replies?.withdrawClosing(log);
  }

  /** The connection that serves the session from now on. Nothing is written before `open`. */
  connect(connection: Connection): void {
    this.connection = connection;
  }

  open(): void {
    this.#open = true;
    this.#fromStore = false;
    this.#rewound = null;
    for (const subscriber of this.subscribers) if (subscriber.state === "live") this.addDue(subscriber);
    this.#servePages();
    this.#events.onDue(this);
  }

  /** The connection is gone; cursors and what is unconfirmed stay. */
  disconnect(): void {
    this.connection = null;
    this.#open = false;
    this.#wroteSincePing = false;
    this.#wroteBeforePing = false;
    this.#due = null;
    for (const run of undoRewind(this, this.#rewound ?? [])) this.#wrote(run);
    this.#rewound = null;
    // Why recorded: what was never written is lacking for certain.
    this.#takeReplies();
    this.#servePages();
  }

  /** The next flush looks at the subscriber. */
  addDue(subscriber: Subscriber): void {
    if (this.#due === null) this.#due = [subscriber];
    else this.#due.push(subscriber);
  }

  /** A reply or signal, written at the next flush before the entries that are due by then. Lost without a connection. */
  emit(frame: Buffer): void {
    if (this.connection === null) return;
    this.#waiting().add(frame);
    if (this.#open) this.#events.onDue(this);
  }

  #waiting(): Replies {
    this.#replies ??= new Replies();
    return this.#replies;
  }

  /**
   * Resolves when a page of so many bytes fits into the window (FEED-4), which must then be emitted before anything is
   * awaited; false when the connection is gone. The first to wait is the first to be served.
   */
  spare(bytes: number): Promise<boolean> {
    this.#waitingPages ??= new WaitingPages();
    const fits = this.#waitingPages.add(bytes);
    this.#servePages();
    return fits;
  }

  #servePages(): void {
    const pages = this.#waitingPages;
    if (pages === null) return;
    if (this.connection === null) pages.dismiss();
    // Why: pings are told to an open session only, so that nobody would wake who waits for an answer now.
    else if (!this.#open) return;
    else if (!pages.serve((bytes) => this.#grant(bytes))) return this.connection.confirm();
    this.#waitingPages = null;
  }

  /** Keeps so much of the window for a page; false when it does not fit. The flush of this turn takes back what was not used. */
  #grant(bytes: number): boolean {
    if (!this.fits(bytes)) return false;
    this.#waiting().grantedBytes += bytes;
    this.#events.onDue(this);
    return true;
  }

  /** Bytes that may be written beyond what waits to be. */
  free(): number {
    return (this.connection?.free() ?? 0) - this.#waitingBytes();
  }

  /** What is larger than the window goes, too, but alone: once nothing else is unanswered. */
  fits(bytes: number): boolean {
    return bytes <= this.free() || (this.#isAnswered() && this.#waitingBytes() === 0);
  }

  #waitingBytes(): number {
    return this.#replies === null ? 0 : this.#replies.bytes + this.#replies.grantedBytes;
  }

  #isAnswered(): boolean {
    return !this.#wroteSincePing && !this.#wroteBeforePing;
  }

  /** As `emit`, for packets of several frames. */
  emitAll(frames: readonly Buffer[]): void {
    for (const frame of frames) this.emit(frame);
  }

  /** Best effort: dropped when the reader is slow. */
  signal(frame: Buffer): void {
    if (this.free() > frame.length * 64) this.emit(frame);
  }

  /** As `signal`, but few of them wait for what is written next. False: it was dropped. */
  signalLater(frame: Buffer): boolean {
    if (this.connection === null || this.free() <= frame.length * 64) return false;
    const waiting = this.#waiting();
    waiting.add(frame);
    if (this.#open && waiting.bytes >= waitingSignalBytesMax) this.#events.onDue(this);
    return true;
  }

  /** A history page is among the replies: it ends at `to`. */
  wroteHistory(subscriber: Subscriber, to: Seq, page: number): void {
    this.#addReplyRun({ subscriber, epoch: subscriber.epoch, from: fromHistory, to, page });
    // Why: another node that goes on from what is stored sends the page again, until it is known to have arrived.
    if (this.kept) this.#confirmNow = true;
  }

  /** As `emit`; whoever comes back to the session without having got it is told again, if it still applies. */
  tell(subscriber: Subscriber, notice: Notice): void {
    const { epoch, cursor } = subscriber;
    this.emit(notice.frame);
    this.#addReplyRun({ subscriber, epoch, from: cursor, to: cursor, page: noticeRun, notice });
  }

  /** Whether this very page may be on its way already, or may have arrived: then its offset would say nothing. */
  holdsPage(log: LogId, page: number): boolean {
    if (this.#arrivedPageLog === log && this.#arrivedPage === page) return true;
    const waiting = this.#replies?.runs?.some((run) => run.subscriber.log === log && run.page === page) ?? false;
    return waiting || (this.#unconfirmed?.holdsPage(log, page) ?? false);
  }

  /** Writes the replies, then what lies between the cursors of the due subscribers and their heads: one write. */
  flush(): void {
    this.queued = false;
    const { connection } = this;
    if (connection === null || !this.#open) {
      this.#due = null;
      return;
    }
    const replies = this.#takeReplies();
    const frames = replies?.frames ?? [];
    let bytes = replies?.bytes ?? 0;
    const due = this.#due ?? none;
    this.#due = null;
    for (const subscriber of due) bytes += this.#take(subscriber, frames, connection.free() - bytes);
    const confirms = this.#confirmNow || this.#unconfirmed?.isMuch === true;
    this.#confirmNow = false;
    if (frames.length > 0) {
      this.#wroteSincePing = true;
      connection.write(frames, confirms);
    } else if (confirms) {
      connection.confirm();
    }
  }

  /** Writes the replies alone; what else is due stays so. True when there is such. */
  flushReplies(): boolean {
    const due = this.#due;
    this.#due = null;
    this.flush();
    if (due === null || this.connection === null || !this.#open) return false;
    this.#due = due;
    return true;
  }

  /** Frames of a page that was read from the store, written with this turn's flush. False when the window is too full for it. */
  writePage(subscriber: Subscriber, frames: Buffer, to: Seq): boolean {
    const { connection } = this;
    if (connection === null || !this.#open || this.#waitingPages !== null || !this.fits(frames.length)) return false;
    this.emit(frames);
    for (const run of runsUpTo(subscriber, to)) this.#addReplyRun(run);
    this.#events.delivered(to - subscriber.cursor);
    subscriber.cursor = to;
    return true;
  }

  #take(subscriber: Subscriber, frames: Buffer[], free: number): number {
    const { feed } = subscriber;
    if (feed === null || subscriber.state !== "live") return 0;
    let bytes = 0;
    for (;;) {
      const taken = this.#mayTake() ? this.#next(feed, subscriber.cursor, frames, free - bytes) : full;
      switch (taken.kind) {
        case "frames":
          frames.push(taken.frames);
          bytes += taken.frames.length;
          this.#advance(subscriber, taken.to);
          if (taken.to >= feed.head) return bytes;
          break;
        case "at_head":
          return bytes;
        case "full":
          subscriber.state = "parked";
          this.#confirmNow = true;
          return bytes;
        case "behind":
          subscriber.state = "catching_up";
          this.#events.onBehind(subscriber);
          return bytes;
      }
    }
  }

  #next(feed: Feed, cursor: Seq, frames: readonly Buffer[], free: number): Taken {
    const taken = feed.take(cursor, free, this.offsets);
    // Why: an entry larger than the window would never fit.
    const goesAlone = taken.kind === "full" && frames.length === 0 && this.#isAnswered();
    return goesAlone ? feed.take(cursor, Infinity, this.offsets) : taken;
  }

  #mayTake(): boolean {
    // Why: entries that always take what was answered would starve a page that needs more of the window than that.
    if (this.#waitingPages !== null) return false;
    return this.#unconfirmed?.isFull !== true;
  }

  /** The window is too full for the page that was read: the answer to a ping goes on with it, so one is sent now. */
  park(subscriber: Subscriber): void {
    subscriber.state = "parked";
    this.connection?.confirm();
  }

  #advance(subscriber: Subscriber, to: Seq): void {
    if (this.#unconfirmed?.continues(subscriber, to) !== true) {
      for (const run of runsUpTo(subscriber, to)) this.#wrote(run);
    } else if (subscriber.confirms) {
      this.#confirmNow = true;
    }
    this.#events.delivered(to - subscriber.cursor);
    subscriber.cursor = to;
  }

  #addReplyRun(run: Run): void {
    // Why: what is told to nobody is lacking for certain, when the client comes back.
    if (this.connection === null) this.#wrote(run);
    else this.#waiting().addRun(run);
  }

  /** What waited does so no longer; what it holds of logs counts as written. */
  #takeReplies(): Replies | null {
    const replies = this.#replies;
    if (replies === null) return null;
    this.#replies = null;
    if (replies.runs !== null) for (const run of replies.runs) this.#wrote(run);
    return replies;
  }

  #wrote(run: Run): void {
    this.#unconfirmed ??= new Unconfirmed();
    this.#unconfirmed.wrote(run);
    if (run.subscriber.confirms) this.#confirmNow = true;
  }

  /** All that was written, or is about to be, and is not known to have arrived, in order. */
  unarrived(): readonly Run[] {
    const { remembered } = this;
    const runs = [...(this.#unconfirmed?.runs ?? []), ...(this.#replies?.runs ?? [])];
    if (remembered === null) return runs;
    return runs.map((run) => (holds(run, remembered) ? { ...run, page: repeatedRun } : run));
  }

  /** Another node served it until now: its cursors stand, and these runs may not have arrived. Null: nobody knows. */
  takeOver(runs: readonly Run[] | null): void {
    this.#fromStore = runs === null;
    for (const run of runs ?? []) this.#wrote(run);
  }

  /** It was taken from the store, and its client has not been let in since: it may have more than the cursors say. */
  get isAsStored(): boolean {
    return this.#fromStore;
  }

  /** The client begins with the last event of a session before. */
  remembers(last: LastEvent): void {
    this.remembered = last;
    this.leaves(last.log, last);
    this.#noteArrived(last.log, last.page);
  }

  #noteArrived(log: LogId, page: number | null): void {
    if (page === null || page <= 0) return;
    this.#arrivedPage = page;
    this.#arrivedPageLog = log;
  }

  onPinged(): void {
    this.#unconfirmed?.pinged();
    this.#wroteBeforePing ||= this.#wroteSincePing;
    this.#wroteSincePing = false;
  }

  /** The window is free again: what has arrived is confirmed, and parked subscribers are due. */
  onAnswered(): void {
    // Why: the first thing that is written to one who remembers an event is what makes it forget that.
    if (this.#wroteBeforePing) this.remembered = null;
    this.#wroteBeforePing = false;
    if (this.#unconfirmed !== null) {
      const arrived = this.#unconfirmed.answered();
      if (this.#unconfirmed.isEmpty) this.#unconfirmed = null;
      for (const { subscriber, page } of arrived) this.#noteArrived(subscriber.log, page);
      if (arrived.length > 0) this.#events.onArrived(this, arrived);
    }
    this.#servePages();
    let woken = false;
    for (const subscriber of this.subscribers) {
      if (subscriber.state !== "parked") continue;
      subscriber.state = "live";
      this.addDue(subscriber);
      woken = true;
    }
    if (woken) this.#events.onDue(this);
  }

  /**
   * Moves the cursors back to what the client has for certain, when `last` is the last entry it remembers (null: it
   * remembers none), as `rewindTo` says.
   */
  rewind(claimed: LastEvent | null): void {
    const last = isSameEvent(claimed, this.remembered) ? null : claimed;
    if (last !== null) this.#noteArrived(last.log, last.page);
    // Why: it remembers this one event.
    this.left = claimed === null ? null : withLeft(null, claimed.log, claimed);
    if (this.#fromStore) {
      if (last !== null) advanceTo(this, last);
      // Why: that very event may be sent again, when what is stored is of before its log began.
      this.remembered = claimed;
    }
    if (this.#unconfirmed === null) return;
    const lacking = this.#unconfirmed.lackingAfter(last);
    this.#unconfirmed = null;
    this.#rewound = rewindTo(this, lacking);
  }
}
