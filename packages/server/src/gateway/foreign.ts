import type { CloseReason } from "./connection.ts";
import type { EngineConnection } from "./engine-connection.ts";

/** Who answers for the namespaces that are not Parley's, speaking Socket.IO itself: gets their packets as they came. */
export interface ForeignNamespaces {
  /** False as long as nobody has asked for them: then there is no such namespace. */
  isOpen(): boolean;
  /** The first CONNECT of a connection to one of them. */
  attach(connection: EngineConnection): ForeignSide;
}

/** The foreign namespaces of one connection. */
export interface ForeignSide {
  /** It has given the connection up: the next CONNECT begins with a new one. */
  readonly isDetached: boolean;
  /** One packet with all of its attachments. */
  onPacket(namespace: string, text: string, attachments: readonly Buffer[]): void;
  onAnswered(): void;
  onUpgraded(): void;
  onClosed(reason: CloseReason): void;
}
