// Loaded before a server's own code (`node --expose-gc --import`), in each of its threads: on SIGUSR2 all of them collect
// garbage, and the main one prints what is left. From one SIGWINCH to the next it watches how late its event loop runs.
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as wait } from "node:timers/promises";
import { BroadcastChannel, isMainThread } from "node:worker_threads";

// Why "last-resort": a plain collection leaves up to 90 MB of emptied young-generation pages with the process, whatever the
// number of connections, and so would measure how the connections came rather than what they keep. The same for every server.
const everything = { type: "major", flavor: "last-resort", execution: "sync" } as const;

function collect(): void {
  globalThis.gc?.(everything);
}

const channel = new BroadcastChannel("bench-memory");
channel.unref();

async function report(): Promise<void> {
  // Twice, with a pause: the first collection queues finalizers, and pages go back to the system a moment later.
  for (let round = 0; round < 2; round += 1) {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- threads have no origin
    channel.postMessage("collect");
    collect();
    await wait(500);
  }
  collect();
  process.stdout.write(`${JSON.stringify({ benchMemory: process.memoryUsage() })}\n`);
}

let watched: ReturnType<typeof monitorEventLoopDelay> | undefined;

function watchLoop(): void {
  if (watched === undefined) {
    watched = monitorEventLoopDelay({ resolution: 10 });
    watched.enable();
    process.stdout.write(`${JSON.stringify({ benchLoop: "watching" })}\n`);
    return;
  }
  watched.disable();
  const [p99Ms, maxMs] = [watched.percentile(99) / 1e6, watched.max / 1e6];
  watched = undefined;
  process.stdout.write(`${JSON.stringify({ benchLoop: { p99Ms, maxMs } })}\n`);
}

if (isMainThread) {
  process.on("SIGUSR2", () => void report());
  process.on("SIGWINCH", watchLoop);
} else channel.addEventListener("message", collect);
