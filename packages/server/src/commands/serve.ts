import type { Mode } from "../config.ts";
import { systemClock } from "../core/clock.ts";
import { createDevelopmentSession } from "../http/development.ts";
import { createLog } from "../log.ts";
import { renderBanner } from "./banner.ts";
import type { CommandContext, Run, RunningNode } from "./command.ts";
import { nodeSettings } from "./settings.ts";
import { adminLink } from "./token.ts";
import { readVersion } from "./version.ts";

export const runDevelopment: Run = (context) =>
  serve(context, "development", async (node, { config, adminSecret }) => {
    const session =
      config.auth.secret === undefined ? undefined : await createDevelopmentSession(config.auth, systemClock);
    const lines = renderBanner({
      program: context.program,
      version: readVersion(),
      // Since the process began.
      seconds: performance.now() / 1_000,
      publicUrl: node.publicUrl,
      internalUrl: node.internalUrl,
      adminLink: await adminLink(node.internalUrl, adminSecret),
      storePath: config.store.path,
      session,
      apiKey: config.api.keys[0] ?? "",
    });
    for (const line of lines) context.print(line);
  });

export const runProduction: Run = (context) => serve(context, "production", async () => {});

const aliveMs = 60_000;

type Settings = ReturnType<typeof nodeSettings>;

/** Runs a node until the process is told to stop; then finishes what is under way. */
async function serve(
  context: CommandContext,
  mode: Mode,
  ready: (node: RunningNode, settings: Settings) => Promise<void>,
): Promise<number> {
  const settings = nodeSettings(context, mode);
  const log = createLog(settings.config.log);
  const { startNode } = await context.compose();
  const node = await startNode(settings.config, { log, adminSecret: settings.adminSecret });
  try {
    log.info({ version: readVersion(), mode, public: node.publicUrl, internal: node.internalUrl }, "node_ready");
    await ready(node, settings);
    await untilAborted(context.stopped);
    log.info({}, "node_stopping");
  } finally {
    // Why: the clock's timers keep no process alive, and a stop may wait for one when the store is away.
    const alive = setInterval(() => {}, aliveMs);
    await node.stop();
    clearInterval(alive);
  }
  log.info({}, "node_stopped");
  return 0;
}

function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
