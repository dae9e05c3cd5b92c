/** Time and chance, so that tests decide both. */
export interface Timers {
  /** Milliseconds since 1970. */
  now(): number;
  /** Calls once after `ms`; the returned function cancels. */
  after(ms: number, callback: () => void): () => void;
  /** 0 ≤ n < 1. */
  random(): number;
}

export const systemTimers: Timers = {
  now: () => Date.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
  random: () => Math.random(),
};

/** How long to wait before the next try. Each wait doubles, from `minMs` to `maxMs`; half of it is left to chance. */
export interface Backoff {
  readonly minMs: number;
  readonly maxMs: number;
}

/** `attempt`: 0 before the first repeat. Why chance: clients that were cut together must not come back together. */
export function backoffMs({ minMs, maxMs }: Backoff, attempt: number, random: number): number {
  // Why the bound: 2 ** 1100 is Infinity.
  const wholeMs = Math.min(maxMs, minMs * 2 ** Math.min(attempt, 30));
  return Math.round(wholeMs * (0.5 + random / 2));
}
