import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";

/** The other processes of this machine that serve clients on the same port: a request may come in at the wrong one. */
export interface Neighbours {
  /** Begins the id of each connection that this process makes. */
  readonly mark: string;
  /**
   * Gives a request, with its TCP connection, to the process that made the connection `sid`; nothing is to be answered
   * here then. False: it is none of another process, or it came before an earlier one was answered.
   */
  giveRequest(sid: string, request: IncomingMessage, response: ServerResponse): boolean;
  /** False also when too many are being given away. */
  giveUpgrade(sid: string, request: IncomingMessage, wire: Duplex, head: Buffer): boolean;
}
