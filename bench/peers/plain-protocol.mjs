// What the plain WebSocket peers speak: the text packets of a Socket.IO client, read and written by hand, so that the same
// generator can talk to them and their cost is the socket's and the fan-out's. They check the token's signature.
import { createHmac, randomUUID, timingSafeEqual } from "node:crypto";

const secret = process.env["BENCH_SECRET"];

export const openPacket =
  '0{"sid":"plain","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}';

/**
 * Handles one packet of a client. `peer.userId` is set by CONNECT; `act` has `send(text)`, `join(room)`, `publish(room, text)`.
 */
export function onPacket(peer, packet, act) {
  if (packet.startsWith("42")) onEvent(peer, packet, act);
  else if (packet.startsWith("40")) {
    peer.userId = userOf(JSON.parse(packet.slice(2)).token);
    act.send(peer.userId === undefined ? '44{"message":"unauthorized"}' : `40{"sid":"${randomUUID()}"}`);
  }
}

function onEvent(peer, packet, act) {
  const start = packet.indexOf("[");
  const id = packet.slice(2, start);
  const [event, argument] = JSON.parse(packet.slice(start));
  if (peer.userId === undefined) return;
  if (event === "join_room") {
    act.join(argument);
    act.send(`43${id}[{"ok":true}]`);
    return;
  }
  const { roomId, text, clientId } = argument;
  const message = {
    id: randomUUID(),
    roomId,
    userId: peer.userId,
    text,
    createdAt: new Date().toISOString(),
    clientId,
  };
  act.publish(roomId, `42["new_message",${JSON.stringify(message)}]`);
  act.send(`43${id}[{"ok":true,"id":"${message.id}"}]`);
}

function userOf(token) {
  const [head = "", body = "", signature = ""] = String(token).split(".");
  const expected = createHmac("sha256", secret).update(`${head}.${body}`).digest();
  const given = Buffer.from(signature, "base64url");
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
  return JSON.parse(Buffer.from(body, "base64url").toString()).sub;
}
