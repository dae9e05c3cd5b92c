import type { CloseReason } from "./connection.ts";

/**
 * One way to carry Engine.IO packets of a connection: a WebSocket, or HTTP long-polling. A connection has one at a
 * time, and changes it once at most.
 */
export interface Transport {
  readonly name: "websocket" | "polling";
  /** Bytes that were written and that the kernel (polling: a GET) has not yet taken. */
  bufferedBytes(): number;
  /** Ready frames, in order, as one write. Does nothing once the end began. */
  write(frames: readonly Buffer[]): void;
  /** Ends it. Nothing is reported to the owner after it. */
  end(how: Ending): void;
}

/**
 * `orderly`: after what was written has gone out. `refused`: as well, but nothing is kept for a client that broke the
 * rules. `abort`: at once, for one that is gone.
 */
export type Ending = "orderly" | "refused" | "abort";

/** Who gets what a transport reads: a connection, or the probe of an upgrade. */
export interface TransportOwner {
  /** One Engine.IO packet in text: the code of its first character (0 when it is empty), and what follows it. */
  onText(type: number, body: string): void;
  /** One binary message. The buffer belongs to the owner. */
  onBinary(data: Buffer): void;
  /** The transport ended without being told to. Called once, and not after `end`. */
  onTransportClosed(reason: CloseReason): void;
}

/** Codes of the first character of an Engine.IO packet. */
export const packetType = {
  open: 0x30,
  close: 0x31,
  ping: 0x32,
  pong: 0x33,
  message: 0x34,
  upgrade: 0x35,
  noop: 0x36,
} as const;
