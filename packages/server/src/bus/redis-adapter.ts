import { createShardedAdapter } from "@socket.io/redis-adapter";
import type { Namespace } from "socket.io";
import { z } from "zod";
import type { Clock } from "../core/clock.ts";
import type { RedisBusEvents, RedisBusSettings } from "./redis.ts";
import { Channels } from "./redis-channels.ts";
import { layoutSource } from "./redis-layout.ts";
import { Seal } from "./redis-seal.ts";
import { Shards } from "./redis-shards.ts";

type Adapter = Namespace["adapter"];

export interface RedisAdapterEvents extends RedisBusEvents {
  /** The adapter could not do what it was asked for, or was sent: for the log. */
  onFailure(cause: unknown): void;
}

/** Joins Socket.IO's namespaces of all nodes. */
export interface RedisAdapter extends AsyncDisposable {
  /** For the option `adapter` of a Socket.IO server. The first call connects to Redis. */
  create(namespace: Namespace): Adapter;
}

/** For how long a count of the nodes waits until this one is subscribed itself. */
const settleMs = 2_000;
const countAnswer = z.tuple([z.unknown(), z.coerce.number().int().min(0)]);

/** Methods whose promise Socket.IO drops: a rejection would end the process. */
const unawaited = ["broadcast", "addSockets", "delSockets", "disconnectSockets", "serverSideEmit"] as const;
/** Methods that may throw at once where the adapter counts on a rejected promise. */
const publishing = ["doPublish", "doPublishResponse"] as const;

/**
 * Socket.IO's official adapter for sharded pub/sub, on connections to Redis like those of the bus.
 *
 * Why not on a client of its own: that one would have to find out by itself that Redis has restarted, that a master was
 * replaced or that slots have moved, and to subscribe anew; and while Redis is away it would hold back local broadcasts.
 */
export function redisAdapter(settings: RedisBusSettings, clock: Clock, events: RedisAdapterEvents): RedisAdapter {
  const client = new AdapterClient(settings, clock, events);
  const create = createShardedAdapter(client, client, { channelPrefix: `${settings.prefix}:io` });
  return {
    create(namespace) {
      client.start();
      return guarded(create(namespace), events);
    },
    [Symbol.asyncDispose]: () => client.stop(),
  };
}

function guarded(adapter: Adapter, events: RedisAdapterEvents): Adapter {
  const wrap = (name: string, call: (original: () => unknown) => unknown): void => {
    const original: unknown = Reflect.get(adapter, name);
    if (typeof original !== "function") return;
    const value = (...args: unknown[]): unknown => call(() => Reflect.apply(original, adapter, args));
    Object.defineProperty(adapter, name, { value });
  };
  for (const name of publishing) wrap(name, async (original) => original());
  for (const name of unawaited)
    wrap(name, async (original) => {
      try {
        await original();
      } catch (error) {
        events.onFailure(error);
      }
    });
  return adapter;
}

type Listener = (message: Buffer, channel: string) => void;

/** As much of a Redis client as the adapter uses. */
class AdapterClient {
  readonly #clock: Clock;
  readonly #events: RedisAdapterEvents;
  readonly #seal: Seal;
  readonly #shards: Shards;
  readonly #listeners = new Map<string, Listener>();
  /** Who waits until a channel is subscribed. */
  readonly #waiting = new Set<() => void>();
  #state: "idle" | "started" | "stopped" = "idle";
  /** Nodes, this one included, at the last count. */
  #nodes = 1;

  constructor(settings: RedisBusSettings, clock: Clock, events: RedisAdapterEvents) {
    const { node, mode, login, prefix, secret } = settings;
    this.#clock = clock;
    this.#events = events;
    this.#seal = new Seal(secret, node);
    this.#shards = new Shards({
      source: layoutSource(settings, clock),
      login,
      clock,
      slotted: mode === "cluster",
      probeChannel: new Channels(prefix).probe(),
      events: {
        onMessage: (channel, message) => this.#receive(channel, message),
        onState: (state) => events.onState(state),
        onConfirmed: () => this.#wake(),
        onTrouble: (cause) => events.onTrouble(cause),
      },
    });
  }

  start(): void {
    if (this.#state !== "idle") return;
    this.#state = "started";
    this.#shards.start();
  }

  async stop(): Promise<void> {
    const wasStarted = this.#state === "started";
    this.#state = "stopped";
    this.#wake();
    if (wasStarted) await this.#shards.stop();
  }

  sSubscribe(name: string, listener: Listener): void {
    const channel = name.toWellFormed();
    this.#listeners.set(channel, listener);
    this.#shards.want(channel);
  }

  sUnsubscribe(name: string): void {
    const channel = name.toWellFormed();
    // Why asked: the adapter also ends what it has not begun.
    if (this.#listeners.delete(channel)) this.#shards.unwant(channel);
  }

  /** Errors: rejects when Redis is away or too slow; nothing waits for it to come back. */
  async sPublish(name: string, message: string | Buffer): Promise<void> {
    const channel = name.toWellFormed();
    if (this.#shards.publish(channel, this.#seal.closeBytes(channel, Buffer.from(message)))) return;
    this.#events.onDropped("unsent");
    throw new Error("Redis is away, or too slow");
  }

  /**
   * `PUBSUB SHARDNUMSUB channel`, the one command that the adapter knows: how many nodes there are. Never rejects,
   * because Socket.IO does not expect it: without Redis the answer is a number that is not reached, and whoever waits
   * for so many nodes is told after the time that Socket.IO gives them.
   */
  async sendCommand(words: readonly [string, string, string]): Promise<readonly [string, number]> {
    const channel = words[2].toWellFormed();
    try {
      if (this.#state === "stopped") return [channel, 1];
      await this.#subscribed(channel);
      const [, nodes] = countAnswer.parse(await this.#shards.command(channel, words));
      this.#nodes = nodes;
      return [channel, nodes];
    } catch (error) {
      this.#events.onTrouble(error);
      return [channel, Math.max(this.#nodes, 2)];
    }
  }

  /** Why awaited: a node that is not subscribed itself would be missing in the count. */
  async #subscribed(channel: string): Promise<void> {
    let late = false;
    const cancel = this.#clock.after(settleMs, () => {
      late = true;
      this.#wake();
    });
    while (!this.#shards.isSubscribed(channel)) {
      if (late || this.#state !== "started") {
        cancel();
        throw new Error("this node is not subscribed");
      }
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
    cancel();
  }

  #wake(): void {
    const woken = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of woken) wake();
  }

  #receive(channel: string, bytes: Buffer): void {
    const opened = this.#seal.openBytes(channel, bytes);
    if (!opened.ok) {
      this.#events.onDropped(opened.reason);
      return;
    }
    try {
      this.#listeners.get(channel)?.(opened.body, channel);
    } catch (error) {
      // Why caught: the app's listeners are called from here, too, and an error of theirs is not the connection's.
      this.#events.onFailure(error);
    }
  }
}
