// Plain `ws` as well as it goes without queues of one's own: each message's frame is made once and written to all members.
// usage: BENCH_SECRET=… node ws-server.mjs; prints {"ready":true,"port":…,"pid":…}
import { createServer } from "node:http";
import { Sender, WebSocketServer } from "ws";
import { onPacket, openPacket } from "./plain-protocol.mjs";

const rooms = new Map();
const server = createServer();
const webSockets = new WebSocketServer({ server, perMessageDeflate: false });

webSockets.on("connection", (webSocket, { socket }) => {
  const peer = { userId: undefined };
  const joined = new Set();
  const act = {
    send: (text) => webSocket.send(text),
    join(name) {
      const members = rooms.get(name) ?? new Set();
      rooms.set(name, members.add(socket));
      joined.add(members);
    },
    publish(name, text) {
      const payload = Buffer.from(text);
      const options = { fin: true, rsv1: false, opcode: 1, mask: false, readOnly: false };
      const frame = Buffer.concat(Sender.frame(payload, options));
      for (const member of rooms.get(name) ?? []) member.write(frame);
    },
  };
  webSocket.on("message", (data) => onPacket(peer, data instanceof Buffer ? data.toString() : "", act));
  webSocket.on("close", () => {
    for (const members of joined) members.delete(socket);
  });
  webSocket.on("error", () => webSocket.terminate());
  webSocket.send(openPacket);
});

server.listen(0, "127.0.0.1", () => {
  console.log(JSON.stringify({ ready: true, port: server.address().port, pid: process.pid }));
});
process.on("SIGTERM", () => process.exit(0));
