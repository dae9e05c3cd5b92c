// A process whose store runs out of disk. Arguments: the folder, and the command that gives it more.
// It does what each line of its input says, and answers each with a line of JSON:
// fill: appends until that fails, and tries some more; grow: runs the command; spoil, heal: makes the file read-only and
// writable again, its thread dying before; append: appends until that succeeds; check: compares the log with what was
// acknowledged, before and after it is opened again.
import { execSync } from "node:child_process";
import path from "node:path";
import { createInterface } from "node:readline";
import type { Worker } from "node:worker_threads";
import { systemClock } from "../../packages/server/src/core/clock.ts";
import { append, entriesAfter, room } from "../../packages/server/src/store/contract-steps.contract.ts";
import { openSqliteStore } from "../../packages/server/src/store/sqlite.ts";
import type { Append, AppendBatch } from "../../packages/server/src/store/store.ts";
import { eventually } from "./eventually.ts";

const [folder = "", growCommand = "true"] = process.argv.slice(2);
const file = path.join(folder, "parley.db");
const isRoot = process.getuid?.() === 0;

let thread: Worker | undefined;
const options = { folder, clock: systemClock, onThread: (worker: Worker) => void (thread = worker) };
let store = await openSqliteStore(options);
const acknowledged: string[] = [];
let n = 1;
let batch = nextBatch(50);

function nextBatch(entries: number): AppendBatch {
  const appends = Array.from(
    { length: entries },
    (_, index): Append => append("x".repeat(2_000), { clientId: `${n} ${index}` }),
  );
  return { node: "node-1", n, appends };
}

/** The name of the error, or null. A batch whose outcome is unknown is kept for its repeat. */
async function tryAppend(): Promise<string | null> {
  try {
    const results = await store.append(batch);
    acknowledged.push(...results.map((result) => (result.ok ? result.id : result.code)));
    n += 1;
    batch = nextBatch(n % 3 === 0 ? 1 : 50);
    return null;
  } catch (error) {
    const name = error instanceof Error ? error.name : "unknown";
    if (name === "StoreUnavailable") batch = nextBatch(batch.appends.length);
    return name;
  }
}

async function isWhole(): Promise<boolean> {
  const entries = await entriesAfter(store, room, 0);
  return entries.length === acknowledged.length && entries.every(({ id, seq }) => acknowledged[seq - 1] === id);
}

const commands: Record<string, () => Promise<unknown>> = {
  async fill() {
    let error = await tryAppend();
    while (error === null) error = await tryAppend();
    const errors = new Set([error]);
    for (let attempt = 0; attempt < 20; attempt++) errors.add((await tryAppend()) ?? "none");
    const page = await store.readAfter(room, 0, 1, 1).catch(() => undefined);
    return { errors: [...errors], isReadable: page !== undefined };
  },
  async grow() {
    execSync(growCommand, { env: { ...process.env, CHILD: String(process.pid) } });
  },
  async spoil() {
    await thread?.terminate();
    execSync(isRoot ? `mount --bind "${file}" "${file}" && mount -o remount,bind,ro "${file}"` : `chmod 400 "${file}"`);
    const errors = new Set<string | null>();
    for (let attempt = 0; attempt < 20; attempt++) errors.add(await tryAppend());
    return { errors: [...errors] };
  },
  async heal() {
    execSync(isRoot ? `umount "${file}"` : `chmod 600 "${file}"`);
  },
  async append() {
    return eventually("an append", async () => ((await tryAppend()) === null ? "done" : undefined));
  },
  async check() {
    const before = await isWhole();
    await store[Symbol.asyncDispose]();
    store = await openSqliteStore(options);
    return { before, after: await isWhole(), entries: acknowledged.length };
  },
};

console.log("ready");
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify({ [line]: (await commands[line]?.()) ?? "done" }));
}
await store[Symbol.asyncDispose]();
