/** Bounds and times of the gateway. Every queue that a client can fill has its bound here. */
export interface GatewaySettings {
  readonly pingIntervalMs: number;
  readonly pingTimeoutMs: number;
  /** A connection that joins no namespace within it is closed. */
  readonly connectTimeoutMs: number;
  /** A WebSocket that was opened to upgrade a polling connection and does not finish within it is closed. */
  readonly upgradeTimeoutMs: number;
  /** A closed polling connection keeps what its client has not fetched, a last refusal above all, for so long. */
  readonly lingerMs: number;
  /** Bytes that are kept for all such clients together; the oldest are forgotten first. */
  readonly lingeringBytesMax: number;
  /** New connections beyond it are refused with 503, upon which stock clients try again. */
  readonly connectionsMax: number;
  /** UTF-8 bytes of one WebSocket message, and of one POST. Clients are told it as `maxPayload`. */
  readonly payloadBytesMax: number;
  /** Bytes written to a connection and not yet answered for. */
  readonly windowBytes: number;
  /** Attachments of one binary packet, and their bytes together with its text. */
  readonly attachmentsMax: number;
  readonly attachmentBytesMax: number;
  /** Nesting of the JSON of one packet. */
  readonly packetDepthMax: number;
  readonly namespaceLengthMax: number;
  /** Namespaces of one connection. */
  readonly namespacesMax: number;
  /** Packets of one connection, and their bytes, that wait while a handler is busy or the window is half full. */
  readonly pendingRequestsMax: number;
  readonly pendingRequestBytesMax: number;
  /** WebSocket control frames and Engine.IO packets that carry nothing, between two visits of the heartbeat. */
  readonly idlePacketsMax: number;
  /**
   * Origins whose pages may connect, as `https://chat.example.org`; `*` lets every page do so. Requests without an
   * `Origin` (no browser sends those across origins) and pages of this very host are always let in.
   */
  readonly origins: "*" | readonly string[];
  /** Pages of this very machine may connect, whatever their port (development). */
  readonly localOrigins: boolean;
}

export const defaultGatewaySettings: GatewaySettings = {
  pingIntervalMs: 25_000,
  pingTimeoutMs: 20_000,
  connectTimeoutMs: 45_000,
  upgradeTimeoutMs: 10_000,
  lingerMs: 30_000,
  lingeringBytesMax: 16_777_216,
  connectionsMax: 100_000,
  payloadBytesMax: 1_000_000,
  windowBytes: 262_144,
  attachmentsMax: 10,
  attachmentBytesMax: 4_000_000,
  packetDepthMax: 128,
  namespaceLengthMax: 256,
  namespacesMax: 16,
  pendingRequestsMax: 1_024,
  pendingRequestBytesMax: 1_048_576,
  idlePacketsMax: 2_000,
  origins: "*",
  localOrigins: false,
};
