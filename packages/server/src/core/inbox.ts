import type { InboxPosition, InboxState, Store } from "../store/store.ts";
import { arrivalsPerCall, Batches } from "./batches.ts";
import type { Clock } from "./clock.ts";
import type { Feeds } from "./feeds.ts";
import { inboxOf, type LogId, roomOf, tenantOf } from "./log.ts";
import type { Position } from "@parley/protocol";
import type { Session } from "./session.ts";
import type { Sessions } from "./sessions.ts";
import type { Subscriber } from "./subscriber.ts";
import type { Run } from "./unconfirmed.ts";

export interface InboxLimits {
  /** How long arrived positions are gathered before one write. */
  readonly inboxSaveMs: number;
  readonly storeRetryMs: number;
}

const inboxPrefix = "@user:";
const positionsPerSave = 1_000;

/** Before the first entry of a log that has no life yet. */
const unborn = "";

/**
 * What is meant for one user: a log that has a feed here only while there is something to deliver, so that an idle
 * connection costs a cursor. The stored position moves when an answered ping shows that an entry has arrived.
 */
export class Inboxes {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #feeds: Feeds;
  readonly #sessions: Sessions;
  readonly #limits: InboxLimits;
  readonly #placing = new Map<Subscriber, { woken: boolean }>();
  readonly #arrived = new Map<LogId, InboxPosition>();
  readonly #asked: Batches<LogId, InboxState>;
  /** Positions are about to be written, or are. */
  #saving = false;
  #stopped = false;
  #cancelSave: () => void = () => {};

  constructor(parts: { store: Store; clock: Clock; feeds: Feeds; sessions: Sessions; limits: InboxLimits }) {
    this.#store = parts.store;
    this.#clock = parts.clock;
    this.#feeds = parts.feeds;
    this.#sessions = parts.sessions;
    this.#limits = parts.limits;
    this.#asked = new Batches(parts.clock, arrivalsPerCall, (logs) => parts.store.inboxes(logs));
  }

  /** Gives the session a cursor in its user's inbox: at `from`, else where the user's last connection had got to. */
  async follow(session: Session, from: Position | undefined): Promise<void> {
    const log = inboxOf(session.user.tenant, session.user.id);
    const subscriber = session.add(log, unborn, 0);
    // Why: until it is known to have arrived, the next connection gets it once more.
    subscriber.confirms = true;
    const known = this.#arrived.get(log);
    const remembered = session.remembered?.log === log ? session.remembered : undefined;
    // Why: an entry that is committed during the read must not be overlooked, nor delivered from a wrong place.
    const placing = { woken: false };
    this.#placing.set(subscriber, placing);
    let missed = false;
    try {
      const { state, position } = await this.#asked.ask(log);
      // A position in another life of the log says nothing.
      const begin =
        from !== undefined && from.epoch === state?.epoch
          ? from
          : furthest(state?.epoch, [position, known, this.#arrived.get(log), remembered]);
      subscriber.epoch = state?.epoch ?? unborn;
      subscriber.cursor = state === undefined || begin === undefined ? 0 : Math.min(begin.seq, state.head);
      missed = state !== undefined && state.head > subscriber.cursor;
    } finally {
      this.#placing.delete(subscriber);
    }
    if (placing.woken || missed) await this.#subscribe(subscriber);
  }

  /** A session that came back continues at its cursor. */
  async resume(subscriber: Subscriber): Promise<void> {
    const { state } = await this.#asked.ask(subscriber.log);
    if (state !== undefined && (state.epoch !== subscriber.epoch || state.head > subscriber.cursor))
      await this.#subscribe(subscriber);
  }

  /** Retention or another life of the log took what the cursor stood at: on from the first entry that is kept. */
  startOver(subscriber: Subscriber): void {
    const { session, log } = subscriber;
    const restart = async () => {
      const [state] = await this.#store.states([log]);
      // It may have come back, or gone for good, meanwhile.
      if (subscriber.feed !== null || !session.subscribers.includes(subscriber)) return;
      subscriber.epoch = state?.epoch ?? unborn;
      subscriber.cursor = (state?.floor ?? 1) - 1;
      if (session.connection !== null) await this.#subscribe(subscriber);
    };
    restart().catch(() => this.#retry(subscriber, () => this.startOver(subscriber)));
  }

  /** Entries may have come of which this node is not told any more: whoever has no feed of the inbox asks for its state. */
  recheck(): void {
    for (const session of this.#sessions.connected) {
      const subscriber = session.find(inboxOf(session.user.tenant, session.user.id));
      if (subscriber?.state === "detached" && !this.#placing.has(subscriber)) void this.#resumeInTime(subscriber);
    }
  }

  isInbox(log: LogId): boolean {
    return roomOf(log).startsWith(inboxPrefix);
  }

  /** An entry was committed to an inbox: those of the user's sessions that do not follow its feed begin to. */
  wake(log: LogId): void {
    const userId = roomOf(log).slice(inboxPrefix.length);
    for (const session of this.#sessions.of(tenantOf(log), userId)) {
      const subscriber = session.find(log);
      if (session.connection === null || subscriber?.state !== "detached") continue;
      const placing = this.#placing.get(subscriber);
      if (placing === undefined) void this.#subscribeInTime(subscriber);
      else placing.woken = true;
    }
  }

  /** Entries that arrived at a client for certain. */
  arrived(runs: readonly Run[]): void {
    for (const { subscriber, epoch, to } of runs) {
      const { log } = subscriber;
      if (!this.isInbox(log)) continue;
      const known = this.#arrived.get(log);
      if (known === undefined || known.epoch !== epoch || known.seq < to)
        this.#arrived.set(log, { log, epoch, seq: to });
    }
    this.#saveSoon();
  }

  /** Writes no more by itself; `save` still does. */
  stop(): void {
    this.#stopped = true;
    this.#cancelSave();
  }

  /** Writes what has arrived until now. */
  async save(): Promise<void> {
    while (this.#arrived.size > 0) {
      const positions = [...this.#arrived.values()].slice(0, positionsPerSave);
      await this.#store.saveInboxPositions(positions);
      for (const position of positions)
        if (this.#arrived.get(position.log) === position) this.#arrived.delete(position.log);
    }
  }

  #saveSoon(): void {
    if (this.#saving || this.#stopped || this.#arrived.size === 0) return;
    this.#saving = true;
    const saved = (): void => {
      this.#saving = false;
      // Why not again at once when it failed: a position that is behind costs a repeat, never a loss.
      this.#saveSoon();
    };
    this.#cancelSave = this.#clock.after(this.#limits.inboxSaveMs, () => void this.save().then(saved, saved));
  }

  async #subscribe(subscriber: Subscriber): Promise<void> {
    const feed = await this.#feeds.open(subscriber.log);
    const { session } = subscriber;
    if (feed.epoch !== subscriber.epoch) {
      // Why: a feed that lingers may not have heard of the other life; an epoch from it would be forgotten at once.
      const asked = feed.epoch;
      const [state] = await this.#store.states([feed.log]);
      if (state !== undefined) feed.learn(state, asked);
      if (feed.closed) return this.#subscribe(subscriber);
    }
    if (session.connection === null || subscriber.feed !== null || !session.subscribers.includes(subscriber)) return;
    if (subscriber.epoch !== feed.epoch) {
      subscriber.epoch = feed.epoch;
      subscriber.cursor = 0;
    }
    this.#feeds.subscribe(subscriber, feed);
  }

  async #subscribeInTime(subscriber: Subscriber): Promise<void> {
    try {
      await this.#subscribe(subscriber);
    } catch {
      this.#retry(subscriber, () => void this.#subscribeInTime(subscriber));
    }
  }

  async #resumeInTime(subscriber: Subscriber): Promise<void> {
    try {
      await this.resume(subscriber);
    } catch {
      this.#retry(subscriber, () => void this.#resumeInTime(subscriber));
    }
  }

  /** Who has lost the connection meanwhile is not waited for: `resume` finds out anew. */
  #retry({ session }: Subscriber, attempt: () => void): void {
    if (session.connection !== null) this.#clock.after(this.#limits.storeRetryMs, attempt);
  }
}

/** Of positions in this life of the log. What has arrived may be known here and not yet be in the store. */
function furthest(epoch: string | undefined, positions: readonly (Position | undefined)[]): Position | undefined {
  let best: Position | undefined;
  for (const position of positions) {
    if (position?.epoch === epoch && position !== undefined && position.seq > (best?.seq ?? -1)) best = position;
  }
  return best;
}
