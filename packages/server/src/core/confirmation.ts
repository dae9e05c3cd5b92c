import type { Clock } from "./clock.ts";

/**
 * How old the knowledge that nobody lost a right may be. Below the second that ACC-1 promises by what a turn of the
 * event loop takes.
 */
const holdsMs = 950;

/**
 * Whether this node has heard of every loss of a right up to less than a second ago (ACC-1). While it has not, no entry
 * and no page of history is written, no signal is passed on, and no remembered answer of the access policy holds.
 *
 * Why measured when it is asked, and not by a timer: a process that was stopped reads its sockets before its timers.
 */
export class Confirmation {
  readonly #clock: Clock;
  /** There is no other node, so that every loss is heard of. */
  readonly #alone: boolean;
  /** By the monotonic clock. */
  #asOf = Number.NEGATIVE_INFINITY;
  #waiting: (() => void)[] = [];
  /** It holds again, perhaps: what was held back may go. */
  onConfirmed: () => void = () => {};

  constructor(clock: Clock, alone: boolean) {
    this.#clock = clock;
    this.#alone = alone;
  }

  get holds(): boolean {
    return this.#alone || this.#clock.monotonic() - this.#asOf < holdsMs;
  }

  /** Resolves as soon as it holds. Never, when the node stops before. */
  async wait(): Promise<void> {
    while (!this.holds) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** All that was committed to `@control` before `asOf` (monotonic milliseconds) is known and acted upon. */
  confirm(asOf: number): void {
    this.#asOf = Math.max(this.#asOf, asOf);
    if (!this.holds) return;
    for (const resolve of this.#waiting.splice(0)) resolve();
    this.onConfirmed();
  }
}
