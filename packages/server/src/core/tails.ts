import type { Clock } from "./clock.ts";
import type { EventText } from "./entry-event.ts";
import type { Millis } from "./log.ts";

/**
 * Frames are kept so long after they were first made. Why not with their entry: they would die old, and for each 64 MB of
 * buffers that do V8 collects the whole heap (docs/decisions/0005).
 */
const framesKeptMs: Millis = 100;

export interface TailEntry {
  readonly event: EventText;
  /** With the offset, and without: made on demand, since nearly all clients of a node are of one kind. */
  withOffset: Buffer | null;
  plain: Buffer | null;
}

/** What the tails of all feeds of a node have in common. */
export class Tails {
  /** Of event text, as `FeedLimits` counts them; each feed keeps its own part of it true. */
  bytes = 0;
  readonly #clock: Clock;
  #framed: TailEntry[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The entry has got a frame, which it loses again soon. */
  framed(entry: TailEntry): void {
    if (this.#framed.push(entry) === 1) this.#clock.after(framesKeptMs, () => this.#letGo());
  }

  #letGo(): void {
    for (const entry of this.#framed) {
      entry.withOffset = null;
      entry.plain = null;
    }
    this.#framed = [];
  }
}
