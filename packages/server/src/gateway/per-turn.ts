import type { Clock } from "../core/clock.ts";

/**
 * Does a bounded number of things in one turn of the event loop; what is beyond it waits for the turns that follow, in
 * order. Why: thousands of requests that were read at once would otherwise be answered at once, and all others wait.
 */
export class PerTurn {
  readonly #clock: Clock;
  readonly #perTurnMax: number;
  #doneInTurn = 0;
  #waiting: (() => void)[] = [];

  constructor(clock: Clock, perTurnMax: number) {
    this.#clock = clock;
    this.#perTurnMax = perTurnMax;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** True when it is done, false when it waits. `act` must not throw. */
  run(act: () => void): boolean {
    if (this.#doneInTurn === 0) this.#clock.immediate(() => this.#nextTurn());
    if (this.#doneInTurn >= this.#perTurnMax) {
      this.#waiting.push(act);
      return false;
    }
    this.#doneInTurn += 1;
    act();
    return true;
  }

  #nextTurn(): void {
    const due = this.#waiting.splice(0, this.#perTurnMax);
    this.#doneInTurn = due.length;
    if (due.length > 0) this.#clock.immediate(() => this.#nextTurn());
    for (const act of due) act();
  }
}
