import { fileURLToPath } from "node:url";
import { installPeers, peerVersion } from "../peers/install.ts";
import { ServerProcess } from "./process.ts";
import type { RunningServer, ServerKind, ServerOptions } from "./server.ts";

const script = fileURLToPath(new URL("../peers/socketio-server.ts", import.meta.url));

export const socketio: ServerKind = {
  name: "socketio",
  title: "Socket.IO in memory, JWT; keeps nothing",
  sequenced: false,
  durable: false,
  start: (options) => start(options, {}),
};

export const socketioSqlite: ServerKind = {
  name: "socketio-sqlite",
  title: "Socket.IO, JWT, one SQLite transaction per message on the event loop, fsync on",
  sequenced: true,
  durable: true,
  start: (options) => start(options, { BENCH_DATABASE: `${options.directory}/messages.db` }),
};

async function start(
  { cores, secret, directory }: ServerOptions,
  extra: Record<string, string>,
): Promise<RunningServer> {
  installPeers();
  const server = new ServerProcess({
    cores,
    arguments: [script],
    environment: { BENCH_SECRET: secret, ...extra },
    directory,
  });
  const port = await server.readyPort();
  return {
    host: "127.0.0.1",
    port,
    pid: server.pid,
    command: server.command,
    versions: { "socket.io": peerVersion("socket.io"), "engine.io": peerVersion("engine.io"), ws: peerVersion("ws") },
    settings: [],
    get ended() {
      return server.ended;
    },
    memory: () => server.memory(),
    makeRooms: () => Promise.resolve(), // A room exists as soon as someone joins it.
    commitTimes: () => Promise.resolve(undefined),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}
