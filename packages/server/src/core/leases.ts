import type { Store } from "../store/store.ts";
import type { Clock } from "./clock.ts";
import type { Millis } from "./log.ts";

/** A node that does not renew its lease for so long is gone. */
const leaseMs = 3_000;
const renewMs = 1_000;
/** A node that holds its lease again is known to by then: the others look once a second, by a store that takes its time. */
const noticedMs = renewMs + 500;
/** Between two looks at a lease that is about to end. */
const lookMs = 50;

/** Which nodes are there, by the store's word: it alone tells one that is gone from one that is not heard. */
export class Leases {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #node: string;
  readonly #alone: boolean;
  /** When the lease of each ended, by this node's monotonic clock; null while it holds. */
  #endedAt = new Map<string, number | null>();
  /** When the last renewal that the store took was sent, by the monotonic clock; null before the first. */
  #renewedAt: number | null = null;
  /** This node's lease had ended, and holds again since then. Null: it has held all the time, or that was told. */
  #regainedAt: number | null = null;
  /** On their way to the store. */
  readonly #renewals = new Set<Promise<void>>();
  #cancelRenewal: () => void = () => {};
  #cancelLook: () => void = () => {};
  #stopped = false;

  constructor(parts: { store: Store; clock: Clock; node: string; alone: boolean }) {
    this.#store = parts.store;
    this.#clock = parts.clock;
    this.#node = parts.node;
    this.#alone = parts.alone;
  }

  start(): void {
    if (this.#alone) return;
    this.#renew();
    void this.#look();
  }

  /** The node is leaving: the others need not wait for its lease to end. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelRenewal();
    this.#cancelLook();
    if (this.#alone) return;
    // Why: one that lands after the end would have the others wait for a node that is gone.
    await Promise.all(this.#renewals);
    await this.#store.endLease(this.#node).catch(() => {});
  }

  /** How long ago a node's lease ended, in milliseconds; null when it holds, or is not known. */
  endedFor(node: string): Millis | null {
    const endedAt = this.#endedAt.get(node) ?? null;
    return endedAt === null ? null : Math.max(0, this.#clock.monotonic() - endedAt);
  }

  /** Nodes whose leases have ended, in the last ten minutes. */
  ended(): readonly string[] {
    return [...this.#endedAt].filter(([, endedAt]) => endedAt !== null).map(([node]) => node);
  }

  /** True once after this node's lease had ended and was renewed: when the others know again that the node is there. */
  takeReturn(): boolean {
    if (this.#regainedAt === null || this.#clock.monotonic() - this.#regainedAt < noticedMs) return false;
    this.#regainedAt = null;
    return true;
  }

  #renew(): void {
    const sentAt = this.#clock.monotonic();
    // A store that is away is told the next time.
    const renewal = this.#store.renewLease(this.#node, leaseMs).then(
      () => this.#renewed(sentAt),
      () => {},
    );
    this.#renewals.add(renewal);
    void renewal.then(() => this.#renewals.delete(renewal));
    this.#cancelRenewal = this.#clock.after(renewMs, () => this.#renew());
  }

  #renewed(sentAt: number): void {
    const now = this.#clock.monotonic();
    if (this.#renewedAt !== null && now - this.#renewedAt >= leaseMs) this.#regainedAt = now;
    this.#renewedAt = Math.max(sentAt, this.#renewedAt ?? sentAt);
  }

  async #look(): Promise<void> {
    let nextMs = renewMs;
    try {
      nextMs = await this.#read();
    } catch {
      // Who is gone shows when the store is back.
    }
    if (!this.#stopped) this.#cancelLook = this.#clock.after(nextMs, () => void this.#look());
  }

  /** Gives when to look again: a second later, or as soon as a lease may have ended. */
  async #read(): Promise<Millis> {
    const leases = await this.#store.leases();
    if (this.#stopped) return renewMs;
    const now = this.#clock.monotonic();
    this.#endedAt = new Map(leases.map(({ node, remainingMs }) => [node, remainingMs > 0 ? null : now + remainingMs]));
    let nextMs = renewMs;
    for (const { node, remainingMs } of leases) {
      if (node === this.#node) continue;
      if (remainingMs > 0) nextMs = Math.min(nextMs, Math.max(lookMs, remainingMs));
    }
    return nextMs;
  }
}
