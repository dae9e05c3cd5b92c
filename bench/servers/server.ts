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
}

export interface RunningServer extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly pid: number;
  readonly command: string;
  readonly versions: Readonly<Record<string, string>>;
  /** What differs from the server's production defaults, each as a line to print beside the figures. */
  readonly settings: readonly string[];
  /** Why the process ended by itself, if it did. */
  readonly ended: string | undefined;
  memory(): Promise<Memory>;
  /** Makes rooms that every authenticated user may read and write. */
  makeRooms(names: readonly string[]): Promise<void>;
  /** How long the store's commits took so far, where the server tells. */
  commitTimes(): Promise<CommitTimes | undefined>;
}

export interface ServerKind {
  readonly name: string;
  /** What it is and what it keeps, for the table. */
  readonly title: string;
  /** Deliveries carry a gapless `seq`. */
  readonly sequenced: boolean;
  /** An acknowledgement means that the message is on disk. */
  readonly durable: boolean;
  start(options: ServerOptions): Promise<RunningServer>;
}
