import type { Store } from "../store/store.ts";
import type { Clock } from "./clock.ts";

const pruneEveryMs = 60_000;
/** Longer than any node is silent and still counted on. */
const journalKeepMs = 600_000;
const dayMs = 86_400_000;

/** Deletes, once a minute, journal rows and client ids that nobody asks for any more. Gives what stops it. */
export function startMaintenance(store: Store, clock: Clock, clientIdKeepDays: number): () => void {
  let cancel = (): void => {};
  let isStopped = false;
  const schedule = (): void => {
    if (isStopped) return;
    cancel = clock.after(pruneEveryMs, () => {
      const now = clock.now();
      // A store that is away is pruned the next time.
      store.prune(now - journalKeepMs, now - clientIdKeepDays * dayMs).then(schedule, schedule);
    });
  };
  schedule();
  return () => {
    isStopped = true;
    cancel();
  };
}
