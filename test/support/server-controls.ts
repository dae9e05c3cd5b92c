// Preloaded into a server process (`--import`): obeys lines on stdin that tests write, and answers each with one line
// of JSON on stdout. The server itself has no such door.
//
// - `collect`: collects garbage in every thread, then tells the memory: `{"control":"collected","residentBytes":…}`.
// - `end-store-thread`: ends the store's thread in the middle of whatever it does: `{"control":"store_thread_ended"}`.
import { createInterface } from "node:readline";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { BroadcastChannel, isMainThread, type Worker } from "node:worker_threads";
import { z } from "zod";

setFlagsFromString("--expose-gc");
const collectGarbage = z.function({ input: [], output: z.unknown() }).implement(runInNewContext("gc"));
const channel = new BroadcastChannel("server-controls");
channel.unref();

if (isMainThread) {
  const threads: Worker[] = [];
  process.on("worker", (worker) => threads.push(worker));
  const lines = createInterface({ input: process.stdin });
  lines.on("line", (line) => void obey(line.trim(), threads));
  // A server that has finished must not wait for its test.
  process.stdin.on("end", () => lines.close());
  if ("unref" in process.stdin) process.stdin.unref();
} else {
  channel.onmessage = () => {
    collectGarbage();
    channel.postMessage("collected");
  };
}

async function obey(command: string, threads: readonly Worker[]): Promise<void> {
  if (command === "collect") tell({ control: "collected", ...(await collectAll(threads.length)) });
  if (command === "end-store-thread") {
    await threads.at(-1)?.terminate();
    tell({ control: "store_thread_ended" });
  }
}
