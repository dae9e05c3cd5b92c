import type { BusMessage } from "./bus/messages.ts";
import type { ToHub } from "./bus/workers.ts";
import type { Config } from "./config.ts";
import type { NodeStatistics } from "./core/operations.ts";
import type { MetricSamples } from "./http/metrics.ts";
import type { SettledCall, StoreAnswer, StoreRequest, UnsentCall } from "./store/remote-calls.ts";

/** What the primary tells a worker. `Answer`: the form that the side at hand sees. */
export type ToWorker<Answer = StoreAnswer> =
  | {
      readonly type: "start";
      /** The id of its node. */
      readonly id: string;
      /** From 0. */
      readonly worker: number;
      /** With the public port that was found. */
      readonly config: Config;
      readonly adminSecret: string;
    }
  /** Whether an administrator has taken it out of service. */
  | { readonly type: "service"; readonly draining: boolean }
  | { readonly type: "store"; readonly answer: Answer }
  | { readonly type: "bus"; readonly message: BusMessage }
  | { readonly type: "measure"; readonly reading: number }
  | { readonly type: "stop" };

/** What a worker tells the primary. */
export type FromWorker<Request = StoreRequest> =
  | { readonly type: "ready" }
  /** It cannot start: settings that must be changed, or another reason. */
  | { readonly type: "failed"; readonly problems: readonly string[]; readonly message: string }
  | { readonly type: "store"; readonly request: Request }
  | { readonly type: "bus"; readonly message: ToHub }
  /** Once a second. */
  | { readonly type: "statistics"; readonly statistics: NodeStatistics }
  | { readonly type: "measured"; readonly reading: number; readonly samples: MetricSamples };

/** As they are made. */
export type ToWorkerMade = ToWorker<SettledCall>;
export type FromWorkerMade = FromWorker<UnsentCall>;
