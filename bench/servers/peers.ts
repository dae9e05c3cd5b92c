import { peerKind } from "./peer.ts";
import type { ServerKind } from "./server.ts";

const socketioPackages = ["socket.io", "engine.io", "ws"];
const adapterPackages = [...socketioPackages, "@socket.io/redis-adapter", "redis"];

const socketio = { script: "socketio-server.mjs", packages: socketioPackages } as const;
const clustered = { script: "socketio-server.mjs", services: ["redis"], nodesMax: 8 } as const;

/** What Parley is measured beside, in the order of the tables. */
export const peerKinds: readonly ServerKind[] = [
  peerKind({
    ...clustered,
    name: "tutorial",
    title: "Socket.IO with @socket.io/redis-adapter, JWT; keeps nothing",
    packages: adapterPackages,
    environment: ({ redisUrl }) => ({ BENCH_ADAPTER: "redis", BENCH_REDIS: redisUrl }),
  }),
  peerKind({
    ...clustered,
    name: "tutorial-insert",
    title: "the same, one INSERT into Postgres (fsync) per message before it is sent, the newest 50 messages on a join",
    packages: [...adapterPackages, "pg"],
    services: ["redis", "postgres"],
    // Each message goes out when its own INSERT is done, on one of ten connections.
    ordered: false,
    durable: true,
    environment: ({ redisUrl, postgresUrl }) => ({
      BENCH_ADAPTER: "redis",
      BENCH_REDIS: redisUrl,
      BENCH_POSTGRES: postgresUrl,
    }),
  }),
  peerKind({ ...socketio, name: "socketio", title: "Socket.IO in memory, JWT; keeps nothing" }),
  peerKind({
    ...socketio,
    name: "socketio-recovery",
    title: "Socket.IO in memory with connection state recovery, JWT; keeps two minutes in memory",
    comesBack: "session",
    environment: () => ({ BENCH_RECOVERY: "on" }),
  }),
  peerKind({
    ...socketio,
    name: "socketio-sqlite",
    title: "Socket.IO, JWT, one SQLite transaction per message on the event loop, fsync on",
    sequenced: true,
    durable: true,
    environment: (_services, runDirectory) => ({ BENCH_SQLITE: `${runDirectory}/messages.db` }),
  }),
  peerKind({
    ...clustered,
    name: "sharded",
    title: "Socket.IO with the sharded Redis adapter, JWT; keeps nothing",
    packages: adapterPackages,
    environment: ({ redisUrl }) => ({ BENCH_ADAPTER: "sharded", BENCH_REDIS: redisUrl }),
  }),
  peerKind({
    ...clustered,
    name: "streams",
    title:
      "Socket.IO with the Redis streams adapter and connection state recovery, JWT; keeps 10,000 messages in Redis",
    packages: [...socketioPackages, "@socket.io/redis-streams-adapter", "redis"],
    comesBack: "session",
    environment: ({ redisUrl }) => ({ BENCH_ADAPTER: "streams", BENCH_REDIS: redisUrl, BENCH_RECOVERY: "on" }),
  }),
  peerKind({
    name: "ws",
    title: "plain ws, one shared frame per message, JWT; keeps nothing",
    script: "ws-server.mjs",
    polling: false,
    packages: ["ws"],
  }),
  peerKind({
    name: "bun",
    title: "Bun's native publish, JWT; keeps nothing",
    script: "bun-server.mjs",
    polling: false,
    packages: ["bun"],
    runtime: `node_modules/@oven/bun-${process.platform}-${process.arch === "arm64" ? "aarch64" : process.arch}/bin/bun`,
  }),
];
