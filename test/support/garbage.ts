import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");

/**
 * Collects the garbage of this thread, now.
 * Why "last-resort": a plain collection leaves emptied young-generation pages with the process, as many as it ever needed.
 */
export const collectGarbage: () => void = runInNewContext(
  '() => gc({ type: "major", flavor: "last-resort", execution: "sync" })',
);
