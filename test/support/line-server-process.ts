// A server of a line protocol on a store: each line is appended, and answered with `ack` and the line when it is
// committed; what arrives during a commit goes with the next. Arguments: the folder, and `synchronous`.
import { createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { systemClock } from "../../packages/server/src/core/clock.ts";
import { logId } from "../../packages/server/src/core/log.ts";
import { openSqliteStore } from "../../packages/server/src/store/sqlite.ts";

const [folder = "", synchronous] = process.argv.slice(2);
const store = await openSqliteStore({
  folder,
  clock: systemClock,
  synchronous: synchronous === "OFF" ? "OFF" : "FULL",
});
const waiting: { socket: Socket; line: string }[] = [];
let n = 0;
let isRunning = false;

async function commit(): Promise<void> {
  if (isRunning) return;
  isRunning = true;
  while (waiting.length > 0) {
    const batch = waiting.splice(0, 1_000);
    n += 1;
    const appends = batch.map(({ line }) => ({
      log: logId("default", "lines"),
      id: line,
      type: "message",
      actor: "anna",
      at: Date.now(),
      v: 1,
      data: JSON.stringify({ text: line }),
      clientId: null,
      effect: null,
    }));
    await store.append({ node: "node-1", n, appends });
    for (const { socket, line } of batch) socket.write(`ack ${line}\n`);
  }
  isRunning = false;
}

const server = createServer((socket) => {
  createInterface({ input: socket }).on("line", (line) => {
    waiting.push({ socket, line });
    void commit();
  });
});
server.listen(0, "127.0.0.1", () => console.log(`port ${JSON.stringify(server.address())}`));
process.stdin.once("data", () => process.exit(0));
