import type { LastEvent } from "./last-event.ts";
import type { Epoch, LogId, Seq } from "./log.ts";
import type { Subscriber } from "./subscriber.ts";

/** The page number of a run that no event is found in: its entries came before, so that they say nothing of the order. */
export const repeatedRun = -1;

/** The page number of a notice. */
export const noticeRun = -2;

/** Entries after `from` up to `to`; or, with its number, a page of history that ends at `to`; or a notice at `to`. */
export interface Run {
  readonly subscriber: Subscriber;
  /** The subscriber's as it was written: its log may have another life since. */
  readonly epoch: Epoch;
  readonly from: Seq;
  to: Seq;
  readonly page: number | null;
  readonly notice?: Notice;
}

/** What must not be lost with a connection: `room_closed` to one who is not `joined`, `room_gap` to one who is. */
export interface Notice {
  readonly frame: Buffer;
  readonly joined: boolean;
}

/** The cursor of one who has not even the first page. */
export const fromHistory = -1;

/** Runs kept between two answered pings: those of pages and notices go beyond it. */
const runsMax = 1_024;

/**
 * What was written to one connection since the last answered ping, in order, as runs. From it follows what a client
 * has for certain (all that came before the first run), and, when it names the last entry it got, exactly what it lacks.
 */
export class Unconfirmed {
  #runs: Run[] = [];
  /** The last of them, unless a ping was written after it: what is written next may belong to it. */
  #last: Run | null = null;
  /** Runs before this place were written before the ping that is under way. */
  #pinged = 0;

  get isEmpty(): boolean {
    return this.#runs.length === 0;
  }

  /** The connection is to be pinged early. */
  get isMuch(): boolean {
    return this.#runs.length >= runsMax / 2;
  }

  /** Entries are to wait for an answered ping. */
  get isFull(): boolean {
    return this.#runs.length >= runsMax;
  }

  get runs(): readonly Run[] {
    return this.#runs;
  }

  wrote(run: Run): void {
    if (this.#last !== null && isContinued(this.#last, run)) {
      this.#last.to = run.to;
    } else {
      this.#runs.push(run);
      this.#last = run;
    }
  }

  /** Takes what lies between the subscriber's cursor and `to` into the last run; false when that is not of the same kind. */
  continues(subscriber: Subscriber, to: Seq): boolean {
    const last = this.#last;
    if (last === null || !goesOn(last, subscriber)) return false;
    last.to = to;
    return true;
  }

  /** Whether a page of this log, by this number, is among what is unconfirmed. */
  holdsPage(log: LogId, page: number): boolean {
    return this.#runs.some((run) => run.subscriber.log === log && run.page === page);
  }

  /** As `withoutClosing`. */
  withdrawClosing(log: LogId): void {
    this.#runs = this.#runs.map((run) => withoutClosing(run, log));
  }

  pinged(): void {
    this.#pinged = this.#runs.length;
    this.#last = null;
  }

  /** The ping was answered: gives the runs that have arrived. */
  answered(): readonly Run[] {
    const arrived = this.#runs.splice(0, this.#pinged);
    this.#pinged = 0;
    return arrived;
  }

  /**
   * The runs that the client lacks, when `last` is the last event it remembers. What was written before that event has
   * arrived. An event that no run holds was confirmed before, so that every run may be lacking.
   */
  lackingAfter(last: LastEvent | null): readonly Run[] {
    if (last === null) return this.#runs;
    const at = this.#runs.findIndex((run) => holds(run, last));
    const run = this.#runs[at];
    if (run === undefined) return this.#runs;
    const rest = this.#runs.slice(at + 1);
    return last.seq < run.to ? [{ ...run, from: last.seq }, ...rest] : rest;
  }
}

/** The run; when it is the notice that `log` was closed, as one of which nobody is told again. */
export function withoutClosing(run: Run, log: LogId): Run {
  if (run.subscriber.log !== log || run.notice?.joined !== false) return run;
  const { subscriber, epoch, from, to, page } = run;
  return { subscriber, epoch, from, to, page };
}

function isContinued(last: Run, next: Run): boolean {
  const isOne = last.subscriber === next.subscriber && last.epoch === next.epoch && last.to === next.from;
  return isOne && last.page === null && next.page === null;
}

/** Whether what the subscriber gets next belongs to the run. */
function goesOn({ subscriber, epoch, to, page }: Run, next: Subscriber): boolean {
  const isOne = subscriber === next && epoch === next.epoch && to === next.cursor;
  return isOne && page === null && next.cursor >= next.repeatsTo;
}

/** Whether the event is one of the run. */
export function holds({ subscriber, epoch, from, to, page }: Run, last: LastEvent): boolean {
  if (subscriber.log !== last.log || epoch !== last.epoch || page !== last.page) return false;
  return page === null ? from < last.seq && last.seq <= to : last.seq === to;
}

/** What lies between the cursor and `to`: of it the client may have got once before what is up to `repeatsTo`. */
export function runsUpTo(subscriber: Subscriber, to: Seq): readonly Run[] {
  const { epoch, cursor, repeatsTo } = subscriber;
  const run = { subscriber, epoch, from: cursor, to, page: null };
  if (cursor >= repeatsTo) return [run];
  if (to <= repeatsTo) return [{ ...run, page: repeatedRun }];
  return [
    { ...run, to: repeatsTo, page: repeatedRun },
    { ...run, from: repeatsTo },
  ];
}
