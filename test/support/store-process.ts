// A process that holds a store open and appends without end, a line to stdout for each batch that is acknowledged.
// Arguments: the folder, and how many batches to append before it only waits (0: without end).
import { systemClock } from "../../packages/server/src/core/clock.ts";
import { logId } from "../../packages/server/src/core/log.ts";
import { openSqliteStore } from "../../packages/server/src/store/sqlite.ts";

const [folder = "", batches = "0"] = process.argv.slice(2);
const node = `node-${process.pid}`;

// Batches of both kinds: those whose messages are kept as they arrive, and those that are written where they stay.
const store = await openSqliteStore({ folder, clock: systemClock, arrivalLogsMin: 3 });
console.log("open");
for (let n = 1; Number(batches) === 0 || n <= Number(batches); n++) {
  const appends = Array.from({ length: 1 + (n % 20) }, (_, index) => ({
    log: logId("default", `room-${index % 3}`),
    id: `${node}-${n}-${index}`,
    type: "message",
    actor: "anna",
    at: Date.now(),
    v: 1,
    data: JSON.stringify({ text: "x".repeat(100) }),
    clientId: `${node}-${n}-${index}`,
    effect: null,
  }));
  const results = await store.append({ node, n, appends });
  const seqs = results.map((result) => (result.ok ? result.seq : result.code));
  console.log(`ack ${JSON.stringify(appends.map(({ log, id }, index) => [log, id, seqs[index]]))}`);
}
console.log("waiting");
process.stdin.on("end", () => void store[Symbol.asyncDispose]()).resume();
