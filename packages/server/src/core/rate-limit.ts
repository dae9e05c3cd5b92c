import { RefusalError } from "@parley/protocol";
import type { Clock } from "./clock.ts";

export interface RateLimits {
  /** Events that a connection, and all connections of a user together, may send a second for long, and at once. */
  readonly eventsPerSecond: number;
  readonly eventsBurst: number;
  readonly userEventsPerSecond: number;
  readonly userEventsBurst: number;
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

/**
 * What clients may send: each connection on each namespace, which keeps a bucket for it, and each user over all connections.
 * Users' buckets are kept here; a full one is forgotten, since a new one is the same.
 */
export class RequestRates {
  readonly #clock: Clock;
  readonly #limits: RateLimits;
  readonly #users = new Map<string, TokenBucket>();
  #sweeping = false;

  constructor(clock: Clock, limits: RateLimits) {
    this.#clock = clock;
    this.#limits = limits;
  }

  /** A full one, for one connection on one namespace. */
  bucket(): TokenBucket {
    return new TokenBucket(this.#limits.eventsBurst, this.#clock.monotonic());
  }

  /** Counts one request of the user on the bucket's connection. Throws `RefusalError` `rate_limited`, with the time to wait. */
  take(bucket: TokenBucket, { tenant, id }: { readonly tenant: string; readonly id: string }): void {
    const { eventsPerSecond, eventsBurst } = this.#limits;
    const waitMs =
      bucket.take(this.#clock.monotonic(), eventsPerSecond, eventsBurst) || this.#takeOfUser(`${tenant}/${id}`);
    if (waitMs === 0) return;
    const message = "too many events (limits.eventsPerSecond, limits.userEventsPerSecond)";
    throw new RefusalError("rate_limited", message, waitMs);
  }

  #takeOfUser(user: string): number {
    const { userEventsPerSecond, userEventsBurst } = this.#limits;
    const now = this.#clock.monotonic();
    let bucket = this.#users.get(user);
    if (bucket === undefined) {
      bucket = new TokenBucket(userEventsBurst, now);
      this.#users.set(user, bucket);
      this.#sweepLater();
    }
    return bucket.take(now, userEventsPerSecond, userEventsBurst);
  }

  #sweepLater(): void {
    if (this.#sweeping) return;
    this.#sweeping = true;
    this.#clock.after(sweepMs, () => {
      this.#sweeping = false;
      const { userEventsPerSecond, userEventsBurst } = this.#limits;
      const now = this.#clock.monotonic();
      for (const [user, bucket] of this.#users)
        if (bucket.full(now, userEventsPerSecond, userEventsBurst)) this.#users.delete(user);
      if (this.#users.size > 0) this.#sweepLater();
    });
  }
}
