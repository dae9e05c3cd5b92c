import { parentPort, workerData } from "node:worker_threads";
import { z } from "zod";
import { type Failure, isRead } from "./call-failure.ts";
import type {
  Answer,
  Arguments,
  FromWorker,
  Handlers,
  Method,
  Request,
  Result,
  ToWorker,
  WorkerOptions,
} from "./sqlite-calls.ts";
import { CommitInDoubt, SqliteDatabase } from "./sqlite-database.ts";
import { errorCodeOf, openFile, sqliteCodes } from "./sqlite-file.ts";
import { StoreUnusable } from "./store.ts";

// The worker thread of the SQLite store: opens the file, then does what is asked, in order, until it is told to close.

const options: WorkerOptions = z
  .object({ file: z.string(), synchronous: z.enum(["FULL", "OFF"]), create: z.boolean(), arrivalLogsMin: z.int() })
  .parse(workerData);

/** Errors after which the same connection may well succeed: a full disk, a lock, and whatever is a bug of ours. */
const passingCodes = new Set<number>(Object.values(sqliteCodes));

type Settled = Extract<Answer, { type: "failed" }> | (Omit<Extract<Answer, { type: "done" }>, "value"> & Value);
interface Value {
  readonly value: unknown;
}

type Answers = Omit<Extract<FromWorker, { type: "answers" }>, "answers"> & { readonly answers: readonly Settled[] };

function tell(message: Exclude<FromWorker, { type: "answers" }> | Answers): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port between threads has no origin
  parentPort?.postMessage(message);
}

function run<M extends Method>(handlers: Handlers, method: M, values: Arguments<M>): Result<M> {
  return handlers[method](...values);
}

function failureOf(error: unknown): Failure {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof CommitInDoubt) return { kind: "unknown", message: `${message}: ${String(error.cause)}` };
  if (error instanceof RangeError) return { kind: "range", message };
  const code = errorCodeOf(error);
  if (code === undefined || code === sqliteCodes.error || code === sqliteCodes.constraint)
    return { kind: "bug", message };
  return { kind: "unavailable", message };
}

/** Whether the connection is past use: the thread then ends, and the store starts another. */
function isFatal(error: unknown): boolean {
  const code = errorCodeOf(error);
  return error instanceof CommitInDoubt || (code !== undefined && !passingCodes.has(code));
}

/** Answers wait for those of later requests at most so long: a commit's is not held up by what came with it. */
const gatherMs = 0.5;

function answerAll(database: SqliteDatabase, requests: readonly Request[]): void {
  let answers: Settled[] = [];
  let since = performance.now();
  for (const request of requests) {
    if (isRead(request.method)) database.beginReading();
    else database.endReading();
    const settled = answer(database, request);
    answers.push(settled.answer);
    if (settled.isFatal || performance.now() - since > gatherMs) {
      tell({ type: "answers", answers, isLast: false });
      answers = [];
      since = performance.now();
    }
    if (settled.isFatal) process.exit(1);
    if (purgedAfter.has(request.method)) startPurging(database);
  }
  database.endReading();
  tell({ type: "answers", answers, isLast: true });
}

function answer(database: SqliteDatabase, request: Request): { answer: Settled; isFatal: boolean } {
  const { id, method, values } = request;
  const startedAt = performance.now();
  try {
    const value = run(database, method, values);
    const commit =
      request.method === "append"
        ? { seconds: (performance.now() - startedAt) / 1_000, appends: request.values[0].appends.length }
        : null;
    return { answer: { type: "done", id, value, commit }, isFatal: false };
  } catch (error) {
    return { answer: { type: "failed", id, failure: failureOf(error) }, isFatal: isFatal(error) };
  }
}

let isPurging = false;

/** Deletes what lies below the floors, a little in each turn so that requests come between. */
function startPurging(database: SqliteDatabase): void {
  if (isPurging) return;
  isPurging = true;
  setImmediate(purge, database);
}

function purge(database: SqliteDatabase): void {
  try {
    isPurging = database.purgeSome();
  } catch (error) {
    if (isFatal(error)) process.exit(1);
    // A full disk or a lock: the next request that leaves something to delete tries again.
    isPurging = false;
  }
  if (isPurging) setImmediate(purge, database);
}

const purgedAfter: ReadonlySet<Method> = new Set<Method>(["trim", "putRoom", "deleteRoom"]);

function serve(): void {
  const connection = openFile(options);
  const database = new SqliteDatabase(connection, options.synchronous, options.arrivalLogsMin);
  parentPort?.on("message", (message: ToWorker) => {
    if (message === "close") {
      connection.close();
      process.exit(0);
    }
    answerAll(database, message);
  });
  startPurging(database);
  tell({ type: "opened" });
}

try {
  serve();
} catch (error) {
  if (!(error instanceof StoreUnusable)) throw error;
  tell({ type: "unusable", message: error.message });
}
