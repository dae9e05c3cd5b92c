// How fast the SQLite store commits. Run by hand:
// node --conditions=parley-source test/support/store-throughput-process.ts [appends in a batch] [logs] [appends] [clientId: yes or no]
// Messages of 100 bytes from 100 users, one batch in flight, everything on: fsync, client ids, journal.
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, loadavg } from "node:os";
import path from "node:path";
import { systemClock } from "../../packages/server/src/core/clock.ts";
import { logId } from "../../packages/server/src/core/log.ts";
import { openSqliteStore } from "../../packages/server/src/store/sqlite.ts";

const [batchText = "200", logsText = "1", totalText = "400000", withClientIds = "yes"] = process.argv.slice(2);
const batchSize = Number(batchText);
const total = Number(totalText);
const data = JSON.stringify({ text: "x".repeat(100) });
const folder = mkdtempSync(path.join(import.meta.dirname, "..", "..", "node_modules", ".cache", "parley-throughput-"));
const commits: number[] = [];

try {
  await using store = await openSqliteStore({
    folder,
    clock: systemClock,
    onCommit: (seconds) => commits.push(seconds),
  });
  const ids = Array.from({ length: total }, () => randomUUID());
  const cpu = process.cpuUsage();
  const startedAt = performance.now();
  for (let n = 1; (n - 1) * batchSize < total; n++) {
    const appends = ids.slice((n - 1) * batchSize, n * batchSize).map((id, index) => ({
      log: logId("default", `room-${index % Number(logsText)}`),
      id,
      type: "message",
      actor: `user-${index % 100}`,
      at: Date.now(),
      v: 1,
      data,
      clientId: withClientIds === "yes" ? id : null,
      effect: null,
    }));
    await store.append({ node: "node-1", n, appends });
  }
  const seconds = (performance.now() - startedAt) / 1_000;
  const { user, system } = process.cpuUsage(cpu);
  commits.sort((one, other) => one - other);
  const quantile = (part: number): string =>
    `${((commits[Math.floor(commits.length * part)] ?? 0) * 1_000).toFixed(1)} ms`;
  console.log(`${Math.round(total / seconds)} rows/s, ${((user + system) / total).toFixed(1)} µs of CPU a row`);
  console.log(`commit p50 ${quantile(0.5)}, p99 ${quantile(0.99)}, longest ${quantile(0.9999)}`);
  console.log(`${availableParallelism()} cores, load ${loadavg()[0]?.toFixed(1)}`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
