import type { Clock } from "../core/clock.ts";

/** What a wheel calls when its time has come. The numbered fields belong to the wheel. */
export interface WheelItem {
  /** Where it stands in the wheel; `wheelSlot` is -1 outside. */
  wheelSlot: number;
  wheelIndex: number;
  /** In ticks of the wheel. */
  dueTick: number;
  /** Called once per `schedule`, with the item outside of the wheel. */
  onDue(tick: number): void;
  /** The process was stopped for more than a second, and what clients sent meanwhile has been read now. */
  onStalled(tick: number): void;
}

/** At 100 ms a tick a round takes 51 s, longer than any of the default times. */
const slotCount = 512;
/** A timer that comes later than this was not late but stopped. */
const stalledMs = 1_000;

/**
 * One timer for all connections. Time is counted in ticks; an item is visited at its tick or, when that lies more than
 * a round ahead, once per round. Numbers are small integers, so that records hold them without boxes.
 *
 * Invariant: an item is in at most one slot, at `wheelIndex`; the timer runs as long as there is an item.
 */
export class TimerWheel {
  readonly tickMs: number;
  readonly #clock: Clock;
  readonly #slots: WheelItem[][] = Array.from({ length: slotCount }, () => []);
  readonly #startedAt: number;
  #size = 0;
  #lastTick = 0;
  /** Cancels the waiting timer; null when none waits and none will be set by a running visit. */
  #cancel: (() => void) | null = null;

  constructor(clock: Clock, tickMs: number) {
    this.#clock = clock;
    this.tickMs = tickMs;
    this.#startedAt = clock.monotonic();
  }

  get size(): number {
    return this.#size;
  }

  /** The present tick. Ticks begin with 1, so that 0 can stand for none. */
  now(): number {
    return Math.floor((this.#clock.monotonic() - this.#startedAt) / this.tickMs) + 1;
  }

  /** Ticks after which at most `ms` have passed: for what should happen in time. */
  ticksWithin(ms: number): number {
    return Math.max(1, Math.floor(ms / this.tickMs));
  }

  /** Ticks after which at least `ms` have passed: for what must not be cut short. */
  ticksBeyond(ms: number): number {
    return Math.ceil(ms / this.tickMs) + 1;
  }

  /** Puts an item in, or moves it. A tick in the past means the next one. */
  schedule(item: WheelItem, tick: number): void {
    this.#take(item);
    if (this.#cancel === null) {
      this.#lastTick = this.now();
      this.#arm();
    }
    item.dueTick = Math.max(tick, this.#lastTick + 1);
    const index = item.dueTick % slotCount;
    const slot = this.#slots[index];
    if (slot === undefined) return;
    item.wheelSlot = index;
    item.wheelIndex = slot.length;
    slot.push(item);
    this.#size++;
  }

  remove(item: WheelItem): void {
    this.#take(item);
    // Why not during a visit: the visit itself then sees what is left, and sets the one timer.
    if (this.#size > 0 || this.#cancel === null || this.#cancel === nothing) return;
    this.#cancel();
    this.#cancel = null;
  }

  #take(item: WheelItem): void {
    const slot = item.wheelSlot < 0 ? undefined : this.#slots[item.wheelSlot];
    if (slot === undefined) return;
    const last = slot.pop();
    if (last !== undefined && last !== item) {
      slot[item.wheelIndex] = last;
      last.wheelIndex = item.wheelIndex;
    }
    item.wheelSlot = -1;
    this.#size--;
  }

  #arm(): void {
    const passed = (this.#clock.monotonic() - this.#startedAt) % this.tickMs;
    this.#cancel = this.#clock.after(this.tickMs - passed, () => this.#tick());
  }

  #tick(): void {
    if ((this.now() - this.#lastTick - 1) * this.tickMs <= Math.max(stalledMs, this.tickMs)) {
      this.#turn();
      return;
    }
    // Why not at once: answers that came while the process was stopped are still unread.
    let cancelled = false;
    this.#cancel = () => {
      cancelled = true;
    };
    this.#clock.immediate(() => {
      if (!cancelled) this.#recover();
    });
  }

  #recover(): void {
    const tick = this.now();
    for (const item of this.#slots.flat()) {
      if (item.wheelSlot >= 0) item.onStalled(tick);
    }
    this.#turn();
  }

  #turn(): void {
    const tick = this.now();
    const from = Math.max(this.#lastTick + 1, tick - slotCount + 1);
    this.#lastTick = tick;
    this.#cancel = nothing;
    for (let due = from; due <= tick; due++) this.#visit(due % slotCount, tick);
    if (this.#size === 0) this.#cancel = null;
    else this.#arm();
  }

  // Invariant: what is due leaves the slot before it is called. Backwards, because a removal puts the slot's last item,
  // which was visited, in the place of the removed one.
  #visit(index: number, tick: number): void {
    const slot = this.#slots[index];
    if (slot === undefined) return;
    for (let at = slot.length - 1; at >= 0; at--) {
      const item = slot[at];
      if (item === undefined || item.dueTick > tick) continue;
      this.#take(item);
      item.onDue(tick);
    }
  }
}

function nothing(): void {}
