// Loaded before a server's own code (`node --expose-gc --import`): on SIGUSR2 it collects garbage and prints what is left.
import { isMainThread } from "node:worker_threads";
import { setTimeout as wait } from "node:timers/promises";

async function report(): Promise<void> {
  // Twice, with a pause: the first collection queues finalizers, and pages go back to the system a moment later.
  for (let round = 0; round < 2; round += 1) {
    globalThis.gc?.();
    await wait(500);
  }
  globalThis.gc?.();
  const { rss, heapUsed } = process.memoryUsage();
  process.stdout.write(`${JSON.stringify({ benchMemory: { rss, heapUsed } })}\n`);
}

if (isMainThread) process.on("SIGUSR2", () => void report());
