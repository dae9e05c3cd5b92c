import type { Seq } from "./log.ts";
import type { Subscriber } from "./subscriber.ts";

/** Entries after `from` up to `to`; `from` −1 is a first history page, which ends at `to`. */
export interface Run {
  readonly subscriber: Subscriber;
  readonly from: Seq;
  to: Seq;
}

export const fromHistory = -1;

/**
 * What was written to one connection since the last answered ping, in order, as runs. From it follows what a client
 * has for certain (all that came before the first run), and, when it names the last entry it got, exactly what it lacks.
 */
export class Unconfirmed {
  #runs: Run[] = [];
  /** Runs before this place were written before the ping that is under way. */
  #pinged = 0;

  get size(): number {
    return this.#runs.length;
  }

  wrote(subscriber: Subscriber, from: Seq, to: Seq): void {
    const last = this.#runs.at(-1);
    if (last !== undefined && last.subscriber === subscriber && last.to === from && this.#runs.length > this.#pinged)
      last.to = to;
    else this.#runs.push({ subscriber, from, to });
  }

  pinged(): void {
    this.#pinged = this.#runs.length;
  }

  /** The ping was answered: gives the runs that have arrived. */
  answered(): readonly Run[] {
    const arrived = this.#runs.splice(0, this.#pinged);
    this.#pinged = 0;
    return arrived;
  }

  /**
   * The runs that the client lacks, when `last` is the last entry it remembers. What was written before that entry has
   * arrived. An entry that no run holds was confirmed before, so that every run may be lacking.
   */
  lackingAfter(last: { readonly isOf: (subscriber: Subscriber) => boolean; readonly seq: Seq } | null): readonly Run[] {
    if (last === null) return this.#runs;
    const at = this.#runs.findLastIndex((run) => last.isOf(run.subscriber) && holds(run, last.seq));
    const run = this.#runs[at];
    if (run === undefined) return this.#runs;
    const rest = this.#runs.slice(at + 1);
    return last.seq < run.to ? [{ subscriber: run.subscriber, from: last.seq, to: run.to }, ...rest] : rest;
  }

  clear(): void {
    this.#runs = [];
    this.#pinged = 0;
  }
}

/** A history page carries the offset of its end alone. */
function holds(run: Run, seq: Seq): boolean {
  return run.from === fromHistory ? seq === run.to : run.from < seq && seq <= run.to;
}
