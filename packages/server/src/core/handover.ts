import type { Bus, HandedSession, NodeMessage } from "../bus/bus.ts";
import type { User } from "../gateway/connection.ts";
import type { SessionClaim, Store, StoredSession } from "../store/store.ts";
import { arrivalsPerCall, Batches } from "./batches.ts";
import type { Clock } from "./clock.ts";
import { announcementsRoom, type LogId, logId, type LogState } from "./log.ts";
import { dropOldest } from "./oldest.ts";
import type { Session } from "./session.ts";
import { handOver, takeOver } from "./session-cursors.ts";
import type { SessionKeeper } from "./session-keeper.ts";
import type { Sessions } from "./sessions.ts";

/** How long the node that served a session is waited for, and when it is asked once more. */
const answerMaxMs = 500;
const askAgainMs = 250;
/** Why: an answer may be lost, and the session is not here any more when it is asked for again. */
const answerKeepMs = 10_000;
const answersMax = 1_000;

interface Given {
  readonly generation: number;
  readonly session: HandedSession;
  /** Who asked for it first. */
  to: string | null;
}

/**
 * Sessions that pass from node to node (REC-2). A client comes back to a node that does not have its session: the node
 * claims it in the store, asks the node that had it, which gives way and says what the client lacks, and goes on with it;
 * without an answer from the store's cursors, behind which nothing was missed.
 */
export class Handover {
  readonly #bus: Bus;
  readonly #clock: Clock;
  readonly #node: string;
  readonly #sessions: Sessions;
  readonly #keeper: SessionKeeper;
  readonly #giveWay: (session: Session) => void;
  /** Each `pid` is looked for, and so claimed, once at a time. */
  readonly #claims: Batches<SessionClaim, StoredSession | undefined>;
  readonly #states: Batches<LogId, LogState | undefined>;
  /** Sessions that are being looked for, by `pid`: one at a time. */
  readonly #finding = new Map<string, Promise<unknown>>();
  /** Questions under way, by `pid` and generation. */
  readonly #asked = new Map<string, (session: HandedSession | null) => void>();
  /** Sessions given away lately, by `pid`, with the generation that they had here. */
  readonly #given = new Map<string, Given>();

  constructor(parts: {
    store: Store;
    bus: Bus;
    clock: Clock;
    node: string;
    sessions: Sessions;
    keeper: SessionKeeper;
    /** The session's client is another node's: its connection is closed, nobody has left. */
    giveWay: (session: Session) => void;
  }) {
    this.#bus = parts.bus;
    this.#clock = parts.clock;
    this.#node = parts.node;
    this.#sessions = parts.sessions;
    this.#keeper = parts.keeper;
    this.#giveWay = parts.giveWay;
    this.#claims = new Batches(parts.clock, arrivalsPerCall, (claims) => parts.store.claimSessions(claims));
    this.#states = new Batches(parts.clock, arrivalsPerCall, (logs) => parts.store.states(logs));
  }

  /**
   * The session that the user's client comes back to, wherever it was: here by now, without a connection unless it is
   * still served. Undefined when there is none, when it is not the user's, or when it may not be the last that was known
   * of it. Rejects when the store is away, and with `too_many_connections`; the session can then be found again.
   */
  async find(pid: string, user: User): Promise<Session | undefined> {
    // Why one after another: who comes back twice at once would claim the session from itself.
    for (let before = this.#finding.get(pid); before !== undefined; before = this.#finding.get(pid)) await before;
    const found = this.#find(pid, user);
    const done = found.catch(() => {}).finally(() => this.#finding.delete(pid));
    this.#finding.set(pid, done);
    return found;
  }

  async #find(pid: string, user: User): Promise<Session | undefined> {
    const here = this.#sessions.find(pid, user);
    if (here !== undefined && (!here.kept || this.#bus.alone)) return here;
    // Why: another node may have claimed it, and have lost its client since; then what is here is too old.
    if (here !== undefined) await this.#keeper.keep(here);
    if (here !== undefined && !here.dropped) return here;
    this.#sessions.requirePlace(user);
    const stored = await this.#claims.ask({ pid, tenant: user.tenant, userId: user.id, node: this.#node });
    if (stored === undefined) return undefined;
    const { owner, generation, id, cursors } = stored;
    const isElsewhere = owner !== this.#node && !this.#bus.alone;
    const handed = isElsewhere ? await this.#ask(owner, pid, generation) : null;
    // Why: a store that lost commits may have lost the last join and leave, and a client that recovers joins no room again.
    if (handed === null && !(await this.#isOfThisLife(stored))) return undefined;
    const session = this.#sessions.adopt({ id, pid, generation, user });
    takeOver(session, cursors, handed);
    return session;
  }

  /** Whether the store is still the one in which the session was written: every session follows the announcements. */
  async #isOfThisLife({ tenant, cursors }: StoredSession): Promise<boolean> {
    const announcements = logId(tenant, announcementsRoom);
    const state = await this.#states.ask(announcements);
    return state !== undefined && cursors.some(({ log, epoch }) => log === announcements && epoch === state.epoch);
  }

  onMessage(message: NodeMessage): void {
    switch (message.kind) {
      case "session_claimed":
        return this.#answer(message);
      case "session_given":
        return this.#asked.get(keyOf(message))?.(message.session);
    }
  }

  /** Another node has claimed the session: it goes on there, and what it needs for that is kept for its question. */
  release(session: Session): void {
    const { pid, generation } = session;
    this.#giveWay(session);
    // Why: of one that was never opened here the store knows as much, and nobody takes its places for all that the client has.
    const given = session.isAsStored ? null : { generation, session: handOver(session), to: null };
    this.#sessions.drop(session);
    if (pid === null || given === null) return;
    this.#given.delete(pid);
    this.#given.set(pid, given);
    dropOldest(this.#given, answersMax, (oldest) => this.#given.delete(oldest));
    this.#clock.after(answerKeepMs, () => {
      if (this.#given.get(pid) === given) this.#given.delete(pid);
    });
  }

  #answer(message: Extract<NodeMessage, { kind: "session_claimed" }>): void {
    const { from, pid, generation } = message;
    const here = this.#sessions.at(pid);
    if (here !== undefined && here.generation < generation) this.release(here);
    const given = this.#given.get(pid);
    // Why the next one alone: what an earlier holder knew lacks what the client did since. Two that claimed the same
    // generation are that, too: the store has lost the claim of the first.
    const isNext = given?.generation === generation - 1;
    if (isNext) given.to ??= from;
    const session = isNext && given.to === from ? given.session : null;
    const finding = this.#finding.get(pid);
    if (session === null && finding !== undefined) void finding.then(() => this.#answer(message));
    else this.#bus.send(from, { kind: "session_given", from: this.#node, pid, generation, session });
  }

  #ask(owner: string, pid: string, generation: number): Promise<HandedSession | null> {
    const question = { kind: "session_claimed", from: this.#node, pid, generation } as const;
    const key = keyOf(question);
    return new Promise((resolve) => {
      const cancels = [
        this.#clock.after(askAgainMs, () => this.#bus.send(owner, question)),
        this.#clock.after(answerMaxMs, () => answered(null)),
      ];
      const answered = (session: HandedSession | null): void => {
        if (!this.#asked.delete(key)) return;
        for (const cancel of cancels) cancel();
        resolve(session);
      };
      this.#asked.set(key, answered);
      this.#bus.send(owner, question);
    });
  }
}

function keyOf({ pid, generation }: { readonly pid: string; readonly generation: number }): string {
  return `${generation} ${pid}`;
}
