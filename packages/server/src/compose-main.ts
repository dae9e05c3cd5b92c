import type { RunningNode } from "./commands/command.ts";
import { type NodeOptions, startNode as startAlone } from "./compose.ts";
import { startWorkers } from "./compose-primary.ts";
import type { Config } from "./config.ts";

export { backupStore, migrateStore, probeStore, restoreStore, showStore } from "./compose-store.ts";

/** What the command line runs: one process, or the workers that the settings ask for. Errors: as `Composition` says. */
export function startNode(config: Config, options: NodeOptions): Promise<RunningNode> {
  return config.server.workers === 1 ? startAlone(config, options) : startWorkers(config, options);
}
