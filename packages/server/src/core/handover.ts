import { RefusalError } from "@parley/protocol";
import type { Bus, HandedSession, NodeMessage } from "../bus/bus.ts";
import type { User } from "../gateway/connection.ts";
import type { SessionClaim, Store, StoredSession } from "../store/store.ts";
import type { Clock } from "./clock.ts";
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
const claimsMax = 1_000;

interface Claim extends SessionClaim {
  readonly resolve: (session: StoredSession | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Sessions that pass from node to node (REC-2). A client comes back to a node that does not have its session: the node
 * claims it in the store, asks the node that had it, which gives way and says what the client lacks, and goes on with it;
 * without an answer from the store's cursors, behind which nothing was missed.
 */
export class Handover {
  readonly #store: Store;
  readonly #bus: Bus;
  readonly #clock: Clock;
  readonly #node: string;
  readonly #sessions: Sessions;
  readonly #keeper: SessionKeeper;
  readonly #giveWay: (session: Session) => void;
  /** For the next claim; one is in flight. */
  #claims: Claim[] = [];
  #claiming = false;
  /** Clients that are being looked for, by user and `pid`: one at a time. */
  readonly #finding = new Map<string, Promise<unknown>>();
  /** Questions under way, by `pid` and generation. */
  readonly #asked = new Map<string, (session: HandedSession | null) => void>();
  /** Answers given lately. */
  readonly #given = new Map<string, HandedSession>();

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
    this.#store = parts.store;
    this.#bus = parts.bus;
    this.#clock = parts.clock;
    this.#node = parts.node;
    this.#sessions = parts.sessions;
    this.#keeper = parts.keeper;
    this.#giveWay = parts.giveWay;
  }

  /**
   * The session that the user's client comes back to, wherever it was: here by now, without a connection unless it is
   * still served. Undefined when there is none, or it is not the user's. Rejects when the store is away, and with
   * `too_many_connections`; the session can then be found again.
   */
  async find(pid: string, user: User): Promise<Session | undefined> {
    const key = JSON.stringify([user.tenant, user.id, pid]);
    // Why one after another: who comes back twice at once would claim the session from itself.
    for (let before = this.#finding.get(key); before !== undefined; before = this.#finding.get(key)) await before;
    const found = this.#find(pid, user);
    const done = found.catch(() => {}).finally(() => this.#finding.delete(key));
    this.#finding.set(key, done);
    return found;
  }

  async #find(pid: string, user: User): Promise<Session | undefined> {
    const here = this.#sessions.find(pid, user);
    if (here !== undefined && (!here.kept || this.#bus.alone)) return here;
    // Why: another node may have claimed it, and have lost its client since; then what is here is too old.
    if (here !== undefined) await this.#keeper.keep(here);
    if (here !== undefined && !here.dropped) return here;
    if (this.#sessions.full(user))
      throw new RefusalError(
        "too_many_connections",
        "this user has too many connections (limits.connectionsPerUserMax)",
      );
    const stored = await this.#claim({ pid, tenant: user.tenant, userId: user.id, node: this.#node });
    if (stored === undefined) return undefined;
    const { owner, generation, id, cursors } = stored;
    const isElsewhere = owner !== this.#node && !this.#bus.alone;
    const handed = isElsewhere ? await this.#ask(owner, pid, generation) : null;
    const session = this.#sessions.adopt({ id, pid, generation, user });
    takeOver(session, cursors, handed);
    return session;
  }

  onMessage(message: NodeMessage): void {
    switch (message.kind) {
      case "session_claimed":
        return this.#answer(message);
      case "session_given":
        return this.#asked.get(keyOf(message))?.(message.session);
    }
  }

  #answer(message: Extract<NodeMessage, { kind: "session_claimed" }>): void {
    const { from, pid, generation } = message;
    const key = keyOf(message);
    const session = this.#given.get(key) ?? this.#give(key, pid, generation);
    this.#bus.send(from, { kind: "session_given", from: this.#node, pid, generation, session });
  }

  /** Null: it is not here, or this node has claimed it since. */
  #give(key: string, pid: string, generation: number): HandedSession | null {
    const session = this.#sessions.at(pid);
    if (session === undefined || session.generation >= generation) return null;
    this.#giveWay(session);
    const handed = handOver(session);
    this.#sessions.drop(session);
    this.#given.set(key, handed);
    const [oldest] = this.#given.keys();
    if (this.#given.size > answersMax && oldest !== undefined) this.#given.delete(oldest);
    this.#clock.after(answerKeepMs, () => this.#given.delete(key));
    return handed;
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

  #claim(claim: SessionClaim): Promise<StoredSession | undefined> {
    return new Promise((resolve, reject) => {
      this.#claims.push({ ...claim, resolve, reject });
      if (this.#claiming) return;
      this.#claiming = true;
      // Why: all who come back in this turn of the event loop are claimed with one write.
      this.#clock.immediate(() => void this.#claimAll());
    });
  }

  async #claimAll(): Promise<void> {
    for (let batch = this.#takeClaims(); batch.size > 0; batch = this.#takeClaims()) {
      const claims = [...batch.values()];
      try {
        const sessions = await this.#store.claimSessions(
          claims.map(({ pid, tenant, userId, node }) => ({ pid, tenant, userId, node })),
        );
        for (const [index, { resolve }] of claims.entries()) resolve(sessions[index]);
      } catch (error) {
        for (const { reject } of claims) reject(error);
      }
    }
    this.#claiming = false;
  }

  /** Each `pid` once: users who present the same one wait for each other. */
  #takeClaims(): Map<string, Claim> {
    const batch = new Map<string, Claim>();
    this.#claims = this.#claims.filter((claim) => {
      if (batch.size >= claimsMax || batch.has(claim.pid)) return true;
      batch.set(claim.pid, claim);
      return false;
    });
    return batch;
  }
}

function keyOf({ pid, generation }: { readonly pid: string; readonly generation: number }): string {
  return `${generation} ${pid}`;
}
