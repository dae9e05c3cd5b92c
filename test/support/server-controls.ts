// Preloaded into a server process (`--import`): obeys lines on stdin that tests write, and answers each with a line of
// JSON on stdout. The server itself has no such door.
//
// - `collect`: collects garbage in every thread, then tells the memory: `{"control":"collected","residentBytes":…}`.
// - `end-store-thread`: ends the store's thread in the middle of whatever it does: `{"control":"store_thread_ended"}`.
import { createInterface } from "node:readline";
import { BroadcastChannel, isMainThread, type Worker } from "node:worker_threads";
import { collectGarbage } from "./garbage.ts";

const channel = new BroadcastChannel("parley-server-controls");
channel.unref();

if (isMainThread) {
  const threads = new Set<Worker>();
  process.on("worker", (worker) => {
    threads.add(worker);
    worker.on("exit", () => threads.delete(worker));
  });
  const lines = createInterface({ input: process.stdin });
  lines.on("line", (line) => void obey(line.trim(), threads));
  // Why: a server that has finished must not wait for its test.
  if ("unref" in process.stdin && typeof process.stdin.unref === "function") process.stdin.unref();
} else {
  channel.addEventListener("message", () => {
    collectGarbage();
    post("collected");
  });
}

async function obey(command: string, threads: ReadonlySet<Worker>): Promise<void> {
  if (command === "collect") {
    await collectInThreads(threads.size);
    collectGarbage();
    const { rss, heapUsed, external } = process.memoryUsage();
    tell({ control: "collected", residentBytes: rss, heapUsedBytes: heapUsed, externalBytes: external });
  } else if (command === "end-store-thread") {
    const [store] = [...threads].slice(-1);
    await store?.terminate();
    tell({ control: "store_thread_ended" });
  }
}

function collectInThreads(count: number): Promise<void> {
  if (count === 0) return Promise.resolve();
  return new Promise((resolve) => {
    let missing = count;
    const onCollected = (): void => {
      missing -= 1;
      if (missing > 0) return;
      channel.removeEventListener("message", onCollected);
      resolve();
    };
    channel.addEventListener("message", onCollected);
    post("collect");
  });
}

function post(message: string): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a channel between threads has no origin
  channel.postMessage(message);
}

function tell(answer: object): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
