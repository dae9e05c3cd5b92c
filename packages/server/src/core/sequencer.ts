import { RefusalError } from "@parley/protocol";
import {
  type Append,
  type AppendBatch,
  type AppendResult,
  OutcomeUnknown,
  type Store,
  StoreUnavailable,
} from "../store/store.ts";
import type { Clock } from "./clock.ts";
import { eventText } from "./entry-event.ts";
import type { Committed } from "./feed.ts";
import type { Epoch, LogId, Seq } from "./log.ts";

export interface SequencerLimits {
  /** Appends in a batch, and their data in UTF-16 units; one append alone always fits. */
  readonly batchAppendsMax: number;
  readonly batchBytesMax: number;
  /** Appends that wait for a commit, and their data likewise. Over it, a send is refused `overloaded`. */
  readonly queueAppendsMax: number;
  readonly queueBytesMax: number;
  readonly storeRetryMs: number;
  /** While the node is behind with its writes, the time from one batch to the next, unless it catches up before. */
  readonly gatherMs: number;
  /** Logs in the last batch from which the next one gathers. */
  readonly gatherLogsMin: number;
}

export const defaultSequencerLimits: SequencerLimits = {
  batchAppendsMax: 1_000,
  batchBytesMax: 4_194_304,
  queueAppendsMax: 20_000,
  queueBytesMax: 67_108_864,
  storeRetryMs: 300,
  gatherMs: 5,
  gatherLogsMin: 16,
};

export type Appended = Extract<AppendResult, { ok: true }>;

export interface SequencerEvents {
  /** Entries of one log that one batch committed, in order, before anyone is told of them. `n`: the batch. */
  onCommitted(committed: Committed, n: number): void;
}

interface Waiting {
  readonly append: Append;
  readonly resolve: (appended: Appended) => void;
  readonly reject: (error: Error) => void;
}

const refusals = {
  conflict: "another body was sent under this clientId; use a new clientId for a new message",
  not_found: "there is no such message",
  forbidden: "only its author or a moderator may change a message",
  bad_request: "the store refused this entry's data",
} as const;

/** Between two looks at whether the node is still behind. */
const lookMs = 1;

/** A store that is only reopened is back by then, and the sends that wait are better kept than refused. */
const triesBeforeAway = 3;

function unavailable(): RefusalError {
  const message = "the store takes no writes at the moment; send again under the same clientId";
  return new RefusalError("store_unavailable", message, 1_000);
}

/**
 * Appends in batches that clock themselves: one batch is in flight, and what arrives meanwhile is the next, which is
 * sent before anyone is told of the one that came back.
 *
 * Why some gather: what is committed while the node is behind with its writes waits behind them, and each commit costs
 * more than the appends in it. Where the store shares the node's processor, that is time taken from the writes. In a few
 * rooms with many members commits are few beside the writes, and members would wait for nothing.
 *
 * Invariant (LOG-1): `append` resolves only after the store has committed the entry.
 */
export class Sequencer {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #node: string;
  readonly #limits: SequencerLimits;
  readonly #events: SequencerEvents;
  readonly #isBehind: () => boolean;
  #queue: Waiting[] = [];
  #queuedBytes = 0;
  #n = 0;
  #running = false;
  #begunAt = 0;
  #lastLogs = 0;
  #stopped = false;
  #away = false;
  #idle: (() => void)[] = [];
  appendedTotal = 0;

  constructor(parts: {
    store: Store;
    clock: Clock;
    node: string;
    limits: SequencerLimits;
    events: SequencerEvents;
    /** Whether the node has more to write than it wrote in the last turn of the event loop. */
    isBehind: () => boolean;
  }) {
    this.#store = parts.store;
    this.#clock = parts.clock;
    this.#node = parts.node;
    this.#limits = parts.limits;
    this.#events = parts.events;
    this.#isBehind = parts.isBehind;
  }

  /** The last batch that this node committed. */
  get n(): number {
    return this.#n;
  }

  /** The store was lost during a commit, and does not say what became of it: nothing more can be sent meanwhile. */
  get away(): boolean {
    return this.#away;
  }

  /**
   * Resolves when the entry is durable, with its place; rejects with `RefusalError` (`overloaded`, `conflict`,
   * `store_unavailable`, `outcome_unknown`, …).
   */
  append(append: Append): Promise<Appended> {
    if (this.#stopped)
      return Promise.reject(
        new RefusalError("shutting_down", "this node is stopping; send again under the same clientId"),
      );
    if (this.#away) return Promise.reject(unavailable());
    const bytes = append.data.length;
    if (this.#queue.length >= this.#limits.queueAppendsMax || this.#queuedBytes + bytes > this.#limits.queueBytesMax) {
      return Promise.reject(
        new RefusalError("overloaded", "too many sends wait for the store; send again under the same clientId", 1_000),
      );
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({ append, resolve, reject });
      this.#queuedBytes += bytes;
      this.#wake();
    });
  }

  /** Takes no more, and resolves when all that was taken is committed or refused. */
  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#running) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  #wake(): void {
    if (this.#running) return;
    this.#running = true;
    // Why: all that this turn of the event loop read from its sockets goes into one transaction.
    this.#clock.immediate(() => void this.#run());
  }

  async #run(): Promise<void> {
    let committing = this.#commitNext();
    while (committing !== null) {
      const settle = await committing;
      // Why asked before all are told of it: what that gives to write is no sign of being behind.
      if (this.#lastLogs >= this.#limits.gatherLogsMin && this.#isBehind()) {
        settle();
        await this.#gather();
        committing = this.#commitNext();
        continue;
      }
      committing = this.#commitNext();
      // Why after a turn: the store has the next batch by then, and works while all are told of this one.
      if (committing !== null) await new Promise<void>((resolve) => this.#clock.immediate(resolve));
      settle();
      committing ??= this.#commitNext();
    }
    this.#running = false;
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** Ends `gatherMs` after the last batch began, or sooner: when all is written, or another batch is full. */
  async #gather(): Promise<void> {
    const { gatherMs, batchAppendsMax } = this.#limits;
    const until = this.#begunAt + gatherMs;
    while (this.#isBehind() && this.#queue.length < batchAppendsMax && this.#clock.monotonic() < until)
      await new Promise<void>((resolve) => this.#clock.after(lookMs, resolve));
  }

  #commitNext(): Promise<() => void> | null {
    return this.#queue.length === 0 ? null : this.#commit(this.#nextBatch());
  }

  #nextBatch(): readonly Waiting[] {
    let count = 0;
    let bytes = 0;
    for (const { append } of this.#queue) {
      if (
        count >= this.#limits.batchAppendsMax ||
        (count > 0 && bytes + append.data.length > this.#limits.batchBytesMax)
      )
        break;
      bytes += append.data.length;
      count += 1;
    }
    this.#queuedBytes -= bytes;
    return this.#queue.splice(0, count);
  }

  /** Gives what tells everyone of the outcome; it must be called before that of the next batch. */
  async #commit(batch: readonly Waiting[]): Promise<() => void> {
    this.#begunAt = this.#clock.monotonic();
    const appends = batch.map(({ append }) => append);
    this.#lastLogs = new Set(appends.map(({ log }) => log)).size;
    const request = { node: this.#node, n: this.#n + 1, appends };
    let results: readonly AppendResult[];
    try {
      results = await this.#store.append(request);
    } catch (error) {
      if (!(error instanceof OutcomeUnknown)) {
        return () => this.#refuseAll(batch, error);
      }
      for (const { reject } of batch) {
        reject(
          new RefusalError(
            "outcome_unknown",
            "the store was lost during the commit; send again under the same clientId",
            1_000,
          ),
        );
      }
      // Why: the entries may be committed; this node must deliver them, and number its next batch after them.
      const found = await this.#findOut(request);
      if (found === null) return () => undefined;
      results = found;
    }
    this.#n = request.n;
    return () => {
      this.#publish(request, results);
      for (const [index, result] of results.entries()) {
        const waiting = batch[index];
        if (result.ok) waiting?.resolve(result);
        else waiting?.reject(new RefusalError(result.code, refusals[result.code]));
      }
    };
  }

  #refuseAll(batch: readonly Waiting[], error: unknown): void {
    const refusal =
      error instanceof StoreUnavailable
        ? unavailable()
        : error instanceof Error
          ? error
          : new Error("the store refused a batch", { cause: error });
    for (const { reject } of batch) reject(refusal);
  }

  /**
   * The results of a batch that may have been committed. While the store stays away, what is sent is refused instead of
   * kept waiting; null when the node stops meanwhile, for its clients were told already that nobody knows.
   */
  async #findOut(request: AppendBatch): Promise<readonly AppendResult[] | null> {
    for (let tries = 1; ; tries += 1) {
      try {
        const results = await this.#store.append(request);
        this.#away = false;
        return results;
      } catch {
        // Why whatever it is: without the answer this node can number no other batch, and nobody else would ask for it.
      }
      if (tries >= triesBeforeAway) {
        this.#away = true;
        this.#queuedBytes = 0;
        for (const { reject } of this.#queue.splice(0)) reject(unavailable());
        if (this.#stopped) return null;
      }
      await new Promise<void>((resolve) => this.#clock.after(this.#limits.storeRetryMs, resolve));
    }
  }

  /** Gives each log's new entries to the feeds, in order. */
  #publish({ appends, n }: AppendBatch, results: readonly AppendResult[]): void {
    const groups = new Map<LogId, { epoch: Epoch; from: Seq; events: string[] }>();
    for (const [index, result] of results.entries()) {
      const append = appends[index];
      if (append === undefined || !result.ok || result.repeat) continue;
      this.appendedTotal += 1;
      const event = eventText(append.log, { ...append, seq: result.seq });
      const group = groups.get(append.log);
      if (group === undefined) groups.set(append.log, { epoch: result.epoch, from: result.seq, events: [event] });
      else group.events.push(event);
    }
    for (const [log, group] of groups) this.#events.onCommitted({ log, ...group }, n);
  }
}
