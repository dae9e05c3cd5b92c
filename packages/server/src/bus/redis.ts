import type { Clock } from "../core/clock.ts";
import type { LogId } from "../core/log.ts";
import type { Bus, BusReceiver } from "./bus.ts";
import { type BusMessage, deliver, Uses } from "./messages.ts";
import { Channels } from "./redis-channels.ts";
import { type LayoutSettings, layoutSource } from "./redis-layout.ts";
import { type Refused, Seal } from "./redis-seal.ts";
import { Shards } from "./redis-shards.ts";

export type { RedisAddress, RedisLogin } from "./redis-connection.ts";
export type { RedisMode } from "./redis-layout.ts";

export interface RedisBusSettings extends LayoutSettings {
  /** This node's id: what is sent to it arrives here, and what it sent itself is dropped. */
  readonly node: string;
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
  readonly #followed = new Uses<LogId>();
  /** For the followed logs: several may share one. */
  readonly #used = new Uses<string>();
  #receiver: BusReceiver | null = null;
  #onUp: () => void = () => {};

  constructor(settings: RedisBusSettings, clock: Clock, events: RedisBusEvents) {
    const { node, mode, login, prefix, secret } = settings;
    this.#node = node;
    this.#clock = clock;
    this.#events = events;
    this.#channels = new Channels(prefix);
    this.#seal = new Seal(secret, node);
    this.#shards = new Shards({
      source: layoutSource(settings, clock),
      login,
      clock,
      slotted: mode === "cluster",
      probeChannel: this.#channels.probe(),
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
    if (this.#followed.begin(log)) this.#use(this.#channels.log(log));
  }

  unfollow(log: LogId): void {
    if (!this.#followed.end(log)) return;
    const channel = this.#channels.log(log);
    if (this.#used.end(channel)) this.#shards.unwant(channel);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#receiver = null;
    await this.#shards.stop();
    this.#onUp();
  }

  #use(channel: string): void {
    if (this.#used.begin(channel)) this.#shards.want(channel);
  }

  #publish(channel: string, message: BusMessage): void {
    // Why no queue: what is told late is of no use, and what was lost is found in the journal.
    if (!this.#shards.publish(channel, this.#seal.close(channel, message))) this.#events.onDropped("unsent");
  }

  #receive(channel: string, bytes: Buffer): void {
    if (this.#seal.isOwn(bytes)) return;
    const opened = this.#seal.open(channel, bytes);
    if (!opened.ok) {
      this.#events.onDropped(opened.reason);
      return;
    }
    if (this.#receiver !== null) deliver(opened.message, this.#receiver, this.#followed);
  }

  #tell(state: "up" | "down"): void {
    this.#events.onState(state);
    this.#receiver?.onState(state);
    if (state === "up") this.#onUp();
  }
}
