import { readFileSync } from "node:fs";
import { z } from "zod";

const packageSchema = z.object({ version: z.string() });

/** Of the package `@parley/server`: its manifest lies two folders above this module, from source and built. */
export function readVersion(): string {
  const manifest = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return packageSchema.parse(JSON.parse(manifest)).version;
}

export function describeVersion(): string {
  return `parley ${readVersion()} (Node ${process.versions.node})`;
}
