import { fileURLToPath } from "node:url";
import { nodeOf, Nodes } from "./nodes.ts";
import { ServerProcess } from "./process.ts";
import type { RunningServer, ServerKind } from "./server.ts";

const script = fileURLToPath(new URL("../sink.ts", import.meta.url));

/** Not a peer: what the generator's own maximum is measured against. */
export const sink: ServerKind = {
  name: "sink",
  title: "ready-made frames, no work",
  sequenced: true,
  ordered: true,
  durable: false,
  comesBack: "none",
  nodesMax: 1,
  polling: false,
  missing: () => undefined,
  start: async ({ cores, directory }): Promise<RunningServer> => {
    const nodes = await Nodes.start(1, async () => {
      const server = new ServerProcess({ cores, arguments: [script], environment: {}, directory });
      return nodeOf(server, await server.readyPort());
    });
    const { host, port, pid, process } = nodes.first;
    return {
      host,
      port,
      pid,
      nodes: nodes.all,
      command: process.command,
      versions: {},
      settings: [],
      get ended() {
        return process.ended;
      },
      memory: () => process.memory(),
      makeRooms: () => Promise.resolve(),
      commitTimes: () => Promise.resolve(undefined),
      loseFirst: () => nodes.loseFirst(),
      [Symbol.asyncDispose]: () => nodes[Symbol.asyncDispose](),
    };
  },
};
