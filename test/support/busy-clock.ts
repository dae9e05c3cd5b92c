import { SimulatedClock } from "./simulated-clock.ts";

/** A clock on which work takes time, as `spend` says. */
export class BusyClock extends SimulatedClock {
  /** The most that was spent in one turn of the event loop, with the timer before it. */
  longestTurnMs = 0;
  #spentMs = 0;
  #turnedAtMs = 0;

  override monotonic(): number {
    return super.monotonic() + this.#spentMs;
  }

  override async turn(): Promise<void> {
    await super.turn();
    this.longestTurnMs = Math.max(this.longestTurnMs, this.#spentMs - this.#turnedAtMs);
    this.#turnedAtMs = this.#spentMs;
  }

  spend(ms: number): void {
    this.#spentMs += ms;
  }
}
