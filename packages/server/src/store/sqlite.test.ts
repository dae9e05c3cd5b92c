import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { systemClock } from "../core/clock.ts";
import { openSqliteStore, restoreSqlite } from "./sqlite.ts";
import { storeContract, type StoreHarness } from "./store.contract.ts";

async function open(arrivalLogsMin?: number): Promise<StoreHarness> {
  const resources = new AsyncDisposableStack();
  const folder = await mkdtemp(path.join(tmpdir(), "parley-test-"));
  resources.defer(() => rm(folder, { recursive: true, force: true }));
  const least = arrivalLogsMin === undefined ? {} : { arrivalLogsMin };
  let aheadMs = 0;
  const clock = { ...systemClock, now: () => systemClock.now() + aheadMs };
  const store = resources.use(await openSqliteStore({ folder: path.join(folder, "store"), clock, ...least }));
  return {
    store,
    advance: (ms) => void (aheadMs += ms),
    async restored() {
      const backup = path.join(folder, "backup.db");
      await store.backup(backup);
      restoreSqlite(backup, path.join(folder, "restored"));
      return resources.use(await openSqliteStore({ folder: path.join(folder, "restored"), clock, ...least }));
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

storeContract("sqlite", () => open());

storeContract("sqlite, with messages kept as they arrive", () => open(1));
