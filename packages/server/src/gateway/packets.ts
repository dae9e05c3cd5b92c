import { Decoder, Encoder, type Packet as ParsedPacket, PacketType } from "socket.io-parser";
import { passingFrame, textFrame } from "../core/frame.ts";
import type { GatewaySettings } from "./settings.ts";

/** A Socket.IO packet from a client. `id`: of the acknowledgement that is asked for (event) or given (ack). */
export type Packet =
  | { readonly type: "connect"; readonly namespace: string; readonly auth: Readonly<Record<string, unknown>> }
  | { readonly type: "disconnect"; readonly namespace: string }
  | { readonly type: "event"; readonly namespace: string; readonly id: number | null; readonly args: unknown[] }
  | { readonly type: "ack"; readonly namespace: string; readonly id: number; readonly args: unknown[] };

/** A binary packet whose attachments follow it. */
export interface BinaryPacket {
  readonly text: string;
  readonly expected: number;
  readonly attachments: Buffer[];
  /** Of the text, in UTF-16 units, and of the attachments. */
  bytes: number;
}

export type PacketLimits = Pick<
  GatewaySettings,
  "attachmentsMax" | "attachmentBytesMax" | "namespaceLengthMax" | "packetDepthMax"
>;

/** Names that Socket.IO's own events have; refused from clients, as its parser does. */
const reservedNames: ReadonlySet<string> = new Set([
  "connect",
  "connect_error",
  "disconnect",
  "disconnecting",
  "newListener",
  "removeListener",
]);

const slash = 0x2f;
const dash = 0x2d;
/** First character of a Socket.IO packet, as a character code. */
const packetType = {
  connect: 0x30,
  disconnect: 0x31,
  event: 0x32,
  ack: 0x33,
  binaryEvent: 0x35,
  binaryAck: 0x36,
} as const;
const digit0 = 0x30;
const digit9 = 0x39;
/** Digits of an acknowledgement id that always fit a safe integer. */
const idDigitsMax = 15;

/** Parses a packet that came as text alone. Null: malformed. */
export function parsePacket(text: string, limits: PacketLimits): Packet | null {
  const kind = text.charCodeAt(0);
  let at = 1;
  let namespace = "/";
  if (text.charCodeAt(1) === slash) {
    const comma = text.indexOf(",", 1);
    const end = comma < 0 ? text.length : comma;
    if (end - 1 > limits.namespaceLengthMax) return null;
    namespace = text.slice(1, end);
    at = comma < 0 ? end : end + 1;
  }
  const idAt = at;
  while (isDigit(text.charCodeAt(at))) at++;
  if (at - idAt > idDigitsMax || exceedsDepth(text, at, limits.packetDepthMax)) return null;
  const id = at === idAt ? null : Number(text.slice(idAt, at));
  const json = text.slice(at);
  switch (kind) {
    case packetType.connect:
      return id === null ? connectPacket(namespace, json) : null;
    case packetType.disconnect:
      return id === null && json === "" ? { type: "disconnect", namespace } : null;
    case packetType.event:
      return eventPacket(namespace, id, parseJson(json));
    case packetType.ack:
      return ackPacket(namespace, id, parseJson(json));
    default:
      return null;
  }
}

function isDigit(code: number): boolean {
  return code >= digit0 && code <= digit9;
}

function connectPacket(namespace: string, json: string): Packet | null {
  if (json === "") return { type: "connect", namespace, auth: {} };
  const auth = parseJson(json);
  return isRecord(auth) ? { type: "connect", namespace, auth } : null;
}

function eventPacket(namespace: string, id: number | null, args: unknown): Packet | null {
  if (!Array.isArray(args)) return null;
  const list: unknown[] = args;
  const [name] = list;
  if (typeof name !== "string" || reservedNames.has(name)) return null;
  return { type: "event", namespace, id, args: list };
}

function ackPacket(namespace: string, id: number | null, args: unknown): Packet | null {
  return id !== null && Array.isArray(args) ? { type: "ack", namespace, id, args } : null;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Undefined, which no JSON text means, when it is none. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

// Why on the text: what walks over a value later recurses, and must not be led deeper than its stack.
function exceedsDepth(text: string, from: number, depthMax: number): boolean {
  if (text.length - from <= depthMax) return false;
  let depth = 0;
  let inString = false;
  for (let at = from; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (inString) {
      if (code === 0x5c) at++;
      else if (code === 0x22) inString = false;
    } else if (code === 0x22) {
      inString = true;
    } else if (code === 0x5b || code === 0x7b) {
      depth++;
      if (depth > depthMax) return true;
    } else if (code === 0x5d || code === 0x7d) {
      depth--;
    }
  }
  return false;
}

/** The namespace of a packet, as far as it can be told without parsing the rest. */
export function namespaceOf(text: string): string {
  let at = 1;
  if (isBinaryPacket(text)) at = text.indexOf("-") + 1;
  if (text.charCodeAt(at) !== slash) return "/";
  const comma = text.indexOf(",", at);
  return text.slice(at, comma < 0 ? text.length : comma);
}

/** Whether a packet that Parley does not parse itself is fit to be handed on. */
export function isBounded(text: string, namespace: string, limits: PacketLimits): boolean {
  return namespace.length <= limits.namespaceLengthMax && !exceedsDepth(text, 1, limits.packetDepthMax);
}

export function isBinaryPacket(text: string): boolean {
  const kind = text.charCodeAt(0);
  return kind === packetType.binaryEvent || kind === packetType.binaryAck;
}

/** Begins a binary packet. Null: malformed, or more attachments than allowed. */
export function startBinaryPacket(text: string, limits: PacketLimits): BinaryPacket | null {
  let at = 1;
  while (isDigit(text.charCodeAt(at))) at++;
  if (at === 1 || at > 4 || text.charCodeAt(at) !== dash) return null;
  const expected = Number(text.slice(1, at));
  if (expected < 1 || expected > limits.attachmentsMax) return null;
  if (exceedsDepth(text, at + 1, limits.packetDepthMax)) return null;
  return { text, expected, attachments: [], bytes: text.length };
}

/** Puts a complete binary packet together. Null: malformed, or its placeholders do not fit its attachments. */
export function parseBinaryPacket(packet: BinaryPacket, limits: PacketLimits): Packet | null {
  const parsed: ParsedPacket[] = [];
  const decoder = new Decoder({ maxAttachments: limits.attachmentsMax });
  decoder.on("decoded", (decoded) => parsed.push(decoded));
  try {
    decoder.add(packet.text);
    for (const attachment of packet.attachments) decoder.add(attachment);
  } catch {
    return null;
  } finally {
    decoder.destroy();
  }
  const [whole] = parsed;
  if (whole === undefined || whole.nsp.length > limits.namespaceLengthMax) return null;
  if (whole.id !== undefined && !Number.isSafeInteger(whole.id)) return null;
  const args: unknown = whole.data;
  if (whole.type === PacketType.EVENT) return eventPacket(whole.nsp, whole.id ?? null, args);
  return ackPacket(whole.nsp, whole.id ?? null, args);
}

function prefix(kind: string, namespace: string): string {
  return namespace === "/" ? `4${kind}` : `4${kind}${namespace},`;
}

export function encodeConnect(namespace: string, sid: string, pid: string | null): readonly Buffer[] {
  const body = JSON.stringify(pid === null ? { sid } : { sid, pid });
  return [textFrame(prefix("0", namespace) + body)];
}

export function encodeConnectError(namespace: string, message: string, data?: unknown): readonly Buffer[] {
  return [textFrame(prefix("4", namespace) + JSON.stringify({ message, data }))];
}

export function encodeDisconnect(namespace: string): readonly Buffer[] {
  return [textFrame(prefix("1", namespace))];
}

/** `args[0]` is the event's name. Errors: throws what `JSON.stringify` throws, for cycles for example. */
export function encodeEvent(namespace: string, args: readonly unknown[]): readonly Buffer[] {
  if (hasBinary(args, 0)) return encodeBinary({ type: PacketType.EVENT, nsp: namespace, data: args });
  return [textFrame(prefix("2", namespace) + JSON.stringify(args))];
}

/** Errors: as `encodeEvent`. */
export function encodeAck(namespace: string, id: number, args: readonly unknown[]): readonly Buffer[] {
  if (hasBinary(args, 0)) return encodeBinary({ type: PacketType.ACK, nsp: namespace, data: args, id });
  return [passingFrame(`${prefix("3", namespace)}${id}${JSON.stringify(args)}`)];
}

const encoder = new Encoder();

function encodeBinary(packet: ParsedPacket): readonly Buffer[] {
  const parts: unknown[] = encoder.encode(packet);
  return parts.map((part) => (typeof part === "string" ? textFrame(`4${part}`) : binaryFrame(bytesOf(part))));
}

/** Errors: throws for what is no buffer, a `Blob` for example. */
export function bytesOf(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  throw new TypeError("this kind of binary argument cannot be sent");
}

/** One binary frame. Copies, so that its maker may change the data afterwards. */
export function binaryFrame(data: Uint8Array): Buffer {
  const { length } = data;
  const header = length < 126 ? 2 : length < 65_536 ? 4 : 10;
  const frame = Buffer.allocUnsafeSlow(header + length);
  frame[0] = 0x82;
  if (header === 2) {
    frame[1] = length;
  } else if (header === 4) {
    frame[1] = 126;
    frame.writeUInt16BE(length, 2);
  } else {
    frame[1] = 127;
    frame.writeBigUInt64BE(BigInt(length), 2);
  }
  frame.set(data, header);
  return frame;
}

const depthOfArguments = 1_000;

function hasBinary(value: unknown, depth: number): boolean {
  if (typeof value !== "object" || value === null) return false;
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return true;
  // Why: a cycle, or what comes close to one. `JSON.stringify` says so better.
  if (depth > depthOfArguments) return false;
  if (Array.isArray(value)) return value.some((item) => hasBinary(item, depth + 1));
  for (const item of Object.values(value)) {
    if (hasBinary(item, depth + 1)) return true;
  }
  return false;
}
