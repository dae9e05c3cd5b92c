// A worker that does what a test says, and nothing else. Told `begin` it is ready, told a number it exits with it, told
// `unlink` it closes its link and lives on.
import { Socket } from "node:net";
import { Link } from "../../packages/server/src/workers/link.ts";
import { linkDescriptor } from "../../packages/server/src/workers/worker-process.ts";

export type ToMember = "begin" | "ignored" | "unlink" | number;

process.on("disconnect", () => process.exit());
const pipe = new Socket({ fd: linkDescriptor });
let livesOn = false;
const link = new Link<"ready", ToMember>(pipe, {
  onMessage(message) {
    if (typeof message === "number") process.exit(message);
    if (message === "begin") link.send("ready");
    if (message !== "unlink") return;
    livesOn = true;
    setInterval(() => {}, 60_000);
    pipe.destroy();
  },
  onLost() {
    if (!livesOn) process.exit();
  },
});
