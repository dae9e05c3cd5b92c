import { RefusalError } from "@parley/protocol";
import type { Clock } from "./clock.ts";

export interface RateLimits {
  /** Requests a second that a connection, and all connections of a user together, may send for long. */
  readonly perConnectionPerSecond: number;
  readonly perConnectionBurst: number;
  readonly perUserPerSecond: number;
  readonly perUserBurst: number;
}

/** Parts of a token, so that a bucket is two small integers. */
const partsPerToken = 1_000;
const sweepMs = 10_000;

/** A bucket that refills steadily up to `burst`; each request takes one. `now`: milliseconds of a clock that never jumps. */
export class TokenBucket {
  #parts: number;
  #at: number;

  constructor(burst: number, now: number) {
    this.#parts = burst * partsPerToken;
    this.#at = Math.trunc(now);
  }

  /** 0 when the request may pass, else milliseconds until the next may. */
  take(now: number, perSecond: number, burst: number): number {
    this.#parts = this.#refilled(now, perSecond, burst);
    this.#at = Math.trunc(now);
    if (this.#parts < partsPerToken) return Math.ceil((partsPerToken - this.#parts) / perSecond);
    this.#parts -= partsPerToken;
    return 0;
  }

  full(now: number, perSecond: number, burst: number): boolean {
    return this.#refilled(now, perSecond, burst) >= burst * partsPerToken;
  }

  #refilled(now: number, perSecond: number, burst: number): number {
    // A token a second is a part a millisecond.
    return Math.min(burst * partsPerToken, this.#parts + (Math.trunc(now) - this.#at) * perSecond);
  }
}

/** Buckets of users; a full one is forgotten, since a new one is the same. */
export class UserRates {
  readonly #clock: Clock;
  readonly #limits: RateLimits;
  readonly #buckets = new Map<string, TokenBucket>();
  #sweeping = false;

  constructor(clock: Clock, limits: RateLimits) {
    this.#clock = clock;
    this.#limits = limits;
  }

  /** As `TokenBucket.take`, for all connections of a user. */
  take(user: string): number {
    const now = this.#clock.monotonic();
    let bucket = this.#buckets.get(user);
    if (bucket === undefined) {
      bucket = new TokenBucket(this.#limits.perUserBurst, now);
      this.#buckets.set(user, bucket);
      this.#sweepLater();
    }
    return bucket.take(now, this.#limits.perUserPerSecond, this.#limits.perUserBurst);
  }

  #sweepLater(): void {
    if (this.#sweeping) return;
    this.#sweeping = true;
    this.#clock.after(sweepMs, () => {
      this.#sweeping = false;
      const now = this.#clock.monotonic();
      for (const [user, bucket] of this.#buckets) {
        if (bucket.full(now, this.#limits.perUserPerSecond, this.#limits.perUserBurst)) this.#buckets.delete(user);
      }
      if (this.#buckets.size > 0) this.#sweepLater();
    });
  }
}

/** What one connection may send on one namespace, beside what its user may over all connections. */
export class RequestRate {
  readonly #clock: Clock;
  readonly #limits: RateLimits;
  readonly #users: UserRates;
  readonly #bucket: TokenBucket;

  constructor(clock: Clock, limits: RateLimits, users: UserRates) {
    this.#clock = clock;
    this.#limits = limits;
    this.#users = users;
    this.#bucket = new TokenBucket(limits.perConnectionBurst, clock.monotonic());
  }

  /** Counts one request. Throws `RefusalError` `rate_limited`, with the time to wait. */
  take({ tenant, id }: { readonly tenant: string; readonly id: string }): void {
    const { perConnectionPerSecond, perConnectionBurst } = this.#limits;
    const waitMs =
      this.#bucket.take(this.#clock.monotonic(), perConnectionPerSecond, perConnectionBurst) ||
      this.#users.take(`${tenant}/${id}`);
    if (waitMs === 0) return;
    const message = "too many events (limits.eventsPerSecond, limits.userEventsPerSecond)";
    throw new RefusalError("rate_limited", message, waitMs);
  }
}
