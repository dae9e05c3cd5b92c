import type { LogId } from "../core/log.ts";
import type { BusReceiver, Digest, Hint, NodeMessage, Signal } from "./bus.ts";

/** Everything that a node is told over a bus. */
export type BusMessage =
  | { readonly kind: "hint"; readonly hint: Hint }
  | { readonly kind: "signal"; readonly log: LogId; readonly signal: Signal }
  | { readonly kind: "digest"; readonly digest: Digest }
  | { readonly kind: "message"; readonly message: NodeMessage };

/**
 * Hands a message to the receiver. Hints and signals of logs that are not in `followed` are dropped: they were on their
 * way when the log was unfollowed, or came with those of another log.
 */
export function deliver(message: BusMessage, receiver: BusReceiver, followed: Uses<LogId>): void {
  switch (message.kind) {
    case "hint":
      if (followed.has(message.hint.log)) receiver.onHint(message.hint);
      return;
    case "signal":
      if (followed.has(message.log)) receiver.onSignal(message.log, message.signal);
      return;
    case "digest":
      receiver.onDigest(message.digest);
      return;
    case "message":
      receiver.onMessage(message.message);
      return;
    default:
      message satisfies never;
  }
}

/** What is in use, and how often. */
export class Uses<Used> {
  readonly #counts = new Map<Used, number>();

  has(used: Used): boolean {
    return this.#counts.has(used);
  }

  /** True when it was not in use before. */
  begin(used: Used): boolean {
    const count = this.#counts.get(used) ?? 0;
    this.#counts.set(used, count + 1);
    return count === 0;
  }

  /** True when it is not in use any more. What was not in use is left at that. */
  end(used: Used): boolean {
    const count = this.#counts.get(used) ?? 0;
    if (count <= 1) return this.#counts.delete(used);
    this.#counts.set(used, count - 1);
    return false;
  }
}
