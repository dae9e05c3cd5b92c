// Bun's own WebSocket server and its native publish.
// usage: BENCH_SECRET=… bun bun-server.mjs; prints {"ready":true,"port":…,"pid":…}; on SIGUSR2 what memory it holds
import { onPacket, openPacket } from "./plain-protocol.mjs";

const server = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  fetch(request, upgrading) {
    return upgrading.upgrade(request, { data: { userId: undefined } }) ? undefined : new Response("", { status: 426 });
  },
  websocket: {
    idleTimeout: 0,
    open(webSocket) {
      webSocket.data.act = {
        send: (text) => webSocket.send(text),
        join: (name) => webSocket.subscribe(name),
        publish: (name, text) => server.publish(name, text),
      };
      webSocket.send(openPacket);
    },
    message(webSocket, packet) {
      onPacket(webSocket.data, packet, webSocket.data.act);
    },
  },
});

process.on("SIGUSR2", () => {
  Bun.gc(true);
  console.log(JSON.stringify({ benchMemory: process.memoryUsage() }));
});
process.on("SIGTERM", () => process.exit(0));
console.log(JSON.stringify({ ready: true, port: server.port, pid: process.pid }));
