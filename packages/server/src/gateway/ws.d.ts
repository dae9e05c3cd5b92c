import type { Duplex } from "node:stream";

// What `ws` exports and its types lack.
declare module "ws" {
  /** Writes frames of its own making to a socket. */
  export const Sender: new (wire: Duplex | null) => object;
}
