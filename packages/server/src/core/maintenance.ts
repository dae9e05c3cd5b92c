import type { Store } from "../store/store.ts";
import type { Clock } from "./clock.ts";

const pruneEveryMs = 60_000;
/** While there is more than a store deletes at once: as much as comes must go, and none of it for long. */
const pruneAgainMs = 1_000;
/** Longer than any node is silent and still counted on. One that could not read it for half of that asks for every head instead. */
const journalKeepMs = 600_000;
const dayMs = 86_400_000;

/** Deletes, once a minute or as often as it takes, what nobody asks for any more: see `prune`. Gives what stops it. */
export function startMaintenance(store: Pick<Store, "prune">, clock: Clock, clientIdKeepDays: number): () => void {
  let cancel = (): void => {};
  let isStopped = false;
  const schedule = (inMs: number): void => {
    if (isStopped) return;
    cancel = clock.after(inMs, () => {
      const now = clock.now();
      // A store that is away is pruned the next time.
      store.prune(now - journalKeepMs, now - clientIdKeepDays * dayMs).then(
        (isMore) => schedule(isMore ? pruneAgainMs : pruneEveryMs),
        () => schedule(pruneEveryMs),
      );
    });
  };
  schedule(pruneEveryMs);
  return () => {
    isStopped = true;
    cancel();
  };
}
