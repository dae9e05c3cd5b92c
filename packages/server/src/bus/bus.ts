import type { Epoch, LogId, Seq } from "../core/log.ts";

/**
 * Port: transport between nodes. Everything on it may be lost, late, repeated or out of order; nothing that is
 * published reaches the node that published it. No method rejects or throws; a dead transport shows in `onState`.
 */
export interface Bus extends AsyncDisposable {
  /** True when there can be no other node: then nothing needs to be told. */
  readonly alone: boolean;
  /** Starts delivery to `receiver`. Called once. */
  start(receiver: BusReceiver): Promise<void>;
  /** Committed entries, to the nodes that follow their logs. */
  hint(hint: Hint): void;
  /** Something ephemeral, to the nodes that follow `log`. */
  signal(log: LogId, signal: Signal): void;
  /** What this node committed in the last second, to all nodes. */
  digest(digest: Digest): void;
  /** From now on hints and signals of `log` are received. Returns at once; nothing waits for the transport. */
  follow(log: LogId): void;
  unfollow(log: LogId): void;
}

export interface BusReceiver {
  onHint(hint: Hint): void;
  onSignal(log: LogId, signal: Signal): void;
  onDigest(digest: Digest): void;
  onState(state: "up" | "down"): void;
}

/** Entries `from`…`to` of a log are committed. `events` are their encoded event texts in order, or null (positions only). */
export interface Hint {
  readonly log: LogId;
  readonly epoch: Epoch;
  readonly from: Seq;
  readonly to: Seq;
  readonly events: readonly string[] | null;
}

export interface Signal {
  readonly event: string;
  readonly roomId: string;
  readonly userId: string;
}

export interface Digest {
  readonly node: string;
  /** The heads are those of its batches after this one, up to and with `n`, the last that it committed. */
  readonly after: number;
  readonly n: number;
  readonly heads: readonly { readonly log: LogId; readonly epoch: Epoch; readonly head: Seq }[];
}
