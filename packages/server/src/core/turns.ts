import type { Clock } from "./clock.ts";

/** What work of one kind takes of a turn of the event loop. */
const budgetMs = 2;

/**
 * Does `work` from the next turn of the event loop on, in each as many of its steps (up to the next `yield`) as fit into
 * a little of the turn, and then calls `done`. Gives what ends it before.
 *
 * Why: what becomes of thousands of clients who are gone at once must not keep all others waiting.
 */
export function inTurns(clock: Clock, work: Iterator<unknown>, done: () => void = () => {}): () => void {
  let isEnded = false;
  const turn = (): void => {
    if (isEnded) return;
    const until = clock.monotonic() + budgetMs;
    do {
      if (work.next().done === true) return done();
    } while (clock.monotonic() < until);
    clock.immediate(turn);
  };
  clock.immediate(turn);
  return () => {
    isEnded = true;
  };
}
