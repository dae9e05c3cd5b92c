import { timingSafeEqual } from "node:crypto";
import { ByteReader, ByteWriter, GarbageError } from "./redis-bytes.ts";
import { HmacSha256 } from "./redis-hmac.ts";
import type { BusMessage } from "./messages.ts";
import { decodeMessage, encodeMessage } from "./redis-messages.ts";

/** Why a message was not taken. `newer`: of a later version of this server; what it says is found in the journal. */
export type Refused = "garbage" | "forged" | "newer";

export type Opened =
  | { readonly ok: true; readonly message: BusMessage }
  | { readonly ok: false; readonly reason: Refused };

export type OpenedBytes =
  | { readonly ok: true; readonly body: Buffer }
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
  readonly #hmac: HmacSha256;
  readonly #node: string;
  /** What stands behind the seal in all that this node publishes. */
  readonly #ownStart: Buffer;

  constructor(secret: string, node: string) {
    this.#hmac = new HmacSha256(secret);
    this.#node = node;
    this.#ownStart = Buffer.from(this.#begin().bytes().subarray(sealBytes));
  }

  /**
   * Whether a message says that it is this node's own. Redis gives those back, and to open them would
   * cost as much as to make them. They are dropped, so nobody gains by a lie.
   */
  isOwn(bytes: Buffer): boolean {
    return bytes.subarray(sealBytes, sealBytes + this.#ownStart.length).equals(this.#ownStart);
  }

  close(channel: string, message: BusMessage): Buffer {
    const writer = this.#begin();
    encodeMessage(message, writer);
    return this.#finish(channel, writer.bytes());
  }

  /** As `close`, for what somebody else has encoded. */
  closeBytes(channel: string, body: Buffer): Buffer {
    return this.#finish(channel, Buffer.concat([this.#begin().bytes(), body]));
  }

  /** Errors: none; what is wrong with the bytes is the result. */
  open(channel: string, bytes: Buffer): Opened {
    const refused = this.#refusal(channel, bytes);
    if (refused !== null) return { ok: false, reason: refused };
    try {
      const reader = new ByteReader(bytes, sealBytes + 1);
      reader.text();
      return { ok: true, message: decodeMessage(reader) };
    } catch (error) {
      if (error instanceof GarbageError) return { ok: false, reason: "garbage" };
      throw error;
    }
  }

  /** What was given to `closeBytes`. Errors: none, as `open`. */
  openBytes(channel: string, bytes: Buffer): OpenedBytes {
    const refused = this.#refusal(channel, bytes);
    if (refused !== null) return { ok: false, reason: refused };
    try {
      const reader = new ByteReader(bytes, sealBytes + 1);
      reader.text();
      return { ok: true, body: reader.rest() };
    } catch (error) {
      if (error instanceof GarbageError) return { ok: false, reason: "garbage" };
      throw error;
    }
  }

  #begin(): ByteWriter {
    const writer = new ByteWriter();
    for (let place = 0; place < sealBytes; place += 1) writer.byte(0);
    writer.byte(version);
    writer.text(this.#node);
    return writer;
  }

  #finish(channel: string, bytes: Buffer): Buffer {
    this.#sign(channel, bytes).copy(bytes, 0, 0, sealBytes);
    return bytes;
  }

  #refusal(channel: string, bytes: Buffer): Refused | null {
    const found = bytes[sealBytes];
    if (found === undefined) return "garbage";
    const signature = this.#sign(channel, bytes).subarray(0, sealBytes);
    if (!timingSafeEqual(signature, bytes.subarray(0, sealBytes))) return "forged";
    return found > version ? "newer" : null;
  }

  #sign(channel: string, bytes: Buffer): Buffer {
    return this.#hmac.digest(channel, bytes.subarray(sealBytes));
  }
}
