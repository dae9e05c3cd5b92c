import type { Epoch, LogId, Seq, SessionCursor } from "../core/log.ts";

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
  /** Something for one node, which may not be there. */
  send(node: string, message: NodeMessage): void;
  /** What this node committed in the last second, to all nodes. */
  digest(digest: Digest): void;
  /** From now on hints and signals of `log` are received. Returns at once; nothing waits for the transport. */
  follow(log: LogId): void;
  /** Ends one `follow` of `log`; the last one ends its reception. Without a `follow` before it does nothing. */
  unfollow(log: LogId): void;
}

export interface BusReceiver {
  onHint(hint: Hint): void;
  onSignal(log: LogId, signal: Signal): void;
  onDigest(digest: Digest): void;
  onMessage(message: NodeMessage): void;
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

export type Signal =
  /** What the room's other users are told. */
  | {
      readonly kind: "event";
      readonly event: "user_typing";
      readonly roomId: string;
      readonly userId: string;
    }
  /**
   * Who of the room is connected to `node`: all of them (`whole`), or changes since its last signal for this room. Above
   * the presence bound no users are named, and `count` alone holds.
   */
  | {
      readonly kind: "presence";
      readonly node: string;
      readonly whole: boolean;
      readonly entered: readonly string[];
      readonly left: readonly string[];
      /** Users of the room on that node, after these changes. */
      readonly count: number;
    }
  /** `node` has begun to follow the room: every node that has users in it answers with its whole presence. */
  | { readonly kind: "presence_wanted"; readonly node: string };

/** Between two nodes; `from` is where the answer goes. */
export type NodeMessage =
  /** The sender has claimed the session under this generation: give way, and say what the client lacks. */
  | { readonly kind: "session_claimed"; readonly from: string; readonly pid: string; readonly generation: number }
  /** Answer; null: the session is not here. */
  | {
      readonly kind: "session_given";
      readonly from: string;
      readonly pid: string;
      readonly generation: number;
      readonly session: HandedSession | null;
    };

/** A session as its last node knows it: what was written to its client since the last answered ping, in order. */
export interface HandedSession {
  /** Where each subscriber stands: all up to it was written. */
  readonly cursors: readonly SessionCursor[];
  readonly runs: readonly HandedRun[];
}

/** Entries after `from` up to `to`; `page` numbers a page of history, and is negative for what holds no event's offset. */
export interface HandedRun {
  readonly log: LogId;
  readonly epoch: Epoch;
  readonly from: Seq;
  readonly to: Seq;
  readonly page: number | null;
  /** False: its client has left or joined anew since, so that the cursor of the log is another one's. */
  readonly current: boolean;
  /** An event that is told again when it may not have arrived: its WebSocket frame in base64. */
  readonly notice: { readonly frame: string; readonly joined: boolean } | null;
}

export interface Digest {
  readonly node: string;
  /** The heads are those of its batches after this one, up to and with `n`, the last that it committed. */
  readonly after: number;
  readonly n: number;
  readonly heads: readonly { readonly log: LogId; readonly epoch: Epoch; readonly head: Seq }[];
}
