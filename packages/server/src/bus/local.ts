import type { Bus } from "./bus.ts";

/** The bus of a node that is alone: it has nobody to tell. */
export function localBus(): Bus {
  return quietBus(true);
}

/**
 * The bus of nodes that share a store and nothing else: always down, so that they find out from the store's journal
 * what the others have committed (FEED-2). Nothing ephemeral passes between them.
 */
export function absentBus(): Bus {
  return quietBus(false);
}

function quietBus(alone: boolean): Bus {
  return {
    alone,
    async start(receiver) {
      if (!alone) receiver.onState("down");
    },
    hint() {},
    signal() {},
    send() {},
    digest() {},
    follow() {},
    unfollow() {},
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
