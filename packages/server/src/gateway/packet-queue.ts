import type { BinaryPacket } from "./packets.ts";
import type { GatewaySettings } from "./settings.ts";

/** Packets of one connection that wait, as they came: what they hold is taken apart when their turn comes. */
export class PacketQueue {
  readonly #limits: Pick<GatewaySettings, "pendingRequestsMax" | "pendingRequestBytesMax">;
  readonly #packets: { readonly packet: string | BinaryPacket; readonly bytes: number }[] = [];
  #head = 0;
  #bytes = 0;

  constructor(limits: Pick<GatewaySettings, "pendingRequestsMax" | "pendingRequestBytesMax">) {
    this.#limits = limits;
  }

  /** False, and nothing is kept, when it would be too much. One packet alone always fits. */
  push(packet: string | BinaryPacket, bytes: number): boolean {
    const count = this.#packets.length - this.#head;
    if (count >= this.#limits.pendingRequestsMax) return false;
    if (count > 0 && this.#bytes + bytes > this.#limits.pendingRequestBytesMax) return false;
    this.#packets.push({ packet, bytes });
    this.#bytes += bytes;
    return true;
  }

  shift(): string | BinaryPacket | undefined {
    const next = this.#packets[this.#head];
    if (next === undefined) return undefined;
    this.#head++;
    this.#bytes -= next.bytes;
    if (this.#head * 2 > this.#packets.length) {
      this.#packets.splice(0, this.#head);
      this.#head = 0;
    }
    return next.packet;
  }
}
