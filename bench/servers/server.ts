import type { Cores } from "../machine/pin.ts";
import type { CommitTimes } from "./metrics.ts";
import type { Memory } from "./process.ts";

export interface ServerOptions {
  readonly cores: Cores;
  readonly secret: string;
  /** An empty directory of this run, on a disk. */
  readonly directory: string;
  /** The workload sends more per connection than a server's limits for real users allow. */
  readonly raiseRateLimits: boolean;
  /** Nodes of one cluster, all on the same cores. */
  readonly nodes: number;
}

/** One process that clients connect to. */
export interface ServerNode {
  readonly host: string;
  readonly port: number;
  readonly pid: number;
  /** Why the process ended by itself, if it did. */
  readonly ended: string | undefined;
}

/** The first node's address and process are the server's own. */
export interface RunningServer extends ServerNode, AsyncDisposable {
  readonly nodes: readonly ServerNode[];
  readonly command: string;
  readonly versions: Readonly<Record<string, string>>;
  /** What differs from the server's production defaults, each as a line to print beside the figures. */
  readonly settings: readonly string[];
  memory(): Promise<Memory>;
  /** Makes rooms that every authenticated user may read and write. */
  makeRooms(names: readonly string[]): Promise<void>;
  /** How long the store's commits took so far, where the server tells. */
  commitTimes(): Promise<CommitTimes | undefined>;
  /**
   * Kills the first node (SIGKILL) and gives one that its clients can go to: another of the cluster, or, where it stood
   * alone, a new process on what the killed one left behind.
   */
  loseFirst(): Promise<ServerNode>;
}

/**
 * How a client of this server goes on after its connection was lost. `positions`: it says what it has of each room;
 * `session`: Socket.IO's connection state recovery; `none`: it joins anew.
 */
export type Return = "positions" | "session" | "none";

export interface ServerKind {
  readonly name: string;
  /** What it is and what it keeps, for the table. */
  readonly title: string;
  /** Deliveries carry a gapless `seq`. */
  readonly sequenced: boolean;
  /** An acknowledgement means that the message is on disk. */
  readonly durable: boolean;
  readonly comesBack: Return;
  /** Nodes that it can run as; 1: it knows no other node. */
  readonly nodesMax: number;
  /** Why it cannot run here, which the table then says; `undefined` when it can. */
  missing(): string | undefined;
  start(options: ServerOptions): Promise<RunningServer>;
}
