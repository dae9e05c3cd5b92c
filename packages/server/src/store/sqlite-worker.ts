import { parentPort, workerData } from "node:worker_threads";
import { z } from "zod";
import type {
  Arguments,
  Failure,
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
  .object({ file: z.string(), synchronous: z.enum(["FULL", "OFF"]), create: z.boolean() })
  .parse(workerData);

/** Errors after which the same connection may well succeed: a full disk, a lock, and whatever is a bug of ours. */
const passingCodes = new Set<number>(Object.values(sqliteCodes));

type Done = Omit<Extract<FromWorker, { type: "done" }>, "value"> & { readonly value: unknown };

function tell(message: Exclude<FromWorker, { type: "done" }> | Done): void {
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

function answer(database: SqliteDatabase, request: Request): void {
  const { id, method, values } = request;
  const startedAt = performance.now();
  try {
    const value = run(database, method, values);
    const commit =
      request.method === "append"
        ? { seconds: (performance.now() - startedAt) / 1_000, appends: request.values[0].appends.length }
        : null;
    tell({ type: "done", id, value, commit });
  } catch (error) {
    tell({ type: "failed", id, failure: failureOf(error) });
    if (isFatal(error)) process.exit(1);
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
  const database = new SqliteDatabase(connection);
  parentPort?.on("message", (message: ToWorker) => {
    if (message === "close") {
      connection.close();
      process.exit(0);
    }
    answer(database, message);
    if (purgedAfter.has(message.method)) startPurging(database);
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
