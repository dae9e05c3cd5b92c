import { createServer } from "node:http";
import { Server } from "socket.io";

/** A node's `/admin` on the stock server: lets the token `admin` in, and notes what is announced. */
export async function startFakeConsole() {
  const http = createServer();
  const io = new Server(http, { serveClient: false });
  const announced: unknown[] = [];
  const orders: unknown[] = [];
  io.of("/admin").use((socket, next) => {
    const refusal = { code: "forbidden", message: "admins only" };
    next(socket.handshake.auth["token"] === "admin" ? undefined : Object.assign(new Error("no"), { data: refusal }));
  });
  io.of("/admin").on("connection", (socket) => {
    socket.on("statistics", (_payload: unknown, reply: (answer: object) => void) =>
      reply({ ok: true, statistics: { users: 2 } }),
    );
    socket.on("broadcast_announcement", (message: unknown, reply: (answer: object) => void) => {
      announced.push(message);
      reply({ ok: true, id: "a", seq: 1 });
    });
    for (const order of ["kick", "ban", "unban", "drain", "undrain"])
      socket.on(order, (payload: unknown, reply: (answer: object) => void) => {
        orders.push([order, payload]);
        reply({ ok: true, connections: 3, draining: order === "drain" });
      });
  });
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  const address = http.address();
  const port = address !== null && typeof address === "object" ? address.port : 0;
  return { url: `http://127.0.0.1:${port}`, announced, orders, [Symbol.asyncDispose]: () => io.close() };
}
