import type { Clock } from "../core/clock.ts";
import { slotOf } from "./redis-channels.ts";
import type { RedisAddress, RedisLogin } from "./redis-connection.ts";
import { type Layout, type LayoutSource, sameAddress } from "./redis-layout.ts";
import { Shard } from "./redis-shard.ts";

export interface ShardsEvents {
  onMessage(channel: string, message: Buffer): void;
  /** `up`: every wanted channel is subscribed, on every master. Only changes are told. */
  onState(state: "up" | "down"): void;
  /** Some subscriptions were confirmed. */
  onConfirmed?(): void;
  /** Why a server could not be reached, or was lost. */
  onTrouble(cause: unknown): void;
}

export interface ShardsParts {
  readonly source: LayoutSource;
  readonly login: RedisLogin;
  readonly clock: Clock;
  readonly slotted: boolean;
  /** A channel to which nobody is subscribed. */
  readonly probeChannel: string;
  readonly events: ShardsEvents;
}

/** How often it is asked where the masters are, while all is well. */
const lookMs = 2_000;
/** Pause before the next attempt: it doubles from the first to the last of these. */
const retryMsMin = 50;
const retryMsMax = 800;

/**
 * All masters, and on which of them each wanted channel is subscribed.
 *
 * Why one loop: whatever happens (a lost connection, a failover, slots that move), the answer is to look again where
 * the masters are, to open the shards that are missing, and to bring each channel to where it belongs.
 */
export class Shards {
  readonly #parts: ShardsParts;
  readonly #wanted = new Set<string>();
  readonly #abort = new AbortController();
  #layout: Layout | null = null;
  /** By index of the layout's masters; null until the next attempt. */
  #shards: (Shard | null)[] = [];
  #state: "up" | "down" = "down";
  #retryMs = retryMsMin;
  #wake: () => void = () => {};
  #finished: Promise<void> = Promise.resolve();
  /** Something happened while it was looked where the masters are. */
  #disturbed = false;

  constructor(parts: ShardsParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#finished = this.#run();
  }

  want(channel: string): void {
    this.#wanted.add(channel);
    this.#shardOf(channel)?.want(channel);
  }

  unwant(channel: string): void {
    this.#wanted.delete(channel);
    this.#shardOf(channel)?.unwant(channel);
  }

  /** False: dropped. */
  publish(channel: string, message: Buffer): boolean {
    return this.#shardOf(channel)?.publish(channel, message) ?? false;
  }

  isSubscribed(channel: string): boolean {
    return this.#shardOf(channel)?.isSubscribed(channel) ?? false;
  }

  /** Asks the master that has the channel. Errors: rejects when there is none, or it does not answer. */
  async command(channel: string, words: readonly string[]): Promise<unknown> {
    const connection = this.#shardOf(channel)?.connection ?? null;
    if (connection === null) throw new Error("there is no connection to Redis");
    return connection.command(words);
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    this.#parts.source[Symbol.dispose]();
    for (const shard of this.#shards) shard?.close();
    await this.#finished;
  }

  async #run(): Promise<void> {
    while (!this.#abort.signal.aborted) {
      this.#disturbed = false;
      await this.#look();
      if (this.#abort.signal.aborted) return;
      this.#openMissing();
      this.#tell();
      await this.#pause();
    }
  }

  async #look(): Promise<void> {
    try {
      const layout = await this.#parts.source.find();
      if (!this.#abort.signal.aborted) this.#arrange(layout);
    } catch (error) {
      // Why not down: as long as the masters that are known answer, it does not matter who else does not.
      if (this.#state === "down" && !this.#abort.signal.aborted) this.#parts.events.onTrouble(error);
    }
  }

  /** Keeps the shards of masters that still are, closes the others, and brings channels to where they belong. */
  #arrange(layout: Layout): void {
    const before = this.#layout;
    if (before !== null && sameLayout(before, layout)) {
      for (const shard of this.#shards) if (shard?.ready === false) shard.settle();
      return;
    }
    const kept = this.#shards;
    const shardAt = (address: RedisAddress) =>
      kept.find((shard) => shard !== null && sameAddress(shard.address, address)) ?? null;
    const shards = layout.masters.map(shardAt);
    for (const shard of kept) if (!shards.includes(shard)) shard?.close();
    for (const channel of this.#wanted) {
      const slot = slotOf(channel);
      const old = before === null ? null : (kept[before.owners[slot] ?? -1] ?? null);
      const now = shards[layout.owners[slot] ?? -1] ?? null;
      if (old === now) continue;
      old?.unwant(channel);
      now?.want(channel);
    }
    this.#layout = layout;
    this.#shards = shards;
    for (const shard of shards) shard?.settle();
  }

  #openMissing(): void {
    const layout = this.#layout;
    if (layout === null || !this.#shards.includes(null)) return;
    const opened = layout.masters.map((address, index) => this.#shards[index] ?? this.#newShard(address));
    const fresh = opened.filter((shard) => !this.#shards.includes(shard));
    this.#shards = opened;
    for (const channel of this.#wanted) {
      const shard = this.#shardOf(channel);
      if (shard !== undefined && fresh.includes(shard)) shard.want(channel);
    }
    for (const shard of fresh) void shard.start();
  }

  #newShard(address: RedisAddress): Shard {
    const { source, login, clock, slotted, probeChannel, events } = this.#parts;
    const shard: Shard = new Shard({
      address,
      login,
      clock,
      slotted,
      probeChannel,
      verify: (connection) => source.verify(connection),
      events: {
        onMessage: (channel, message) => events.onMessage(channel, message),
        onReady: () => this.#tell(),
        onConfirmed: () => events.onConfirmed?.(),
        onMoved: () => {
          this.#tell();
          this.#disturb();
        },
        onLost: (cause) => {
          events.onTrouble(cause);
          this.#shards = this.#shards.map((other) => (other === shard ? null : other));
          this.#tell();
          this.#disturb();
        },
      },
    });
    return shard;
  }

  #tell(): void {
    if (this.#abort.signal.aborted) return;
    const complete = this.#layout !== null && !this.#layout.owners.includes(-1);
    const state = complete && this.#shards.every((shard) => shard !== null && shard.ready) ? "up" : "down";
    if (state === "up") this.#retryMs = retryMsMin;
    if (state === this.#state) return;
    this.#state = state;
    this.#parts.events.onState(state);
  }

  #disturb(): void {
    this.#disturbed = true;
    this.#parts.source.doubt();
    this.#wake();
  }

  /** Until it is time to look again: soon after a disturbance, ever later while nothing helps. */
  async #pause(): Promise<void> {
    if (!this.#disturbed && (this.#state === "up" || this.#isOpening())) await this.#sleep(lookMs, true);
    if (this.#state === "up" && !this.#disturbed) return;
    await this.#sleep(this.#retryMs * (0.5 + Math.random() / 2), false);
    this.#retryMs = Math.min(this.#retryMs * 2, retryMsMax);
  }

  #isOpening(): boolean {
    return this.#layout !== null && !this.#shards.includes(null);
  }

  /** Ends early when this stops, and at a disturbance if it may. */
  #sleep(ms: number, disturbable: boolean): Promise<void> {
    const { signal } = this.#abort;
    const { promise, resolve } = Promise.withResolvers<void>();
    if (signal.aborted) return Promise.resolve();
    const cancel = this.#parts.clock.after(ms, resolve);
    const stop = () => resolve();
    signal.addEventListener("abort", stop, { once: true });
    if (disturbable) this.#wake = resolve;
    return promise.finally(() => {
      cancel();
      signal.removeEventListener("abort", stop);
      this.#wake = () => {};
    });
  }

  #shardOf(channel: string): Shard | undefined {
    return this.#shards[this.#layout?.owners[slotOf(channel)] ?? -1] ?? undefined;
  }
}

function sameLayout(one: Layout, other: Layout): boolean {
  return (
    one.masters.length === other.masters.length &&
    one.masters.every((address, index) => {
      const same = other.masters[index];
      return same !== undefined && sameAddress(address, same);
    }) &&
    one.owners.every((owner, slot) => owner === other.owners[slot])
  );
}
