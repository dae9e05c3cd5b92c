import type { Clock } from "./clock.ts";
import type { LogId } from "./log.ts";

/** In a room of many subscribers, so many are told of in a second: more names than anybody reads. */
const perSecondMax = 10;

/**
 * Bounds what typing costs: each signal is written to every subscriber of the room here, so that in a room of n users who
 * type it would be n². Rooms of at most `crowd` subscribers are not bounded.
 */
export class TypingPace {
  readonly #clock: Clock;
  readonly #crowd: number;
  #second = 0;
  /** Signals in this second, by room. */
  readonly #told = new Map<LogId, number>();

  constructor(clock: Clock, crowd: number) {
    this.#clock = clock;
    this.#crowd = crowd;
  }

  /** Whether a room of so many subscribers is told of one more. */
  take(log: LogId, subscribers: number): boolean {
    if (subscribers <= this.#crowd) return true;
    const second = Math.floor(this.#clock.monotonic() / 1_000);
    if (second !== this.#second) this.#told.clear();
    this.#second = second;
    const told = this.#told.get(log) ?? 0;
    if (told >= perSecondMax) return false;
    this.#told.set(log, told + 1);
    return true;
  }
}
