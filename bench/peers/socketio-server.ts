// The tutorial's server in short, as its readers write it: Socket.IO with its own in-memory adapter, a JWT middleware,
// rooms. It does less than Parley (no history, no access rules, nothing kept), so it is a fast peer, not a weak one.
// With BENCH_DATABASE it saves each message before it is sent, in a transaction of its own, in SQLite with fsync.
// usage: BENCH_SECRET=… [BENCH_DATABASE=FILE] node socketio-server.ts; prints {"ready":true,"port":…,"pid":…}
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { DatabaseSync } from "node:sqlite";
import { jwtVerify } from "jose";
import { Server } from "socket.io";

interface OutgoingMessage {
  readonly id: string;
  readonly roomId: string;
  readonly seq?: number;
  readonly userId: string;
  readonly text: string;
  readonly createdAt: string;
  readonly clientId: string;
}

type Acknowledge = (reply: { ok: true; id?: string; seq?: number }) => void;

interface ClientEvents {
  join_room(roomId: string, acknowledge: Acknowledge): void;
  send_message(message: { roomId: string; text: string; clientId: string }, acknowledge: Acknowledge): void;
}

interface ServerEvents {
  new_message(message: OutgoingMessage): void;
}

/** Saves a message in one transaction and gives its place in the room's log. */
function openStore(file: string): (message: OutgoingMessage, at: number) => number {
  const database = new DatabaseSync(file);
  database.exec(`
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE entry (
      log_id TEXT NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL, actor TEXT NOT NULL,
      at INTEGER NOT NULL, v INTEGER NOT NULL, data TEXT NOT NULL, client_id TEXT, PRIMARY KEY (log_id, seq)
    ) WITHOUT ROWID`);
  const insert = database.prepare(`
    INSERT INTO entry (log_id, seq, id, type, actor, at, v, data, client_id)
    VALUES (:log, 1 + coalesce((SELECT max(seq) FROM entry WHERE log_id = :log), 0), :id, 'message', :actor, :at, 1, :data, :client)
    RETURNING seq`);
  return ({ id, roomId, userId, text, clientId }, at) => {
    const data = JSON.stringify({ text });
    const row = insert.get({ log: `default/${roomId}`, id, actor: userId, at, data, client: clientId });
    return Number(row?.["seq"]);
  };
}

const secret = new TextEncoder().encode(process.env["BENCH_SECRET"]);
const file = process.env["BENCH_DATABASE"];
const save = file === undefined ? undefined : openStore(file);
const server = createServer();
const io = new Server<ClientEvents, ServerEvents, Record<string, never>, { userId: string }>(server);

io.use((socket, next) => {
  jwtVerify(String(socket.handshake.auth["token"]), secret).then(
    ({ payload }) => {
      socket.data.userId = payload.sub ?? "";
      next();
    },
    () => next(new Error("unauthorized")),
  );
});

io.on("connection", (socket) => {
  const { userId } = socket.data;
  socket.on("join_room", (roomId, acknowledge) => {
    void socket.join(roomId);
    acknowledge({ ok: true });
  });
  socket.on("send_message", ({ roomId, text, clientId }, acknowledge) => {
    const now = new Date();
    const message = { id: randomUUID(), roomId, userId, text, createdAt: now.toISOString(), clientId };
    if (save === undefined) {
      io.to(roomId).emit("new_message", message);
      acknowledge({ ok: true, id: message.id });
      return;
    }
    const seq = save(message, now.getTime());
    io.to(roomId).emit("new_message", { ...message, seq });
    acknowledge({ ok: true, id: message.id, seq });
  });
});

server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  console.log(JSON.stringify({ ready: true, port, pid: process.pid }));
});
process.on("SIGTERM", () => process.exit(0));
