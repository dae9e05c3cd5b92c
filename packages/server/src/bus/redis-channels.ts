import { createHash } from "node:crypto";
import { type LogId, roomOf } from "../core/log.ts";

const inboxChannels = 1_024;
const digestChannels = 16;
export const slots = 16_384;

/** The names of the channels. Inboxes share some, because there are as many as users; so do digests, for a cluster's balance. */
export class Channels {
  readonly #prefix: string;

  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  /** Nobody listens here: whoever may publish on it may on the others. */
  probe(): string {
    return `${this.#prefix}:probe`;
  }

  /** Where the hints and signals of a log go. */
  log(log: LogId): string {
    if (!roomOf(log).startsWith("@user:")) return `${this.#prefix}:log:${log}`;
    return `${this.#prefix}:inbox:${bucket(log, inboxChannels)}`;
  }

  node(node: string): string {
    return `${this.#prefix}:node:${node}`;
  }

  /** Why by node and not by log: a digest counts as whole, and half of one would hide what the other half brings. */
  digest(node: string): string {
    return `${this.#prefix}:digest:${bucket(node, digestChannels)}`;
  }

  digests(): readonly string[] {
    return Array.from({ length: digestChannels }, (_, index) => `${this.#prefix}:digest:${index}`);
  }
}

function bucket(text: string, count: number): number {
  return createHash("sha256").update(text).digest().readUInt32BE(0) % count;
}

/** The slot of a Redis Cluster that a channel belongs to: CRC16 (XMODEM) of its name, or of the first `{…}` in it. */
export function slotOf(channel: string): number {
  const open = channel.indexOf("{");
  const close = open < 0 ? -1 : channel.indexOf("}", open + 1);
  return crc16(Buffer.from(close > open + 1 ? channel.slice(open + 1, close) : channel)) % slots;
}

function crc16(bytes: Buffer): number {
  let crc = 0;
  for (const byte of bytes) crc = ((crc << 8) & 0xff_ff) ^ (crcTable[((crc >> 8) ^ byte) & 0xff] ?? 0);
  return crc;
}

const crcTable = Uint16Array.from({ length: 256 }, (_, index) => {
  let crc = index << 8;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 0x80_00 ? ((crc << 1) ^ 0x10_21) & 0xff_ff : crc << 1;
  return crc;
});
