// Preloaded into a server process: its store no longer waits for the disk, as if someone had set it up so. A test that
// looks for the syncs must fail then. Also runs in the store's own thread, which imports what the process imports.
import { DatabaseSync } from "node:sqlite";

const exec: unknown = Reflect.get(DatabaseSync.prototype, "exec");
Reflect.set(DatabaseSync.prototype, "exec", function execUnsynced(this: DatabaseSync, sql: string): void {
  if (typeof exec === "function") Reflect.apply(exec, this, [sql.replace("synchronous = FULL", "synchronous = OFF")]);
});
