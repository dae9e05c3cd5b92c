import type { Clock } from "./clock.ts";

export interface RateLimits {
  /** Requests a second that a connection, and all connections of a user together, may send for long. */
  readonly perConnectionPerSecond: number;
  readonly perConnectionBurst: number;
  readonly perUserPerSecond: number;
  readonly perUserBurst: number;
}

/** A bucket that refills steadily up to `burst`; each request takes one. */
export class TokenBucket {
  #tokens: number;
  #at: number;

  constructor(burst: number, now: number) {
    this.#tokens = burst;
    this.#at = now;
  }

  /** 0 when the request may pass, else milliseconds until the next may. */
  take(now: number, perSecond: number, burst: number): number {
    this.#tokens = Math.min(burst, this.#tokens + ((now - this.#at) * perSecond) / 1_000);
    this.#at = now;
    if (this.#tokens < 1) return Math.ceil(((1 - this.#tokens) * 1_000) / perSecond);
    this.#tokens -= 1;
    return 0;
  }

  full(now: number, perSecond: number, burst: number): boolean {
    return this.#tokens + ((now - this.#at) * perSecond) / 1_000 >= burst;
  }
}

/** Buckets of users; a full one is forgotten, since a new one is the same. */
export class UserRates {
  readonly #clock: Clock;
  readonly #limits: RateLimits;
  readonly #buckets = new Map<string, TokenBucket>();
  #sweptAt = 0;

  constructor(clock: Clock, limits: RateLimits) {
    this.#clock = clock;
    this.#limits = limits;
  }

  take(user: string): number {
    const now = this.#clock.monotonic();
    this.#sweep(now);
    let bucket = this.#buckets.get(user);
    if (bucket === undefined) {
      bucket = new TokenBucket(this.#limits.perUserBurst, now);
      this.#buckets.set(user, bucket);
    }
    return bucket.take(now, this.#limits.perUserPerSecond, this.#limits.perUserBurst);
  }

  #sweep(now: number): void {
    if (now - this.#sweptAt < 10_000) return;
    this.#sweptAt = now;
    for (const [user, bucket] of this.#buckets) {
      if (bucket.full(now, this.#limits.perUserPerSecond, this.#limits.perUserBurst)) this.#buckets.delete(user);
    }
  }
}
