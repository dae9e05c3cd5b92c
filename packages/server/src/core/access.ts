import { RefusalError, type Role } from "@parley/protocol";
import type { User } from "../gateway/connection.ts";
import type { Store } from "../store/store.ts";
import type { Clock } from "./clock.ts";
import type { LogId, Millis } from "./log.ts";

/** What a user may do in a room. Without `read` nothing else is given. */
export interface Rights {
  readonly read: boolean;
  readonly send: boolean;
  readonly role: Role | null;
}

export const noRights: Rights = { read: false, send: false, role: null };

export interface AccessQuestion {
  readonly user: User;
  readonly log: LogId;
}

/**
 * Port: who may do what. Asked in batches, one per turn of the event loop at most; answers in the order of the
 * questions. A policy that rejects or takes longer than `accessTimeoutMs` means: refused, and worth asking again.
 */
export interface AccessPolicy {
  check(questions: readonly AccessQuestion[]): Promise<readonly Rights[]>;
}

/** Memberships in the store. `openRooms` (development) are open to every user of their tenant. */
export function storedMemberships(store: Store, openRooms: ReadonlySet<LogId> = new Set()): AccessPolicy {
  return {
    async check(questions) {
      const states = await store.memberships(questions.map(({ user, log }) => ({ log, userId: user.id })));
      return questions.map(({ user, log }, index) => {
        const { room, role } = states[index] ?? {};
        if (!log.startsWith(`${user.tenant}/`)) return noRights;
        if (role !== undefined) return { read: true, send: role !== "reader", role };
        const open = room?.access === "public" || openRooms.has(log);
        return open ? { read: true, send: true, role: null } : noRights;
      });
    },
  };
}

/** The app's own answer, for each question by itself: `true` for read and send, `false` for neither, or rights. */
export type AccessFunction = (question: {
  user: User;
  roomId: string;
}) => Promise<boolean | Partial<Rights>> | boolean | Partial<Rights>;

export function ownPolicy(ask: AccessFunction, roomOf: (log: LogId) => string): AccessPolicy {
  return {
    check: (questions) =>
      Promise.all(
        questions.map(async ({ user, log }) => {
          const answer = await ask({ user, roomId: roomOf(log) });
          if (typeof answer === "boolean") return { read: answer, send: answer, role: null };
          return answer.read === true
            ? { read: true, send: answer.send === true, role: answer.role ?? null }
            : noRights;
        }),
      ),
  };
}

export interface AccessLimits {
  /** How long an answer holds. */
  readonly accessTtlMs: number;
  readonly accessTimeoutMs: number;
  readonly cacheMax: number;
}

interface Answer {
  readonly rights: Rights;
  readonly until: Millis;
}

interface Question extends AccessQuestion {
  readonly key: string;
  readonly resolve: (rights: Rights) => void;
  readonly reject: (error: Error) => void;
}

/** Questions of one policy call. */
const questionsMax = 1_000;

/** Asks the policy, many questions at once, and remembers its answers for a while. */
export class Access {
  readonly #policy: AccessPolicy;
  readonly #clock: Clock;
  readonly #limits: AccessLimits;
  /** By user and log; the oldest answer goes first. */
  readonly #answers = new Map<string, Answer>();
  readonly #asked = new Map<string, Promise<Rights>>();
  #questions: Question[] = [];

  constructor(policy: AccessPolicy, clock: Clock, limits: AccessLimits) {
    this.#policy = policy;
    this.#clock = clock;
    this.#limits = limits;
  }

  /** At once when the answer is known. Rejects with `RefusalError` `access_unavailable`. */
  rights(user: User, log: LogId): Rights | Promise<Rights> {
    const key = keyOf(user.tenant, user.id, log);
    const known = this.#answers.get(key);
    if (known !== undefined && known.until > this.#clock.now()) return known.rights;
    return this.#ask(user, log, key);
  }

  /** Asks again, whatever was answered before. */
  rightsNow(user: User, log: LogId): Promise<Rights> {
    const key = keyOf(user.tenant, user.id, log);
    this.#answers.delete(key);
    this.#asked.delete(key);
    return this.#ask(user, log, key);
  }

  /** What was answered for this user in this log, or in any log, holds no longer. */
  forget(tenant: string, userId: string, log?: LogId): void {
    if (log !== undefined) {
      this.#answers.delete(keyOf(tenant, userId, log));
      this.#asked.delete(keyOf(tenant, userId, log));
      return;
    }
    const prefix = `${tenant}\n${userId}\n`;
    for (const answers of [this.#answers, this.#asked]) {
      for (const key of answers.keys()) if (key.startsWith(prefix)) answers.delete(key);
    }
  }

  /** What was answered for this log holds no longer. */
  forgetLog(log: LogId): void {
    for (const key of this.#answers.keys()) if (key.endsWith(`\n${log}`)) this.#answers.delete(key);
  }

  #ask(user: User, log: LogId, key: string): Promise<Rights> {
    const asked = this.#asked.get(key);
    if (asked !== undefined) return asked;
    const promise = new Promise<Rights>((resolve, reject) => {
      this.#questions.push({ user, log, key, resolve, reject });
      if (this.#questions.length === 1) this.#clock.immediate(() => this.#send());
    });
    this.#asked.set(key, promise);
    const forget = () => {
      if (this.#asked.get(key) === promise) this.#asked.delete(key);
    };
    promise.then((rights) => {
      if (this.#asked.get(key) === promise) this.#remember(key, rights);
      forget();
    }, forget);
    return promise;
  }

  #remember(key: string, rights: Rights): void {
    this.#answers.delete(key);
    this.#answers.set(key, { rights, until: this.#clock.now() + this.#limits.accessTtlMs });
    if (this.#answers.size <= this.#limits.cacheMax) return;
    const [oldest] = this.#answers.keys();
    if (oldest !== undefined) this.#answers.delete(oldest);
  }

  #send(): void {
    const questions = this.#questions;
    this.#questions = [];
    for (let from = 0; from < questions.length; from += questionsMax)
      void this.#sendBatch(questions.slice(from, from + questionsMax));
  }

  async #sendBatch(questions: readonly Question[]): Promise<void> {
    const refuse = () => {
      for (const { reject } of questions) {
        reject(new RefusalError("access_unavailable", "the right to this room could not be checked; try again", 1_000));
      }
    };
    const cancel = this.#clock.after(this.#limits.accessTimeoutMs, refuse);
    try {
      const answers = await this.#policy.check(questions);
      for (const [index, { resolve }] of questions.entries()) resolve(answers[index] ?? noRights);
    } catch {
      refuse();
    }
    cancel();
  }
}

function keyOf(tenant: string, userId: string, log: LogId): string {
  return `${tenant}\n${userId}\n${log}`;
}
