import { Socket } from "node:net";
import { serveClients } from "./compose-worker.ts";
import { linkDescriptor } from "./workers/worker-process.ts";

// A worker of `parley start --workers`: ends when the primary says so, or is gone.

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  // Why not obeyed: a terminal and systemd send it to all processes at once, and the primary tells when to stop.
  process.on(signal, () => {});
}
process.on("disconnect", () => process.exit());

serveClients(new Socket({ fd: linkDescriptor }));
