import type { Millis } from "../core/log.ts";
import type { Failure } from "./call-failure.ts";
import type { Store } from "./store.ts";
import type { Synchronous } from "./sqlite-file.ts";
import type { BatchResults } from "./sqlite-results.ts";

/**
 * What passes between the store and its worker thread: one request for each call of the port, answered in order.
 * Values cross as structured clones, which keep what they are; so both sides share these types and parse nothing.
 */

/** Methods of the port that run in the worker. */
export type Method = Exclude<keyof Store, "backup" | typeof Symbol.asyncDispose>;

/** Methods that go by the store's clock get the time last: the worker has none of its own. */
type Timed = "append" | "prune" | "putSessions" | "claimSessions" | "renewLease" | "endLease" | "leases";

export type Arguments<M extends Method> = M extends Timed
  ? [...Parameters<Store[M]>, now: Millis]
  : Parameters<Store[M]>;
export type Result<M extends Method> = M extends "append" ? BatchResults : Awaited<ReturnType<Store[M]>>;

/** The port, without the promises. */
export type Handlers = { readonly [M in Method]: (...values: Arguments<M>) => Result<M> };

export type Request = {
  [M in Method]: { readonly id: number; readonly method: M; readonly values: Arguments<M> };
}[Method];

export interface WorkerOptions {
  readonly file: string;
  readonly synchronous: Synchronous;
  /** Whether a missing file is created, or an error. */
  readonly create: boolean;
  /** See `sqlite-appends.ts`. */
  readonly arrivalLogsMin: number;
}

/** Requests that were made meanwhile, or the wish to end after all requests before it. */
export type ToWorker = readonly Request[] | "close";

export type FromWorker =
  | { readonly type: "opened" }
  | { readonly type: "unusable"; readonly message: string }
  /** `isLast`: of the oldest requests that were not all answered before. */
  | { readonly type: "answers"; readonly answers: readonly Answer[]; readonly isLast: boolean };

export type Answer =
  | {
      readonly type: "done";
      readonly id: number;
      /** What the method gives: `never` fits into each one's own type, which the caller of `call` knows. */
      readonly value: never;
      readonly commit: Commit | null;
    }
  | { readonly type: "failed"; readonly id: number; readonly failure: Failure };

/** An append transaction, from its begin until it was durable, and the number of its appends. */
export interface Commit {
  readonly seconds: number;
  readonly appends: number;
}
