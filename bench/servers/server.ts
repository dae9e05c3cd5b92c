import type { ComingBack } from "../../packages/server/src/load/past.ts";
import type { Cores } from "../machine/pin.ts";
import type { CommitTimes } from "./metrics.ts";
import type { LoopDelay, Memory } from "./process.ts";

export interface ServerOptions {
  readonly cores: Cores;
  readonly secret: string;
  /** An empty directory of this run, on a disk. */
  readonly directory: string;
  /** The workload sends more per connection than a server's limits for real users allow. */
  readonly raiseRateLimits: boolean;
  /** Nodes of one cluster, all on the same cores. */
  readonly nodes: number;
  /** Processes behind the one port of each node; 1: the node is one. */
  readonly workers: number;
  /** Postgres is as it is after a while of use: figures need that, a short run does not. */
  readonly usedServices: boolean;
}

/** One process that clients connect to. */
export interface ServerNode {
  readonly host: string;
  readonly port: number;
  readonly pid: number;
  /** Why the process ended by itself, if it did. */
  readonly ended: string | undefined;
  /** From here on its event loop is watched, until `loopDelay` is asked for. */
  watchLoop(): Promise<void>;
  loopDelay(): Promise<LoopDelay>;
}

/** The first node's address and process are the server's own. */
export interface RunningServer extends Pick<ServerNode, "host" | "port" | "pid" | "ended">, AsyncDisposable {
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

export interface ServerKind {
  readonly name: string;
  /** What it is and what it keeps, for the table. */
  readonly title: string;
  /** Deliveries carry a gapless `seq`. */
  readonly sequenced: boolean;
  /** Messages of one sender in one room are delivered in the order of sending. */
  readonly ordered: boolean;
  /** An acknowledgement means that the message is on disk. */
  readonly durable: boolean;
  /** How its clients go on after their connection was lost. */
  readonly comesBack: ComingBack;
  /** It knows long polling, which stock clients begin with. */
  readonly polling: boolean;
  /** Nodes that it can run as; 1: it knows no other node. */
  readonly nodesMax: number;
  /** It can run as several processes behind one port. */
  readonly workers?: true;
  /** Why it cannot run here, which the table then says; `undefined` when it can. */
  missing(): string | undefined;
  start(options: ServerOptions): Promise<RunningServer>;
}
