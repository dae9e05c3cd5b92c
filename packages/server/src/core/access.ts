import { RefusalError, type Role, roleSchema } from "@parley/protocol";
import type { User } from "../gateway/connection.ts";
import type { Store } from "../store/store.ts";
import { arrivalsPerCall } from "./batches.ts";
import type { Clock } from "./clock.ts";
import type { LogId, Millis } from "./log.ts";
import { dropOldest } from "./oldest.ts";

/** What a user may do in a room. Without `read` nothing else is given. */
export interface Rights {
  readonly read: boolean;
  readonly send: boolean;
  readonly role: Role | null;
}

// Why these few for everybody: an answer is remembered for every member of a room.
const noRights: Rights = { read: false, send: false, role: null };
const openRights: Rights = { read: true, send: true, role: null };
const memberRights = new Map(
  roleSchema.options.map((role): [Role, Rights] => [role, { read: true, send: role !== "reader", role }]),
);

/** Throws the refusal `forbidden`, which is also the answer for a room that is not there. */
export function requireRight(rights: Rights, roomId: string, what: "read" | "send"): void {
  if (rights[what]) return;
  const verb = what === "read" ? "read" : "send to";
  throw new RefusalError(
    "forbidden",
    `you may not ${verb} room ${JSON.stringify(roomId)}: it takes a membership, or the room's access set to public`,
  );
}

export interface AccessQuestion {
  readonly user: User;
  readonly log: LogId;
}

/**
 * Port: who may do what. Asked in batches, as many questions at once as came in a turn of the event loop, or while all
 * calls that may be under way were; answers in the order of the questions. A policy that rejects or takes longer than
 * `accessTimeoutMs` means: refused, and worth asking again.
 */
export interface AccessPolicy {
  /** Questions of one call. */
  readonly questionsMax: number;
  /** Calls under way at once. */
  readonly callsMax: number;
  /** Rooms need no record in the store: the policy alone says which there are. */
  readonly namesRooms: boolean;
  check(questions: readonly AccessQuestion[]): Promise<readonly Rights[]>;
}

/** Memberships in the store. `openRooms` (development) are open to every user of their tenant. */
export function storedMemberships(store: Store, openRooms: ReadonlySet<LogId> = new Set()): AccessPolicy {
  return {
    questionsMax: arrivalsPerCall,
    // Why one: what is asked meanwhile makes the next batch larger, and never a queue of calls.
    callsMax: 1,
    namesRooms: false,
    async check(questions) {
      const states = await store.memberships(questions.map(({ user, log }) => ({ log, userId: user.id })));
      return questions.map(({ user, log }, index) => {
        const { room, role } = states[index] ?? {};
        if (!log.startsWith(`${user.tenant}/`)) return noRights;
        if (role !== undefined) return memberRights.get(role) ?? noRights;
        return room?.access === "public" || openRooms.has(log) ? openRights : noRights;
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
  const answer = async ({ user, log }: AccessQuestion): Promise<Rights> => {
    const given = await ask({ user, roomId: roomOf(log) });
    if (typeof given === "boolean") return { read: given, send: given, role: null };
    // Why: an app in JavaScript may have forgotten its `return`.
    if (typeof given !== "object" || given === null)
      throw new TypeError("access gave neither true nor false nor rights");
    return given.read === true ? { read: true, send: given.send === true, role: given.role ?? null } : noRights;
  };
  // Why one at a time: a question that fails, or is answered late, must not be another user's refusal.
  const callsMax = Number.POSITIVE_INFINITY;
  return { questionsMax: 1, callsMax, namesRooms: true, check: (questions) => Promise.all(questions.map(answer)) };
}

export interface AccessLimits {
  /** How long an answer holds. */
  readonly accessTtlMs: number;
  readonly accessTimeoutMs: number;
  readonly cacheMax: number;
}

interface Answer {
  readonly rights: Rights;
  /** By the monotonic clock, in whole milliseconds: no box, as a fraction has. */
  readonly until: Millis;
  /** The user's as it was asked: another token of the same user may give other roles. */
  readonly roles: readonly string[];
}

/** A question that is on its way. */
interface Asked {
  readonly promise: Promise<Rights>;
  readonly roles: readonly string[];
}

interface Question extends AccessQuestion {
  readonly key: string;
  readonly resolve: (rights: Rights) => void;
  readonly reject: (error: Error) => void;
}

/** Asks the policy, many questions at once, and remembers its answers for a while. */
export class Access {
  readonly #policy: AccessPolicy;
  readonly #clock: Clock;
  readonly #limits: AccessLimits;
  readonly #onFailure: (error: unknown) => void;
  /** A node that may not have heard of a loss trusts no answer of before. */
  readonly #mayRemember: () => boolean;
  /** By user and log; the oldest answers go first. */
  readonly #answers = new Map<string, Answer>();
  readonly #asked = new Map<string, Asked>();
  #questions: Question[] = [];
  #calls = 0;

  /** `onFailure`: the policy failed or was late; for the log. */
  constructor(
    policy: AccessPolicy,
    clock: Clock,
    limits: AccessLimits,
    onFailure: (error: unknown) => void,
    mayRemember: () => boolean,
  ) {
    this.#mayRemember = mayRemember;
    this.#policy = policy;
    this.#clock = clock;
    this.#limits = limits;
    this.#onFailure = onFailure;
  }

  get namesRooms(): boolean {
    return this.#policy.namesRooms;
  }

  /** At once when the answer is known. Rejects with `RefusalError` `access_unavailable`. */
  rights(user: User, log: LogId): Rights | Promise<Rights> {
    const key = keyOf(user.tenant, user.id, log);
    const known = this.#mayRemember() ? this.#answers.get(key) : undefined;
    if (known !== undefined && known.until > this.#clock.monotonic() && sameRoles(known.roles, user.roles)) {
      return known.rights;
    }
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
      this.#forgetKey(keyOf(tenant, userId, log));
      return;
    }
    const prefix = `${tenant}\n${userId}\n`;
    this.#forgetKeys((key) => key.startsWith(prefix));
  }

  /** What was answered for this log holds no longer. */
  forgetLog(log: LogId): void {
    this.#forgetKeys((key) => key.endsWith(`\n${log}`));
  }

  forgetAll(): void {
    this.#answers.clear();
    this.#asked.clear();
  }

  #forgetKeys(matches: (key: string) => boolean): void {
    for (const keys of [this.#answers, this.#asked]) {
      for (const key of keys.keys()) if (matches(key)) this.#forgetKey(key);
    }
  }

  #forgetKey(key: string): void {
    this.#answers.delete(key);
    this.#asked.delete(key);
  }

  #ask(user: User, log: LogId, key: string): Promise<Rights> {
    const asked = this.#asked.get(key);
    if (asked !== undefined && sameRoles(asked.roles, user.roles)) return asked.promise;
    const promise = new Promise<Rights>((resolve, reject) => {
      this.#questions.push({ user, log, key, resolve, reject });
      if (this.#questions.length === 1) this.#clock.immediate(() => this.#send());
    });
    const { roles } = user;
    this.#asked.set(key, { promise, roles });
    const settle = (rights: Rights | null) => {
      // Otherwise it was forgotten, or asked anew, meanwhile.
      if (this.#asked.get(key)?.promise !== promise) return;
      this.#asked.delete(key);
      if (rights !== null) this.#remember(key, rights, roles);
    };
    promise.then(settle, () => settle(null));
    return promise;
  }

  #remember(key: string, rights: Rights, roles: readonly string[]): void {
    this.#answers.delete(key);
    const until = Math.trunc(this.#clock.monotonic()) + this.#limits.accessTtlMs;
    this.#answers.set(key, { rights, until, roles });
    dropOldest(this.#answers, this.#limits.cacheMax, (oldest) => this.#answers.delete(oldest));
  }

  #send(): void {
    const { questionsMax, callsMax } = this.#policy;
    while (this.#questions.length > 0 && this.#calls < callsMax)
      void this.#sendBatch(this.#questions.splice(0, questionsMax));
  }

  /** Never rejects. */
  async #sendBatch(questions: readonly Question[]): Promise<void> {
    this.#calls += 1;
    try {
      const answers = await this.#inTime(this.#policy.check(questions));
      for (const [index, { resolve }] of questions.entries()) resolve(answers[index] ?? noRights);
    } catch (error) {
      this.#onFailure(error);
      for (const { reject } of questions) {
        reject(new RefusalError("access_unavailable", "the right to this room could not be checked; try again", 1_000));
      }
    }
    // Why also for one that was late: it must not keep the others waiting.
    this.#calls -= 1;
    this.#send();
  }

  async #inTime(answers: Promise<readonly Rights[]>): Promise<readonly Rights[]> {
    const { accessTimeoutMs } = this.#limits;
    const late = Promise.withResolvers<never>();
    const cancel = this.#clock.after(accessTimeoutMs, () =>
      late.reject(new Error(`the access policy did not answer within ${accessTimeoutMs} ms`)),
    );
    try {
      return await Promise.race([answers, late.promise]);
    } finally {
      cancel();
    }
  }
}

export function sameRoles(one: readonly string[], other: readonly string[]): boolean {
  return one === other || (one.length === other.length && one.every((role, index) => role === other[index]));
}

function keyOf(tenant: string, userId: string, log: LogId): string {
  return `${tenant}\n${userId}\n${log}`;
}
