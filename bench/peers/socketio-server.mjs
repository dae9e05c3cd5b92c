// The tutorial's server in short, as its readers write it: Socket.IO, a JWT middleware, rooms. It does less than Parley
// (no access rules, nothing kept unless told to), so it is a fast peer, not a weak one.
// usage: BENCH_SECRET=… [BENCH_ADAPTER=memory|redis|sharded|streams] [BENCH_REDIS=URL] [BENCH_RECOVERY=on]
//        [BENCH_SQLITE=FILE | BENCH_POSTGRES=URL] node socketio-server.mjs; prints {"ready":true,"port":…,"pid":…}
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { jwtVerify } from "jose";
import { Server } from "socket.io";
import { createAdapterCalled } from "./socketio-adapters.mjs";
import { openMessages } from "./message-store.mjs";

const {
  BENCH_SECRET,
  BENCH_ADAPTER = "memory",
  BENCH_REDIS,
  BENCH_RECOVERY,
  BENCH_SQLITE,
  BENCH_POSTGRES,
} = process.env;
const secret = new TextEncoder().encode(BENCH_SECRET);
const messages = await openMessages({ sqlite: BENCH_SQLITE, postgres: BENCH_POSTGRES });
const adapter = await createAdapterCalled(BENCH_ADAPTER, BENCH_REDIS);
const server = createServer();
const io = new Server(server, {
  ...(adapter === undefined ? {} : { adapter }),
  ...(BENCH_RECOVERY === "on" ? { connectionStateRecovery: { maxDisconnectionDuration: 120_000 } } : {}),
});

io.use((socket, next) => {
  jwtVerify(String(socket.handshake.auth.token), secret).then(
    ({ payload }) => {
      socket.data.userId = payload.sub ?? "";
      next();
    },
    () => next(new Error("unauthorized")),
  );
});

io.on("connection", (socket) => {
  const { userId } = socket.data;
  socket.on("join_room", async (roomId, acknowledge) => {
    await socket.join(roomId);
    if (messages?.recent !== undefined) socket.emit("room_history", await messages.recent(roomId));
    acknowledge({ ok: true });
  });
  socket.on("send_message", async ({ roomId, text, clientId }, acknowledge) => {
    const message = { id: randomUUID(), roomId, userId, text, createdAt: new Date().toISOString(), clientId };
    // What saves in this turn is not awaited: a peer without a store, or with SQLite, loses nothing to a promise.
    const saving = messages?.save(message);
    const saved = saving instanceof Promise ? await saving : saving;
    io.to(roomId).emit("new_message", { ...message, ...saved });
    acknowledge({ ok: true, id: message.id, ...saved });
  });
});

server.listen(0, "127.0.0.1", () => {
  console.log(JSON.stringify({ ready: true, port: server.address().port, pid: process.pid }));
});
process.on("SIGTERM", () => process.exit(0));
