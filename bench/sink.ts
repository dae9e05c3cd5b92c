// The sink: the cheapest thing that a client can talk to. It parses no more than it must, and sends frames that were made
// ready beforehand, so what limits a run against it is the generator. Its figures stand beside every table.
// usage: node bench/sink.ts; prints {"ready":true,"port":…,"pid":…}
import { createHash } from "node:crypto";
import { createServer, type Socket } from "node:net";
import { markerText } from "../packages/server/src/load/marker.ts";

const framesPerBlock = 200;

interface Peer {
  readonly socket: Socket;
  joined: boolean;
}

const peers = new Set<Peer>();
let streaming: "off" | "coalesced" | "single" = "off";
let sent = 0;

function serverFrame(payload: Buffer | string): Buffer {
  const body = Buffer.from(payload);
  const header =
    body.length < 126
      ? Buffer.from([0x81, body.length])
      : Buffer.from([0x81, 126, body.length >> 8, body.length & 255]);
  return Buffer.concat([header, body]);
}

/** The next frames of the one room, as large as a message of 100 characters is on Parley's wire. */
function frames(count: number): Buffer {
  const made: Buffer[] = [];
  const stampMicros = 0;
  for (let index = 0; index < count; index += 1) {
    const text = markerText(0, sent, stampMicros).padEnd(100, "x");
    const message = {
      id: "01890a5d-ac96-774b-bcce-b302099a8057",
      roomId: "room-00000",
      seq: sent + 1,
      userId: "user-00000",
      text,
    };
    const payload = { ...message, createdAt: "2026-01-01T00:00:00.000Z", clientId: `bench-0-${sent}` };
    made.push(
      serverFrame(`42["new_message",${JSON.stringify(payload)},"default/room-00000:0123456789ab:${sent + 1}"]`),
    );
    sent += 1;
  }
  return Buffer.concat(made);
}

/** One block to everyone, the next when everyone's socket has taken it: no queue grows. */
async function stream(mode: "coalesced" | "single"): Promise<void> {
  streaming = mode;
  sent = 0;
  while (streaming === mode) {
    const block = frames(mode === "coalesced" ? framesPerBlock : 1);
    const joined = [...peers].filter((peer) => peer.joined);
    await Promise.all(joined.flatMap(({ socket }) => (socket.write(block) ? [] : [drained(socket)])));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function drained(socket: Socket): Promise<unknown> {
  return new Promise((resolve) => {
    socket.once("drain", resolve);
    socket.once("close", resolve);
  });
}

function onPacket(peer: Peer, packet: string): void {
  if (packet.startsWith("40")) {
    peer.socket.write(serverFrame('40{"sid":"sink"}'));
    return;
  }
  const event = /^42(\d+)\["(\w+)",("(\w+)")?/.exec(packet);
  if (event === null) return;
  const [, id, name, , argument] = event;
  if (name === "join_room") peer.joined = true;
  if (name === "stream" && (argument === "coalesced" || argument === "single")) void stream(argument);
  if (name === "stream" && argument === "off") streaming = "off";
  peer.socket.write(serverFrame(`43${id}[{"ok":true,"sent":${sent}}]`));
}

/** Frames of a client: masked, whole, shorter than 64 KB. Returns how many bytes were used up. */
function readFrames(peer: Peer, buffer: Buffer): number {
  let offset = 0;
  while (buffer.length - offset >= 2) {
    const code = (buffer[offset + 1] ?? 0) & 0x7f;
    const header = code < 126 ? 2 : 4;
    if (buffer.length - offset < header) return offset;
    const length = code < 126 ? code : buffer.readUInt16BE(offset + 2);
    const start = offset + header + 4;
    if (buffer.length < start + length) return offset;
    // The head of a packet says what it is; unmasking more would only make the sink slower.
    const head = Buffer.allocUnsafe(Math.min(length, 40));
    for (let index = 0; index < head.length; index += 1) {
      head[index] = (buffer[start + index] ?? 0) ^ (buffer[start - 4 + (index & 3)] ?? 0);
    }
    onPacket(peer, head.toString("latin1"));
    offset = start + length;
  }
  return offset;
}

function accept(peer: Peer, head: string): void {
  const key = /\r\nsec-websocket-key: *(\S+)/i.exec(head)?.[1] ?? "";
  const accepted = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  peer.socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accepted}\r\n\r\n`,
  );
  peer.socket.write(
    serverFrame('0{"sid":"sink","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'),
  );
}

const server = createServer({ noDelay: true }, (socket) => {
  const peer: Peer = { socket, joined: false };
  let rest: Buffer = Buffer.alloc(0);
  let upgraded = false;
  peers.add(peer);
  socket.on("data", (chunk: Buffer) => {
    let received: Buffer = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    if (!upgraded) {
      const end = received.indexOf("\r\n\r\n");
      if (end !== -1) {
        upgraded = true;
        accept(peer, received.toString("latin1", 0, end));
        received = received.subarray(end + 4);
      }
    }
    rest = upgraded ? Buffer.from(received.subarray(readFrames(peer, received))) : received;
  });
  socket.on("error", () => socket.destroy());
  socket.on("close", () => {
    peers.delete(peer);
  });
});

server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  console.log(JSON.stringify({ ready: true, port, pid: process.pid }));
});
