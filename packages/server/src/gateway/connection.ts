import type { Millis } from "../core/log.ts";

/**
 * Port: what core and the event handlers see of one client, whatever its transport. In tests, a simulated one.
 *
 * Ready frames are WebSocket frames as the server sends them (`core/frame.ts`); another transport re-encodes them.
 */
export interface Connection {
  readonly id: string;
  /** Bytes that may be written before the window is full. */
  free(): number;
  /**
   * Writes ready frames, in order, as one write. The caller keeps within `free()` for entries and pages; small replies
   * may exceed it. Nothing is written after the close began. Pings early once half of the window is unanswered;
   * `confirms`: as soon as `confirm` does, in the same write if that is now.
   */
  write(frames: readonly Buffer[], confirms?: boolean): void;
  /** Pings now, or as soon as the outstanding ping is answered: what was written until then is soon known to have arrived. */
  confirm(): void;
  /** Ends the Engine.IO connection, upon which stock clients return by themselves. The reason is counted, and logged of those on `/`. */
  close(reason: CloseReason): void;
}

/** What a connection tells its owner. Set before the first byte is read. */
export interface ConnectionEvents {
  /** A Socket.IO packet without its Engine.IO type, as text. */
  onPacket(packet: string): void;
  /** An attachment of the binary packet that came before. */
  onBinary(data: Buffer): void;
  /** A ping is on its way: what was written until now is confirmed by the next `onAnswered`. */
  onPinged(): void;
  /** The ping was answered: all that was written before it has arrived, and the window is free again. */
  onAnswered(): void;
  /** It is not a client's, and stays where clients are moved while the process stays. */
  readonly isOperators?: boolean;
  /** The node takes clients no longer: the client has so long to move to another. */
  onDraining?(withinMs: Millis): void;
  /** The transport has changed, from polling to WebSocket. */
  onUpgraded?(): void;
  onClosed(reason: CloseReason): void;
}

/**
 * Coded, so that nobody reads text to decide; metrics count disconnects by it. `overloaded`: a namespace does not let the
 * client in for now, whatever the cause.
 */
export type CloseReason =
  | "client_closed"
  | "transport_error"
  | "ping_timeout"
  | "parse_error"
  | "payload_too_large"
  | "connect_timeout"
  | "overloaded"
  | "too_many_requests"
  | "superseded"
  | "server_closing"
  | "kicked"
  | "token_expired";

/** Who a socket speaks for, from its verified token or the app's own `authenticate`. */
export interface User {
  readonly id: string;
  readonly tenant: string;
  readonly roles: readonly string[];
  /** When the token ends; null for one that does not, and for guests. */
  readonly expiresAt: Millis | null;
  /** Seconds since 1970; 0 when the token does not say. */
  readonly issuedAt: number;
}
