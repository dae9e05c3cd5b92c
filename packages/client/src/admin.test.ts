import { createServer } from "node:http";
import { Server } from "socket.io";
import { expect, test } from "vitest";
import { recordStates } from "../test/recorder.ts";
import { connectAdmin } from "./admin.ts";

async function startConsole(): Promise<AsyncDisposable & { url: string; announced: unknown[]; io: Server }> {
  const http = createServer();
  const io = new Server(http, { serveClient: false });
  const announced: unknown[] = [];
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
  });
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  const address = http.address();
  const port = address !== null && typeof address === "object" ? address.port : 0;
  return { url: `http://127.0.0.1:${port}`, announced, io, [Symbol.asyncDispose]: () => io.close() };
}

test("an administrator announces and reads the node's figures", async () => {
  await using server = await startConsole();
  const admin = connectAdmin({ url: server.url, token: "admin" });
  await recordStates(admin).first(({ state }) => state === "connected");
  expect(await admin.statistics()).toEqual({ users: 2 });
  await admin.announce({ text: "maintenance at noon" });
  expect(server.announced).toEqual([{ text: "maintenance at noon" }]);
  admin.close();
  await expect(admin.statistics()).rejects.toMatchObject({ code: "disconnected" });
});

test("anyone else is refused for good", async () => {
  await using server = await startConsole();
  const admin = connectAdmin({ url: server.url, token: "user" });
  const closed = await recordStates(admin).first(({ state }) => state === "closed");
  expect(closed).toMatchObject({ verdict: { code: "forbidden" } });
});
