import type { IncomingMessage } from "node:http";
import { payloadsOf } from "../core/frame.ts";
import type { TransportOwner } from "./transport.ts";

/** Separates the packets of a polling payload; one byte that no other character holds. */
const separator = Buffer.from("\u001e");
const binaryMark = 0x62;
const base64 = /^[A-Za-z0-9+/]*={0,2}$/;

/** Ready frames as a polling payload: text as it is, binary as `b` and base64. */
export function encodePayload(frames: readonly Buffer[]): Buffer {
  const parts: Buffer[] = [];
  for (const frame of frames) {
    for (const { opcode, payload } of payloadsOf(frame)) {
      if (parts.length > 0) parts.push(separator);
      parts.push(opcode === 2 ? Buffer.from(`b${payload.toString("base64")}`) : payload);
    }
  }
  return Buffer.concat(parts);
}

/**
 * Hands the packets of a payload on, in order, until one of them ends the transport (`isOpen`).
 *
 * Why each is decoded by itself: cut out of one long text it would keep all of that text alive for as long as it waits.
 */
export function decodePayload(body: Buffer, owner: TransportOwner, isOpen: () => boolean): void {
  for (let from = 0; from <= body.length && isOpen(); ) {
    const found = body.indexOf(separator, from);
    const to = found < 0 ? body.length : found;
    decodePacket(body.subarray(from, to), owner);
    from = to + 1;
  }
}

function decodePacket(packet: Buffer, owner: TransportOwner): void {
  const type = packet[0] ?? 0;
  const text = decodeText(packet.subarray(1));
  if (text === null) owner.onText(0, "");
  else if (type !== binaryMark) owner.onText(type, text);
  else if (base64.test(text)) owner.onBinary(Buffer.from(text, "base64"));
  else owner.onText(0, "");
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function decodeText(bytes: Buffer): string | null {
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}

/**
 * The body of a request, or why there is none: it has more than `bytesMax`, or the client went away.
 *
 * Why one growing buffer: a body in pieces of one byte would otherwise cost a hundred times its size.
 */
export function readBody(request: IncomingMessage, bytesMax: number): Promise<Buffer | "too_large" | "aborted"> {
  return new Promise((resolve) => {
    let body = Buffer.allocUnsafe(Math.min(bytesMax, 1_024));
    let length = 0;
    if (Number(request.headers["content-length"] ?? 0) > bytesMax) {
      resolve("too_large");
      return;
    }
    request.on("data", (chunk: Buffer) => {
      const needed = length + chunk.length;
      if (needed > bytesMax) {
        request.removeAllListeners("data");
        resolve("too_large");
        return;
      }
      if (needed > body.length) {
        const larger = Buffer.allocUnsafe(Math.min(bytesMax, Math.max(needed, body.length * 2)));
        body.copy(larger, 0, 0, length);
        body = larger;
      }
      chunk.copy(body, length);
      length = needed;
    });
    request.on("end", () => resolve(body.subarray(0, length)));
    request.on("close", () => resolve("aborted"));
  });
}
