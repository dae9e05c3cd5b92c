import { failureOf } from "./call-failure.ts";
import type { Arguments, Calls, Method, Result, SettledCall, StoreRequest } from "./remote-calls.ts";
import type { Store } from "./store.ts";

/**
 * Does what another process asks of this store, and answers. Requests run side by side, as the calls of one process do.
 * A process that is gone gets no answer; what it asked for is done all the same.
 */
export async function answerCall(
  store: Omit<Store, typeof Symbol.asyncDispose>,
  { id, method, values }: StoreRequest,
): Promise<SettledCall> {
  try {
    return { id, ok: true, value: await run(store, method, values) };
  } catch (error) {
    return { id, ok: false, failure: failureOf(error) };
  }
}

function run<M extends Method>(calls: Calls, method: M, values: Arguments<M>): Promise<Result<M>> {
  return calls[method](...values);
}
