import { createHmac, timingSafeEqual } from "node:crypto";
import { ByteReader, ByteWriter, GarbageError } from "./redis-bytes.ts";
import { type BusMessage, decodeMessage, encodeMessage } from "./redis-messages.ts";

/** Why a message was not taken. `newer`: of a later version of this server; what it says is found in the journal. */
export type Refused = "garbage" | "forged" | "newer";

export type Opened =
  | { readonly ok: true; readonly from: string; readonly message: BusMessage }
  | { readonly ok: false; readonly reason: Refused };

/** Version of the messages that this server writes; it reads no later one. */
const version = 1;
const sealBytes = 16;

/**
 * Makes and opens what is published: 16 bytes of an HMAC, the version, the sender, the message.
 *
 * Why the channel is sealed, too: a message that is copied to another channel, or into another cluster with the same
 * secret, is worth nothing there.
 */
export class Seal {
  readonly #secret: string;
  readonly #node: string;

  constructor(secret: string, node: string) {
    this.#secret = secret;
    this.#node = node;
  }

  close(channel: string, message: BusMessage): Buffer {
    const writer = new ByteWriter();
    for (let place = 0; place < sealBytes; place += 1) writer.byte(0);
    writer.byte(version);
    writer.text(this.#node);
    encodeMessage(message, writer);
    const bytes = writer.bytes();
    this.#sign(channel, bytes).copy(bytes, 0, 0, sealBytes);
    return bytes;
  }

  /** Errors: none; what is wrong with the bytes is the result. */
  open(channel: string, bytes: Buffer): Opened {
    const found = bytes[sealBytes];
    if (found === undefined) return { ok: false, reason: "garbage" };
    const signature = this.#sign(channel, bytes).subarray(0, sealBytes);
    if (!timingSafeEqual(signature, bytes.subarray(0, sealBytes))) return { ok: false, reason: "forged" };
    if (found > version) return { ok: false, reason: "newer" };
    try {
      const reader = new ByteReader(bytes, sealBytes + 1);
      return { ok: true, from: reader.text(), message: decodeMessage(reader) };
    } catch (error) {
      if (error instanceof GarbageError) return { ok: false, reason: "garbage" };
      throw error;
    }
  }

  #sign(channel: string, bytes: Buffer): Buffer {
    return createHmac("sha256", this.#secret).update(channel).update("\0").update(bytes.subarray(sealBytes)).digest();
  }
}
