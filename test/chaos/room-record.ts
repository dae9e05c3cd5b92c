/** What one stock client got of one room that it recovers from node to node. */
export class RoomRecord {
  /** Entries that never came, or came with another text; pages in the place of entries. */
  readonly faults: string[] = [];
  /** Entries that came again, with the same text. */
  repeats = 0;
  /** Pages that came again. */
  pagesAgain = 0;
  #reached: number | undefined;
  readonly #where: string;
  readonly #texts = new Map<number, string>();
  #pageIsDue = true;
  #pageMayRepeat = false;

  /** Before it joins. `where`: of which client and room, for findings. */
  constructor(where: string) {
    this.#where = where;
  }

  /** The last `seq` up to which all is here; undefined before the first page. */
  get reached(): number | undefined {
    return this.#reached;
  }

  /** Its node was killed; `early`: so soon after the join that the arrival of the first page may not be stored. */
  killed(early: boolean): void {
    this.#pageMayRepeat = early;
  }

  page(head: number, messages: readonly { readonly seq: number; readonly text: string }[]): void {
    if (!this.#pageIsDue) this.#pageAgain(head, messages[0]?.seq ?? head + 1);
    this.#pageIsDue = false;
    this.#pageMayRepeat = false;
    for (const { seq, text } of messages) this.#note(seq, text);
    // Why also when it lies before: a client puts a page in the place of all that it shows, so what follows must come again.
    this.#reached = head;
  }

  #pageAgain(head: number, first: number): void {
    const reached = this.#reached ?? 0;
    this.pagesAgain += 1;
    if (!this.#pageMayRepeat) this.#find(`got a page up to ${head} in the place of what followed ${reached}`);
    if (head > reached && first > reached + 1) this.#find(`got a page from ${first} to ${head} after ${reached}`);
  }

  entry(seq: number, text: string): void {
    const next = (this.#reached ?? 0) + 1;
    if (this.#reached === undefined) this.#find(`got ${seq} before any page`);
    else if (seq > next) this.#find(`got ${seq} after ${this.#reached}`);
    if (seq < next) this.repeats += 1;
    this.#note(seq, text);
    this.#reached = Math.max(this.#reached ?? 0, seq);
  }

  #note(seq: number, text: string): void {
    const known = this.#texts.get(seq) ?? text;
    if (known !== text) this.#find(`got "${text}" at ${seq}, and "${known}" before`);
    this.#texts.set(seq, known);
  }

  #find(what: string): void {
    this.faults.push(`${this.#where} ${what}`);
  }
}
