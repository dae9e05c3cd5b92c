import type { LogId } from "./log.ts";
import { type Run, withoutClosing } from "./unconfirmed.ts";

/** What goes out with a session's next write, before the entries that are due by then. Nearly always there is nothing. */
export class Replies {
  readonly frames: Buffer[] = [];
  /** Of the frames. */
  bytes = 0;
  /** Room in the window that was given to pages which are not among the frames yet. */
  grantedBytes = 0;
  /** What the frames hold of logs, in order. */
  runs: Run[] | null = null;

  add(frame: Buffer): void {
    this.frames.push(frame);
    this.bytes += frame.length;
  }

  addRun(run: Run): void {
    if (this.runs === null) this.runs = [run];
    else this.runs.push(run);
  }

  /** As `withoutClosing`. */
  withdrawClosing(log: LogId): void {
    this.runs = this.runs?.map((run) => withoutClosing(run, log)) ?? null;
  }
}
