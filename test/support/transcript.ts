/** What went wrong with the delivery of one room to one client. All zero is what FEED-1 promises. */
export interface Faults {
  /** Arrived a second time. */
  repeated: number;
  /** Arrived after a later one. */
  outOfOrder: number;
  /** Never arrived, and nobody said why. */
  missing: number;
  /** Pages that took the place of entries without a `room_gap`, and entries before any page. */
  unexplained: number;
}

/**
 * What one client got of one room, in order. A client calls `starts` where the server may begin anew: at a join without
 * a position, and at a `room_gap`.
 */
export class Transcript {
  readonly #arrived = new Set<number>();
  readonly #missing = new Set<number>();
  #faults = { repeated: 0, outOfOrder: 0, unexplained: 0 };
  #mayStart = false;
  #reached: number | undefined;
  /** Reasons of the gaps that the server told of. */
  readonly gaps: string[] = [];

  /** The last `seq` up to which all is here, as far as the client can know; undefined before the first page. */
  get reached(): number | undefined {
    return this.#reached;
  }

  /** Entries that arrived one by one, outside of pages. */
  get entries(): number {
    return this.#arrived.size;
  }

  get faults(): Faults {
    return { ...this.#faults, missing: this.#missing.size };
  }

  /** True when all is here from its first page, or the last `room_gap`, up to `seq`. */
  has(seq: number): boolean {
    return this.#reached !== undefined && this.#reached >= seq && this.#missing.size === 0;
  }

  /** The next page is in order. */
  starts(gapReason?: string): void {
    this.#mayStart = true;
    if (gapReason !== undefined) this.gaps.push(gapReason);
  }

  /** A page that ends at `head`. */
  page(head: number): void {
    if (!this.#mayStart) this.#faults.unexplained += 1;
    this.#mayStart = false;
    this.#reached = head;
    // What lies before the page is explained by it, if the page was.
    this.#missing.clear();
  }

  /** The client continues from here, by a position that it presents. */
  continues(seq: number): void {
    this.#reached ??= seq;
  }

  entry(seq: number): void {
    const reached = this.#reached;
    if (reached === undefined) {
      this.#faults.unexplained += 1;
      this.#reached = seq;
    } else if (seq > reached) {
      for (let missing = reached + 1; missing < seq; missing += 1) this.#missing.add(missing);
      this.#reached = seq;
    } else if (this.#missing.delete(seq)) {
      this.#faults.outOfOrder += 1;
    } else {
      this.#faults.repeated += 1;
    }
    this.#arrived.add(seq);
  }
}

export const noFaults: Faults = { repeated: 0, outOfOrder: 0, missing: 0, unexplained: 0 };
