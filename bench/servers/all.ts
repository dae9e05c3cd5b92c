import { parley, parleyCluster, parleyStock } from "./parley.ts";
import { peerKinds } from "./peers.ts";
import type { ServerKind } from "./server.ts";
import { sink } from "./sink.ts";

/** In the order of the tables. */
export const serverKinds: readonly ServerKind[] = [parley, parleyStock, parleyCluster, ...peerKinds, sink];

export function serverKind(name: string): ServerKind {
  const kind = serverKinds.find((candidate) => candidate.name === name);
  if (kind === undefined)
    throw new Error(`no server ${name}; there are ${serverKinds.map((known) => known.name).join(", ")}`);
  return kind;
}
