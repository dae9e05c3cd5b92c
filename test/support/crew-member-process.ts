// A worker that does what a test says, and nothing else. Told `begin` it is ready, told a number it exits with it.
import { Socket } from "node:net";
import { Link } from "../../packages/server/src/workers/link.ts";
import { linkDescriptor } from "../../packages/server/src/workers/worker-process.ts";

export type ToMember = "begin" | "ignored" | number;

process.on("disconnect", () => process.exit());
const link = new Link<"ready", ToMember>(new Socket({ fd: linkDescriptor }), {
  onMessage(message) {
    if (typeof message === "number") process.exit(message);
    if (message === "begin") link.send("ready");
  },
  onLost: () => process.exit(),
});
