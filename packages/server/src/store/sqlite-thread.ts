import path from "node:path";
import { Worker } from "node:worker_threads";
import { errorOf, lostCall } from "./call-failure.ts";
import type { Answer, Arguments, FromWorker, Method, Result, WorkerOptions } from "./sqlite-calls.ts";
import { storeSetting } from "./sqlite-file.ts";
import { StoreUnavailable, StoreUnusable } from "./store.ts";

interface Pending {
  readonly method: Method;
  readonly resolve: (value: never) => void;
  readonly reject: (error: Error) => void;
}

/** A request; that its values fit its method is known where it is made. */
interface Unsent {
  readonly id: number;
  readonly method: Method;
  readonly values: unknown;
}

export interface ThreadOptions extends WorkerOptions {
  /** How long an append transaction took, and of how many appends. */
  readonly onCommit: (seconds: number, appends: number) => void;
  readonly onStart: (worker: Worker) => void;
  /** The thread has ended; every call that it had not answered was rejected before. */
  readonly onEnd: () => void;
}

/** Messages to the thread that it has not answered: one in work, and one so that it does not wait for the next. */
const underWayMax = 2;
/**
 * What clients on their way in ask for waits so long after the last message, for others to go with. Why: to wake the
 * thread, and to be woken by it, costs more than what they ask for.
 */
const gatherMs = 4;
const arrivalMethods: ReadonlySet<Method> = new Set<Method>([
  "revocations",
  "inboxes",
  "memberships",
  "states",
  "putSessions",
]);

// From source this file ends in .ts, in the published package in .js, and the worker's likewise.
const workerFile = new URL(`./sqlite-worker${path.extname(import.meta.url)}`, import.meta.url);

/** The worker thread that holds the file open, and the calls that wait for it. */
export class StoreThread {
  readonly #worker: Worker;
  readonly #onCommit: ThreadOptions["onCommit"];
  readonly #pending = new Map<number, Pending>();
  /** Asked for, and not sent yet. */
  #unsent: Unsent[] = [];
  #underWay = 0;
  /** The next message is about to be sent: at the end of this turn, or a little later. */
  #sending: "no" | "now" | NodeJS.Timeout = "no";
  #sentAt = 0;
  /** Something waits to be sent that is not asked for on the way in. */
  #isUrgent = false;
  readonly #ended = Promise.withResolvers<void>();
  #lastId = 0;
  #hasEnded = false;

  /** Resolves when the file is open. Errors: rejects with `StoreUnusable`. */
  static async start(options: ThreadOptions): Promise<StoreThread> {
    const { file, synchronous, create, arrivalLogsMin } = options;
    const workerData: WorkerOptions = { file, synchronous, create, arrivalLogsMin };
    const worker = new Worker(workerFile, { workerData, name: "parley-store" });
    options.onStart(worker);
    const opened = Promise.withResolvers<void>();
    const unusable = (message: string): void => opened.reject(new StoreUnusable(storeSetting, message));
    const thread = new StoreThread(worker, options, {
      opened: opened.resolve,
      unusable,
    });
    worker.on("error", (error) => unusable(`the store's thread failed (${String(error)}): see ${storeSetting}`));
    worker.on("exit", () => unusable(`the store's thread ended before ${file} was open: see ${storeSetting}`));
    try {
      await opened.promise;
    } catch (error) {
      await worker.terminate();
      throw error;
    }
    // Why only now: before, its end is this call's error.
    void thread.#ended.promise.then(options.onEnd);
    return thread;
  }

  private constructor(
    worker: Worker,
    options: ThreadOptions,
    start: { opened: () => void; unusable: (message: string) => void },
  ) {
    this.#worker = worker;
    this.#onCommit = options.onCommit;
    worker.on("message", (message: FromWorker) => {
      switch (message.type) {
        case "opened":
          return start.opened();
        case "unusable":
          return start.unusable(message.message);
        case "answers":
          for (const answer of message.answers) this.#settle(answer);
          if (message.isLast) this.#underWay -= 1;
          this.#sendSoon();
      }
    });
    worker.on("exit", () => this.#end());
  }

  /** Errors: rejects with `StoreUnavailable`, `OutcomeUnknown`, `RangeError` or, for a bug, `Error`. */
  call<M extends Method>(method: M, values: Arguments<M>): Promise<Result<M>> {
    if (this.#hasEnded) return Promise.reject(new StoreUnavailable("the store's thread has ended"));
    return new Promise((resolve, reject) => {
      this.#lastId += 1;
      this.#pending.set(this.#lastId, { method, resolve, reject });
      this.#unsent.push({ id: this.#lastId, method, values });
      if (!arrivalMethods.has(method)) this.#isUrgent = true;
      this.#sendSoon();
    });
  }

  /**
   * At the end of this turn of the event loop, unless the thread has enough to do. Why not one message for each request:
   * in a storm of joins they would cost more than what they ask for.
   */
  #sendSoon(): void {
    if (this.#sending === "now" || this.#underWay >= underWayMax || this.#unsent.length === 0) return;
    const waitMs = this.#isUrgent ? 0 : this.#sentAt + gatherMs - performance.now();
    if (waitMs > 0) {
      if (this.#sending === "no") this.#sending = setTimeout(() => this.#sendAll(), waitMs);
      return;
    }
    if (this.#sending !== "no") clearTimeout(this.#sending);
    this.#sending = "now";
    setImmediate(() => this.#sendAll());
  }

  /** Ends the thread after all calls before; resolves when it has ended. */
  async close(): Promise<void> {
    this.#sendAll();
    if (!this.#hasEnded) this.#send("close");
    await this.#ended.promise;
  }

  #sendAll(): void {
    if (typeof this.#sending === "object") clearTimeout(this.#sending);
    this.#sending = "no";
    const requests = this.#unsent;
    this.#unsent = [];
    this.#isUrgent = false;
    if (requests.length === 0 || this.#hasEnded) return;
    this.#underWay += 1;
    this.#sentAt = performance.now();
    this.#send(requests);
  }

  #settle(answer: Answer): void {
    const pending = this.#pending.get(answer.id);
    this.#pending.delete(answer.id);
    if (answer.type === "failed") {
      pending?.reject(errorOf(answer.failure));
    } else {
      if (answer.commit !== null) this.#onCommit(answer.commit.seconds, answer.commit.appends);
      pending?.resolve(answer.value);
    }
  }

  #send(message: readonly Unsent[] | "close"): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port between threads has no origin
    this.#worker.postMessage(message);
  }

  #end(): void {
    this.#hasEnded = true;
    for (const { method, reject } of this.#pending.values()) reject(lostCall(method, "the store's thread ended"));
    this.#pending.clear();
    this.#ended.resolve();
  }
}
