import { fileURLToPath } from "node:url";
import { ServerProcess } from "./process.ts";
import type { RunningServer, ServerKind } from "./server.ts";

const script = fileURLToPath(new URL("../sink.ts", import.meta.url));

/** Not a peer: what the generator's own maximum is measured against. */
export const sink: ServerKind = {
  name: "sink",
  title: "ready-made frames, no work",
  sequenced: true,
  durable: false,
  start: async ({ cores, directory }): Promise<RunningServer> => {
    const server = new ServerProcess({ cores, arguments: [script], environment: {}, directory });
    const port = await server.readyPort();
    return {
      host: "127.0.0.1",
      port,
      pid: server.pid,
      command: server.command,
      versions: {},
      settings: [],
      get ended() {
        return server.ended;
      },
      memory: () => server.memory(),
      makeRooms: () => Promise.resolve(),
      commitTimes: () => Promise.resolve(undefined),
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  },
};
