import type { Refusal } from "@parley/protocol";
import type { CloseReason, Connection } from "./connection.ts";
import type { Handshake } from "./handshake.ts";

/** What answers the clients of one namespace. */
export interface NamespaceHandler {
  /** What it throws is logged, and closes the transport: the client returns by itself. */
  connect(request: ConnectRequest): ConnectVerdict | Promise<ConnectVerdict>;
}

/** A client asks to join a namespace. */
export interface ConnectRequest {
  readonly connection: Connection;
  readonly namespace: string;
  /** The JSON object that the client sent with it, `{}` without. */
  readonly auth: Readonly<Record<string, unknown>>;
  readonly handshake: Handshake;
  /** The client's end of the namespace, for what is sent later. Says nothing before the verdict. */
  readonly client: NamespaceClient;
  /** The client went away while the verdict was pending. A promise that is kept nevertheless does no harm. */
  readonly signal: AbortSignal;
}

export type ConnectVerdict =
  /** `pid` is for connection state recovery; null without. */
  | { readonly kind: "accepted"; readonly sid: string; readonly pid: string | null; readonly socket: NamespaceSocket }
  /** For good: stock clients do not come back after it. */
  | { readonly kind: "refused"; readonly message: string; readonly data: Refusal }
  /** Not now: the transport is closed, stock clients come back by themselves. */
  | { readonly kind: "later"; readonly reason: CloseReason };

/** One client in one namespace, as the gateway drives it. */
export interface NamespaceSocket {
  /** Called once, just after the answer to CONNECT was written. */
  opened(): void;
  /**
   * `args[0]` is the event's name, a string. While the promise is pending, later packets of the connection wait.
   * What it throws is logged and answered with `internal`.
   */
  onEvent(args: unknown[], reply: Reply | null): void | Promise<void>;
  /** Takes the frames of replies and emits, to write them with what else is due. Without it they are written at once. */
  write?(frames: readonly Buffer[]): void;
  /** An acknowledgement of an event that was sent with `id`. */
  onAck?(id: number, args: unknown[]): void;
  onPinged(): void;
  onAnswered(): void;
  /** Called once, also when the client went away before `opened`. Nothing follows. */
  onDisconnected(reason: CloseReason | "client_left"): void;
}

/** Acknowledges an event. The first call counts; after the client has left, none does. */
export type Reply = (...args: unknown[]) => void;

/** How a handler reaches one client in one namespace. */
export interface NamespaceClient {
  readonly connection: Connection;
  readonly namespace: string;
  /**
   * Sends an event outside of any window: at once, or with what else is due where the socket has a `write`. Arguments may
   * hold buffers.
   */
  emit(event: string, ...args: unknown[]): void;
  /** Sends DISCONNECT, for verdicts only: stock clients do not come back after it. Tells the socket `reason`. */
  disconnect(reason: CloseReason): void;
}

export type Log = (event: string, fields: Readonly<Record<string, string | number | boolean | null>>) => void;
