import type { Clock } from "../core/clock.ts";
import { type RedisAddress, RedisConnection, type RedisLogin } from "./redis-connection.ts";

export interface ShardEvents {
  onMessage(channel: string, message: Buffer): void;
  /** All channels that were wanted when it was opened, or when its slots changed, are subscribed. */
  onReady(): void;
  /** Some subscriptions were confirmed. */
  onConfirmed(): void;
  /** A channel's slot seems to have gone to another server. */
  onMoved(): void;
  /** Once, unless it was closed from here: a connection is lost, or could not be made. */
  onLost(cause: unknown): void;
}

export interface ShardParts {
  readonly address: RedisAddress;
  readonly login: RedisLogin;
  readonly clock: Clock;
  /** True in a Redis Cluster, where a command takes channels of one slot alone. */
  readonly slotted: boolean;
  /** A channel to which nobody is subscribed. */
  readonly probeChannel: string;
  /** Asked once connected. Errors: rejects when this is not the server that was looked for. */
  readonly verify: (connection: RedisConnection) => Promise<void>;
  readonly events: ShardEvents;
}

/** Subscriptions that are asked for at once; the next ones follow when these were confirmed. */
const batchChannels = 500;
const batchPauseMs = 10;

/**
 * One master and the two connections to it. It is opened once and never mended: when a connection is lost, the shard
 * is, and another takes its place.
 *
 * Invariant: while it is ready, each channel that was wanted then is subscribed on the server.
 */
export class Shard {
  readonly address: RedisAddress;
  readonly #parts: ShardParts;
  readonly #wanted = new Set<string>();
  readonly #subscribed = new Set<string>();
  /** Channels whose subscription may have to change, the longest waiting first. */
  readonly #changed = new Set<string>();
  /** Those at the front of `#changed` that readiness waits for. */
  #awaited = 0;
  #state: "opening" | "subscribing" | "ready" | "gone" = "opening";
  #working = false;
  #publisher: RedisConnection | null = null;
  #subscriber: RedisConnection | null = null;

  constructor(parts: ShardParts) {
    this.address = parts.address;
    this.#parts = parts;
  }

  get ready(): boolean {
    return this.#state === "ready";
  }

  get open(): boolean {
    return this.#state === "subscribing" || this.#state === "ready";
  }

  async start(): Promise<void> {
    const { address, login, clock, verify, probeChannel } = this.#parts;
    const events = {
      onMessage: (channel: string, message: Buffer) => this.#parts.events.onMessage(channel, message),
      onMoved: (channel: string | null) => this.#moved(channel),
      onLost: (cause: unknown) => this.#lose(cause),
    };
    try {
      const connections = [0, 1].map(() => RedisConnection.open(address, login, clock, events));
      const opened = await Promise.allSettled(connections);
      for (const result of opened) if (result.status === "fulfilled") this.#adopt(result.value);
      for (const result of opened) if (result.status === "rejected") throw result.reason;
      if (this.#publisher !== null) await verify(this.#publisher);
      // Why asked: what is published first would end a shard that was ready, and each after it, without an end.
      await this.#publisher?.checkPublish(probeChannel);
    } catch (error) {
      this.#lose(error);
      return;
    }
    if (this.#state !== "opening") return;
    this.#state = "subscribing";
    this.#awaited = this.#changed.size;
    void this.#work();
  }

  /** False: dropped. */
  publish(channel: string, message: Buffer): boolean {
    return this.open && this.#publisher !== null && this.#publisher.publish(channel, message);
  }

  want(channel: string): void {
    this.#wanted.add(channel);
    this.#change(channel);
  }

  unwant(channel: string): void {
    this.#wanted.delete(channel);
    this.#change(channel);
  }

  /** Confirmed by the server, as far as is known. */
  isSubscribed(channel: string): boolean {
    return this.open && this.#subscribed.has(channel);
  }

  /** Not ready before what is wanted now is subscribed. */
  settle(): void {
    if (!this.open || (this.ready && this.#changed.size === 0)) return;
    this.#state = "subscribing";
    this.#awaited = this.#changed.size;
    void this.#work();
  }

  /** The connection on which commands may be asked; null while there is none. */
  get connection(): RedisConnection | null {
    return this.open ? this.#publisher : null;
  }

  close(): void {
    this.#state = "gone";
    this.#publisher?.close();
    this.#subscriber?.close();
  }

  #adopt(connection: RedisConnection): void {
    if (this.#state === "gone") connection.close();
    else if (this.#publisher === null) this.#publisher = connection;
    else this.#subscriber = connection;
  }

  #lose(cause: unknown): void {
    if (this.#state === "gone") return;
    this.close();
    this.#parts.events.onLost(cause);
  }

  #moved(channel: string | null): void {
    if (!this.open) return;
    if (channel !== null && this.#subscribed.delete(channel) && this.#wanted.has(channel)) {
      // Why not at once again: who is told has a look where the slot is, and then calls `settle`.
      this.#changed.add(channel);
      this.#awaited = this.#changed.size;
      this.#state = "subscribing";
    }
    this.#parts.events.onMoved();
  }

  #change(channel: string): void {
    this.#changed.add(channel);
    if (this.open) void this.#work();
  }

  /** One batch after the other, until nothing differs from what is wanted. */
  async #work(): Promise<void> {
    if (this.#working) return;
    this.#working = true;
    // Why: what is followed in one turn goes out in one command.
    await new Promise<void>((resolve) => this.#parts.clock.immediate(resolve));
    try {
      while (this.open && this.#subscriber !== null) {
        if (this.#state === "subscribing" && this.#awaited <= 0) this.#becomeReady();
        if (this.#changed.size === 0) break;
        await this.#workBatch(this.#subscriber);
        if (this.#changed.size > 0) await this.#pause();
      }
    } catch (error) {
      this.#lose(error);
    }
    this.#working = false;
  }

  async #workBatch(subscriber: RedisConnection): Promise<void> {
    const batch: string[] = [];
    for (const channel of this.#changed) {
      if (batch.length >= batchChannels) break;
      batch.push(channel);
      this.#changed.delete(channel);
    }
    const added = batch.filter((channel) => this.#wanted.has(channel) && !this.#subscribed.has(channel));
    const removed = batch.filter((channel) => !this.#wanted.has(channel) && this.#subscribed.has(channel));
    await subscriber.change(added, removed, !this.#parts.slotted);
    for (const channel of added) this.#subscribed.add(channel);
    for (const channel of removed) this.#subscribed.delete(channel);
    this.#awaited -= batch.length;
    this.#parts.events.onConfirmed();
  }

  #becomeReady(): void {
    this.#state = "ready";
    this.#parts.events.onReady();
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => this.#parts.clock.after(batchPauseMs, resolve));
  }
}
