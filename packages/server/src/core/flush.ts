import type { Clock } from "./clock.ts";
import type { Confirmation } from "./confirmation.ts";
import type { Feed } from "./feed.ts";
import type { Session } from "./session.ts";

/** Subscribers of one feed that are looked at before the next feed has its turn, so that a large room delays no small one. */
const visitedPerFeed = 32;
/** Sessions written between two looks at the clock. */
const writtenBetweenChecks = 16;

/**
 * Writes what is due, once per turn of the event loop and at most `flushBudgetMs` of it; the rest is done next turn.
 *
 * Why per turn: it clocks itself. Idle, an entry leaves at once; busy, what came meanwhile leaves as one write per socket.
 */
export class Flusher {
  readonly #clock: Clock;
  readonly #flushBudgetMs: number;
  readonly #confirmation: Confirmation;
  #feeds: Feed[] = [];
  #sessions: Session[] = [];
  /** Of these the first to be written. */
  #next = 0;
  /** Sessions whose entries wait until it is confirmed that no right was lost. */
  readonly #held = new Set<Session>();
  #scheduled = false;
  #stopped = false;

  constructor(clock: Clock, flushBudgetMs: number, confirmation: Confirmation) {
    this.#clock = clock;
    this.#flushBudgetMs = flushBudgetMs;
    this.#confirmation = confirmation;
  }

  /** The feed's head moved. */
  feedAdvanced(feed: Feed): void {
    if (feed.subscribers.length === 0) return;
    if (feed.flushIndex === -1) {
      feed.flushIndex = 0;
      feed.flushAgain = false;
      this.#feeds.push(feed);
    } else {
      feed.flushAgain = true;
    }
    this.#schedule();
  }

  /** The session has replies or subscribers that are due. */
  sessionDue(session: Session): void {
    if (session.queued) return;
    session.queued = true;
    this.#sessions.push(session);
    this.#schedule();
  }

  /** What was held back goes. */
  resume(): void {
    for (const session of this.#held) this.sessionDue(session);
    this.#held.clear();
    if (this.#feeds.length > 0) this.#schedule();
  }

  /** Something that is due has yet to be written. */
  get isBehind(): boolean {
    return this.#feeds.length > 0 || this.#sessions.length > 0;
  }

  stop(): void {
    this.#stopped = true;
    this.#held.clear();
    this.#feeds = [];
    this.#sessions = [];
    this.#next = 0;
  }

  #schedule(): void {
    if (this.#scheduled || this.#stopped) return;
    this.#scheduled = true;
    this.#clock.immediate(() => {
      this.#scheduled = false;
      if (!this.#stopped) this.#turn();
    });
  }

  #turn(): void {
    if (!this.#confirmation.holds) {
      this.#writeReplies();
      return;
    }
    const deadline = this.#clock.monotonic() + this.#flushBudgetMs;
    do {
      this.#visitFeeds();
      this.#writeSessions(deadline);
    } while (this.#feeds.length > 0 && this.#clock.monotonic() < deadline);
    if (this.#feeds.length > 0 || this.#sessions.length > 0) this.#schedule();
  }

  /** Replies alone: who is due, of sessions and of feeds, stays so until `resume`. */
  #writeReplies(): void {
    const sessions = this.#sessions.slice(this.#next);
    this.#sessions = [];
    this.#next = 0;
    for (const session of sessions) if (session.flushReplies()) this.#held.add(session);
  }

  /** One round: the next few subscribers of every feed that has something new. */
  #visitFeeds(): void {
    const feeds = this.#feeds;
    this.#feeds = [];
    for (const feed of feeds) if (this.#visit(feed)) this.#feeds.push(feed);
  }

  /** True when the feed has more to visit. */
  #visit(feed: Feed): boolean {
    const { subscribers } = feed;
    const to = Math.min(feed.flushIndex + visitedPerFeed, subscribers.length);
    for (let index = feed.flushIndex; index < to; index += 1) {
      const subscriber = subscribers[index];
      if (subscriber === undefined || subscriber.state !== "live" || subscriber.cursor >= feed.head) continue;
      const { session } = subscriber;
      session.addDue(subscriber);
      if (session.queued) continue;
      session.queued = true;
      this.#sessions.push(session);
    }
    feed.flushIndex = to;
    if (to < subscribers.length) return true;
    if (feed.flushAgain) {
      feed.flushAgain = false;
      feed.flushIndex = 0;
      return true;
    }
    feed.flushIndex = -1;
    return false;
  }

  #writeSessions(deadline: number): void {
    const sessions = this.#sessions;
    while (this.#next < sessions.length) {
      sessions[this.#next]?.flush();
      this.#next += 1;
      if (this.#next % writtenBetweenChecks === 0 && this.#clock.monotonic() >= deadline) break;
    }
    // Why not each time: thousands wait, and a turn writes to a hundred of them.
    if (this.#next * 2 < sessions.length) return;
    this.#sessions = sessions.slice(this.#next);
    this.#next = 0;
  }
}
