import type { ControlChange } from "@parley/protocol";
import type { Store } from "../store/store.ts";
import type { Clock } from "./clock.ts";
import type { Confirmation } from "./confirmation.ts";
import { controlChangeIn, type EventText } from "./entry-event.ts";
import type { Feed } from "./feed.ts";
import type { Feeds } from "./feeds.ts";
import { newEntryId } from "./ids.ts";
import { controlLog, type LogId, logId, type LogState, noEpoch } from "./log.ts";
import type { Sequencer } from "./sequencer.ts";
import type { Session } from "./session.ts";

/** What the loss of a right means on this node alone. */
export interface ControlActions {
  accessChanged(tenant: string, userId: string | null, log: LogId | null): void;
  /** Gives the number of connections closed. */
  disconnectUser(tenant: string, userId: string, forGood: boolean): number;
  roomDeleted(log: LogId): void;
  /** Nobody knows which rights were lost: all are asked for anew. */
  doubtAll(): void;
  /** Those with a connection. */
  sessions(): Iterable<Session>;
  /** The session ends for good, with its connection. */
  endSession(session: Session): void;
}

/** How often the head of `@control` is confirmed: twice within what a confirmation is good for. */
const confirmMs = 400;
/** Confirmations that a slow store has not answered. */
const confirmationsMax = 4;
/** Entries of `@control` that are kept; a node that lacks more starts over. Trimmed when there are a tenth more. */
const entriesKept = 10_000;
/** Sessions whose tokens are asked for with one read. */
const sessionsPerRead = 1_000;
const retryMs = 1_000;

/**
 * Tells every node of a cluster that somebody may have lost a right, as entries of the log `@control`, and acts on what
 * the others tell (ACC-1). A node that is alone acts, and tells nobody.
 *
 * Why a log: hints bring its entries at once, digests and the journal what hints did not. Why its head is also read all
 * the time: only then does a node know that it has missed nothing for a second.
 */
export class Control {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #feeds: Feeds;
  readonly #sequencer: Sequencer;
  readonly #confirmation: Confirmation;
  readonly #actions: ControlActions;
  readonly #node: string;
  readonly #alone: boolean;
  #feed: Feed | null = null;
  #opening = false;
  #asking = 0;
  /** Heads that the store has told of and that the feed has not reached, with the time before they were asked for. */
  #ahead: { readonly state: LogState; readonly asOf: number }[] = [];
  #trimming = false;
  #checkingTokens = false;
  #tokensDoubtful = false;
  #cancel: () => void = () => {};
  #stopped = false;

  constructor(parts: {
    store: Store;
    clock: Clock;
    feeds: Feeds;
    sequencer: Sequencer;
    confirmation: Confirmation;
    actions: ControlActions;
    node: string;
    alone: boolean;
  }) {
    this.#store = parts.store;
    this.#clock = parts.clock;
    this.#feeds = parts.feeds;
    this.#sequencer = parts.sequencer;
    this.#confirmation = parts.confirmation;
    this.#actions = parts.actions;
    this.#node = parts.node;
    this.#alone = parts.alone;
  }

  /** Begins at the head of the log, as soon as the store is there. */
  start(): void {
    if (this.#alone) return;
    void this.#confirm();
    this.#schedule();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  /** Acts on this node at once. Gives the number of connections that were closed here. */
  act(change: ControlChange): number {
    switch (change.kind) {
      case "access_changed":
        this.#actions.accessChanged(
          change.tenant,
          change.userId,
          change.roomId === null ? null : logId(change.tenant, change.roomId),
        );
        return 0;
      case "room_changed":
        this.#actions.accessChanged(change.tenant, null, logId(change.tenant, change.roomId));
        return 0;
      case "room_deleted":
        this.#actions.roomDeleted(logId(change.tenant, change.roomId));
        return 0;
      case "user_disconnected":
        return this.#actions.disconnectUser(change.tenant, change.userId, change.forGood);
    }
  }

  /** Tells the other nodes. Resolves when it is durable: they act on it within a second. Rejects with `RefusalError`. */
  async tell(change: ControlChange): Promise<void> {
    if (this.#alone) return;
    await this.#sequencer.append({
      log: controlLog,
      id: newEntryId(),
      type: "control",
      actor: "@server",
      at: this.#clock.now(),
      v: 1,
      data: JSON.stringify({ from: this.#node, change }),
      clientId: null,
      effect: null,
    });
  }

  /** Acts at once, then tells the others. As `act` and `tell`. */
  async announce(change: ControlChange): Promise<number> {
    const closed = this.act(change);
    await this.tell(change);
    return closed;
  }

  /** Entries of `@control` were accepted, in order. */
  onAccepted(feed: Feed, events: readonly EventText[]): void {
    for (const event of events) {
      const { from, change } = controlChangeIn(event);
      // Why not its own: it has acted already, and whoever came back since was let in as of then.
      if (from === this.#node) continue;
      if (change === null) this.#startOver();
      else this.act(change);
    }
    this.#reached(feed);
  }

  /** The log has another life, or has lost more than this node had read. */
  onReset(feed: Feed): void {
    this.#startOver();
    this.#reached(feed);
  }

  #schedule(): void {
    this.#cancel = this.#clock.after(confirmMs, () => {
      void this.#confirm();
      this.#schedule();
    });
  }

  async #confirm(): Promise<void> {
    if (this.#asking >= confirmationsMax) return;
    this.#asking += 1;
    try {
      const asOf = this.#clock.monotonic();
      if (this.#feed === null) await this.#open(asOf);
      else await this.#confirmHead(this.#feed, asOf);
    } catch {
      // The store is away: nothing is confirmed until it is back.
    }
    this.#asking -= 1;
  }

  async #open(asOf: number): Promise<void> {
    if (this.#opening) return;
    this.#opening = true;
    try {
      const feed = await this.#feeds.open(controlLog);
      // Why: it has no subscribers, and is followed for as long as the node lives.
      feed.idleSince = Number.POSITIVE_INFINITY;
      this.#feed = feed;
      // Why: answers that were given before stand in no order to the head at which it begins.
      if (!this.#stopped) this.#startOver();
      this.#confirmation.confirm(asOf);
    } finally {
      this.#opening = false;
    }
  }

  async #confirmHead(feed: Feed, asOf: number): Promise<void> {
    const asked = feed.epoch;
    const [state] = await this.#store.states([controlLog]);
    if (this.#stopped) return;
    if (state === undefined) {
      feed.announce(noEpoch, 0);
      return;
    }
    if (this.#ahead.length < confirmationsMax) this.#ahead.push({ state, asOf });
    feed.learn(state, asked);
    this.#reached(feed);
    this.#trim(state);
  }

  /** The feed stands at its head now; what was asked for before it got there is confirmed. */
  #reached(feed: Feed): void {
    if (this.#ahead.length === 0) return;
    const ahead = this.#ahead;
    this.#ahead = ahead.filter(({ state }) => state.epoch === feed.epoch && state.head > feed.head);
    for (const { state, asOf } of ahead)
      if (state.epoch === feed.epoch && state.head <= feed.head) this.#confirmation.confirm(asOf);
  }

  #trim({ head, floor }: LogState): void {
    if (this.#trimming || head - floor < entriesKept * 1.1) return;
    this.#trimming = true;
    const done = (): void => {
      this.#trimming = false;
    };
    this.#store.trim(controlLog, head + 1 - entriesKept).then(done, done);
  }

  /** What this node has not heard of may be anything. */
  #startOver(): void {
    this.#actions.doubtAll();
    this.#tokensDoubtful = true;
    if (this.#checkingTokens) return;
    this.#checkingTokens = true;
    this.#checkTokens().then(
      () => {
        this.#checkingTokens = false;
      },
      () => {
        this.#clock.after(retryMs, () => {
          this.#checkingTokens = false;
          if (!this.#stopped) this.#startOver();
        });
      },
    );
  }

  /** Whoever connects asks the store whether the token was revoked; for those who are here it is asked now. */
  async #checkTokens(): Promise<void> {
    while (this.#tokensDoubtful && !this.#stopped) {
      this.#tokensDoubtful = false;
      const sessions = [...this.#actions.sessions()];
      for (let from = 0; from < sessions.length && !this.#stopped; from += sessionsPerRead)
        await this.#checkTokensOf(sessions.slice(from, from + sessionsPerRead));
    }
  }

  async #checkTokensOf(sessions: readonly Session[]): Promise<void> {
    const revocations = await this.#store.revocations(
      sessions.map(({ user: { tenant, id } }) => ({ tenant, userId: id })),
    );
    if (this.#stopped) return;
    for (const [index, session] of sessions.entries()) {
      const revocation = revocations[index];
      if (revocation === undefined || session.dropped) continue;
      if (revocation.banned || session.user.issuedAt < revocation.issuedBefore) this.#actions.endSession(session);
    }
  }
}
