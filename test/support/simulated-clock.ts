import type { Clock } from "../../packages/server/src/core/clock.ts";

interface Timer {
  readonly dueAt: number;
  readonly order: number;
  readonly callback: () => void;
}

/**
 * Time that stands still until a test moves it. Timers fire in the order of their due time, those due together in the
 * order they were set. A turn runs what `immediate` had queued when the turn began, in order; what they queue runs in
 * the next turn, as in Node.
 */
export class SimulatedClock implements Clock {
  #now: number;
  #order = 0;
  #timers = new Set<Timer>();
  #immediates: (() => void)[] = [];
  readonly #startedAt: number;

  /** `startAt`: milliseconds since 1970. */
  constructor(startAt = 1_700_000_000_000) {
    this.#now = startAt;
    this.#startedAt = startAt;
  }

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#now - this.#startedAt;
  }

  after(ms: number, callback: () => void): () => void {
    const timer: Timer = { dueAt: this.#now + Math.max(0, ms), order: this.#order++, callback };
    this.#timers.add(timer);
    return () => {
      this.#timers.delete(timer);
    };
  }

  immediate(callback: () => void): void {
    this.#immediates.push(callback);
  }

  /** Timers that wait: a test that expects nothing left behind compares it with 0. */
  get waiting(): number {
    return this.#timers.size;
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
      this.#timers.delete(timer);
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

  #nextDue(until: number): Timer | null {
    let next: Timer | null = null;
    for (const timer of this.#timers) {
      if (timer.dueAt > until) continue;
      if (next === null || timer.dueAt < next.dueAt || (timer.dueAt === next.dueAt && timer.order < next.order)) {
        next = timer;
      }
    }
    return next;
  }
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
