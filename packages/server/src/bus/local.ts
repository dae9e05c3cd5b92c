import type { Bus } from "./bus.ts";

/** The bus of a node that is alone: it has nobody to tell. */
export function localBus(): Bus {
  return {
    alone: true,
    start: () => Promise.resolve(),
    hint() {},
    signal() {},
    send() {},
    digest() {},
    follow() {},
    unfollow() {},
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
