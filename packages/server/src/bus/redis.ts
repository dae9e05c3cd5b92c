import type { Clock } from "../core/clock.ts";
import type { LogId } from "../core/log.ts";
import type { Bus, BusReceiver } from "./bus.ts";
import { Channels } from "./redis-channels.ts";
import type { RedisAddress, RedisLogin } from "./redis-connection.ts";
import { layoutSource, type RedisMode } from "./redis-layout.ts";
import type { BusMessage } from "./redis-messages.ts";
import { type Refused, Seal } from "./redis-seal.ts";
import { Shards } from "./redis-shards.ts";

export type { RedisAddress, RedisLogin } from "./redis-connection.ts";
export type { RedisMode } from "./redis-layout.ts";

export interface RedisBusSettings {
  /** This node's id: what is sent to it arrives here, and what it sent itself is dropped. */
  readonly node: string;
  readonly mode: RedisMode;
  /** The server; or the sentinels, or some servers of the cluster, of which one that answers is enough. */
  readonly addresses: readonly RedisAddress[];
  readonly login: RedisLogin;
  /** Of the sentinels. */
  readonly sentinelLogin: RedisLogin;
  /** The name under which the sentinels know the master. */
  readonly sentinelName: string;
  /** Begins the name of every channel: two clusters on one Redis need two. No braces. */
  readonly prefix: string;
  /** Signs every message; the same on all nodes of a cluster. */
  readonly secret: string;
}

/** `unsent`: Redis was away, or too slow to take it. */
export type BusDrop = Refused | "unsent";

export interface RedisBusEvents {
  /** A message was not taken, or not sent. */
  onDropped(reason: BusDrop): void;
  onState(state: "up" | "down"): void;
  /** Why Redis could not be reached, or was lost: for the log. */
  onTrouble(cause: unknown): void;
}

/** For how long a start waits for Redis; the node then starts without. */
const startMs = 2_000;

/**
 * The bus over the sharded pub/sub of Redis 7 or Valkey: one server, Sentinel, or Cluster. Nothing is stored there:
 * Redis may restart, forget everything or be away, and nothing that is published waits for it to come back.
 */
export function redisBus(settings: RedisBusSettings, clock: Clock, events: RedisBusEvents): Bus {
  return new RedisBus(settings, clock, events);
}

class RedisBus implements Bus {
  readonly alone = false;
  readonly #node: string;
  readonly #clock: Clock;
  readonly #events: RedisBusEvents;
  readonly #channels: Channels;
  readonly #seal: Seal;
  readonly #shards: Shards;
  /** How often each log is followed. Its channel may bring other logs, too. */
  readonly #followed = new Map<LogId, number>();
  /** How many followed logs a channel is for. */
  readonly #uses = new Map<string, number>();
  #receiver: BusReceiver | null = null;
  #onUp: () => void = () => {};

  constructor(settings: RedisBusSettings, clock: Clock, events: RedisBusEvents) {
    const { node, mode, addresses, login, sentinelLogin, sentinelName, prefix, secret } = settings;
    this.#node = node;
    this.#clock = clock;
    this.#events = events;
    this.#channels = new Channels(prefix);
    this.#seal = new Seal(secret, node);
    this.#shards = new Shards({
      source: layoutSource(mode, {
        addresses,
        login: mode === "sentinel" ? sentinelLogin : login,
        sentinelName,
        clock,
      }),
      login,
      clock,
      slotted: mode === "cluster",
      events: {
        onMessage: (channel, message) => this.#receive(channel, message),
        onState: (state) => this.#tell(state),
        onTrouble: (cause) => events.onTrouble(cause),
      },
    });
  }

  /** Resolves once Redis is there, or has not been for 2 s. */
  async start(receiver: BusReceiver): Promise<void> {
    this.#receiver = receiver;
    this.#tell("down");
    for (const channel of [this.#channels.node(this.#node), ...this.#channels.digests()]) this.#use(channel);
    const up = new Promise<void>((resolve) => {
      const cancel = this.#clock.after(startMs, resolve);
      this.#onUp = () => {
        cancel();
        resolve();
      };
    });
    this.#shards.start();
    await up;
  }

  hint(hint: Parameters<Bus["hint"]>[0]): void {
    this.#publish(this.#channels.log(hint.log), { kind: "hint", hint });
  }

  signal(log: LogId, signal: Parameters<Bus["signal"]>[1]): void {
    this.#publish(this.#channels.log(log), { kind: "signal", log, signal });
  }

  send(node: string, message: Parameters<Bus["send"]>[1]): void {
    this.#publish(this.#channels.node(node), { kind: "message", message });
  }

  digest(digest: Parameters<Bus["digest"]>[0]): void {
    this.#publish(this.#channels.digest(digest.node), { kind: "digest", digest });
  }

  follow(log: LogId): void {
    const times = (this.#followed.get(log) ?? 0) + 1;
    this.#followed.set(log, times);
    if (times === 1) this.#use(this.#channels.log(log));
  }

  unfollow(log: LogId): void {
    const times = (this.#followed.get(log) ?? 0) - 1;
    if (times > 0) this.#followed.set(log, times);
    else if (this.#followed.delete(log)) this.#release(this.#channels.log(log));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#receiver = null;
    await this.#shards.stop();
    this.#onUp();
  }

  #use(channel: string): void {
    const uses = (this.#uses.get(channel) ?? 0) + 1;
    this.#uses.set(channel, uses);
    if (uses === 1) this.#shards.want(channel);
  }

  #release(channel: string): void {
    const uses = (this.#uses.get(channel) ?? 0) - 1;
    if (uses > 0) {
      this.#uses.set(channel, uses);
    } else {
      this.#uses.delete(channel);
      this.#shards.unwant(channel);
    }
  }

  #publish(channel: string, message: BusMessage): void {
    // Why no queue: what is told late is of no use, and what was lost is found in the journal.
    if (!this.#shards.publish(channel, this.#seal.close(channel, message))) this.#events.onDropped("unsent");
  }

  #receive(channel: string, bytes: Buffer): void {
    const opened = this.#seal.open(channel, bytes);
    if (!opened.ok) {
      this.#events.onDropped(opened.reason);
      return;
    }
    const receiver = this.#receiver;
    if (opened.from === this.#node || receiver === null) return;
    const { message } = opened;
    switch (message.kind) {
      case "hint":
        if (this.#followed.has(message.hint.log)) receiver.onHint(message.hint);
        return;
      case "signal":
        if (this.#followed.has(message.log)) receiver.onSignal(message.log, message.signal);
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

  #tell(state: "up" | "down"): void {
    this.#events.onState(state);
    this.#receiver?.onState(state);
    if (state === "up") this.#onUp();
  }
}
