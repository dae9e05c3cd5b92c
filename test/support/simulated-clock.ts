import type { Clock } from "../../packages/server/src/core/clock.ts";

interface Timer {
  readonly dueAt: number;
  readonly order: number;
  readonly callback: () => void;
  cancelled: boolean;
}

/**
 * Time that stands still until a test moves it. Timers fire in the order of their due time, those due together in the
 * order they were set. A turn runs what `immediate` had queued when the turn began, in order; what they queue runs in
 * the next turn, as in Node.
 */
export class SimulatedClock implements Clock {
  #now: number;
  #order = 0;
  readonly #timers = new TimerHeap();
  #waiting = 0;
  #immediates: (() => void)[] = [];
  readonly #startedAt: number;
  #aheadMs = 0;

  /** `startAt`: milliseconds since 1970. */
  constructor(startAt = 1_700_000_000_000) {
    this.#now = startAt;
    this.#startedAt = startAt;
  }

  now(): number {
    return this.#now + this.#aheadMs;
  }

  /** Somebody sets the clock, so far ahead of what it was at first, or behind; no time passes. */
  set(aheadMs: number): void {
    this.#aheadMs = aheadMs;
  }

  monotonic(): number {
    return this.#now - this.#startedAt;
  }

  after(ms: number, callback: () => void): () => void {
    const timer: Timer = { dueAt: this.#now + Math.max(0, ms), order: this.#order++, callback, cancelled: false };
    this.#timers.push(timer);
    this.#waiting += 1;
    return () => {
      if (!timer.cancelled) this.#waiting -= 1;
      timer.cancelled = true;
    };
  }

  immediate(callback: () => void): void {
    this.#immediates.push(callback);
  }

  /** Timers that wait: a test that expects nothing left behind compares it with 0. */
  get waiting(): number {
    return this.#waiting;
  }

  /** One turn: microtasks, what `immediate` had queued, microtasks. Time stands still. */
  async turn(): Promise<void> {
    await microtasks();
    const due = this.#immediates;
    this.#immediates = [];
    for (const callback of due) {
      callback();
      await microtasks();
    }
  }

  /** Turns until nothing is queued; fails after `turnsMax`, which a loop that queues itself for ever would reach. */
  async settle(turnsMax = 10_000): Promise<void> {
    await this.turn();
    for (let turns = 1; this.#immediates.length > 0; turns++) {
      if (turns >= turnsMax) throw new Error(`still busy after ${turnsMax} turns`);
      await this.turn();
    }
  }

  /** Moves time on by `ms`, firing what falls due on the way at its own time, and settles after each. */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms;
    await this.settle();
    for (let timer = this.#nextDue(until); timer !== null; timer = this.#nextDue(until)) {
      this.#now = Math.max(this.#now, timer.dueAt);
      timer.callback();
      await this.settle();
    }
    this.#now = until;
  }

  /** Moves time on by `ms` as a stopped process sees it: all that fell due meanwhile fires late, at the end. */
  async stall(ms: number): Promise<void> {
    this.#now += ms;
    await this.advance(0);
  }

  /** Takes out what is due next; fired timers count as cancelled, so that a late cancel changes nothing. */
  #nextDue(until: number): Timer | null {
    for (let next = this.#timers.first; next !== undefined && next.dueAt <= until; next = this.#timers.first) {
      this.#timers.pop();
      if (next.cancelled) continue;
      next.cancelled = true;
      this.#waiting -= 1;
      return next;
    }
    return null;
  }
}

/** Timers by due time, then by the order they were set. */
class TimerHeap {
  readonly #heap: Timer[] = [];

  get first(): Timer | undefined {
    return this.#heap[0];
  }

  push(timer: Timer): void {
    const heap = this.#heap;
    let at = heap.length;
    for (; at > 0; ) {
      const up = (at - 1) >> 1;
      const parent = heap[up];
      if (parent === undefined || isBefore(parent, timer)) break;
      heap[at] = parent;
      at = up;
    }
    heap[at] = timer;
  }

  pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      const left = heap[2 * at + 1];
      const right = heap[2 * at + 2];
      const isRight = left !== undefined && right !== undefined && isBefore(right, left);
      const child = isRight ? right : left;
      if (child === undefined || isBefore(last, child)) break;
      heap[at] = child;
      at = 2 * at + (isRight ? 2 : 1);
    }
    heap[at] = last;
  }
}

function isBefore(one: Timer, other: Timer): boolean {
  return one.dueAt === other.dueAt ? one.order < other.order : one.dueAt < other.dueAt;
}

// Why not `setImmediate`: hundreds of seeds must run in seconds. Promise chains deeper than this settle in later turns.
async function microtasks(): Promise<void> {
  for (let depth = 0; depth < 16; depth++) await Promise.resolve();
}

/** Simulated time beside real sockets: timers stand still until they are advanced, turns of the event loop are real. */
export class SimulatedTimers extends SimulatedClock {
  override immediate(callback: () => void): void {
    setImmediate(callback);
  }
}
