import type { BusHarness } from "../../packages/server/src/bus/bus.contract.ts";
import type { Bus, BusReceiver, Hint } from "../../packages/server/src/bus/bus.ts";
import { redisBus, type BusDrop, type RedisBusSettings, type RedisMode } from "../../packages/server/src/bus/redis.ts";
import { Channels, slotOf, slots } from "../../packages/server/src/bus/redis-channels.ts";
import { systemClock } from "../../packages/server/src/core/clock.ts";
import { type LogId, logId } from "../../packages/server/src/core/log.ts";
import { eventually } from "./eventually.ts";
import { askRedis } from "./redis.ts";

export const busSecret = "lR7dZ0qXw2Yb9TnKc4Vm6Js8Hf1Gp3Ea";

export interface RedisNetworkOptions {
  readonly mode: RedisMode;
  /** As the nodes are told. */
  readonly urls: readonly string[];
  /** The masters, in the order of their slots, each with as many. */
  readonly ports: () => readonly number[];
  readonly password?: string;
}

interface Member {
  readonly node: string;
  readonly bus: Bus;
  readonly followed: Map<LogId, number>;
  readonly markers: Map<string, number>;
  readonly dropped: BusDrop[];
  readonly troubles: unknown[];
  alive: boolean;
}

let networks = 0;
const markerEpoch = "marker";

/**
 * Nodes on a real Redis, under a prefix of their own. Knows when all of them are subscribed to what they follow, and
 * when what was published has arrived: by markers that take the same ways.
 */
export class RedisBusNetwork implements BusHarness {
  readonly prefix: string;
  readonly channels: Channels;
  readonly #options: RedisNetworkOptions;
  readonly #members: Member[] = [];
  /** A log on each shard. */
  readonly #markerLogs: readonly LogId[];
  #round = 0;

  constructor(options: RedisNetworkOptions) {
    networks += 1;
    this.prefix = `test${networks}`;
    this.channels = new Channels(this.prefix);
    this.#options = options;
    const shardCount = options.ports().length;
    this.#markerLogs = Array.from({ length: shardCount }, (_, shard) => {
      for (let n = 0; ; n += 1) {
        const log = logId("marker", `${n}`);
        if (Math.floor((slotOf(this.channels.log(log)) * shardCount) / slots) === shard) return log;
      }
    });
  }

  join(node: string, change: Partial<RedisBusSettings> = {}): Bus {
    const { mode, urls, password } = this.#options;
    const login = { username: undefined, password, tls: null };
    const addresses = urls.map((url) => ({ host: new URL(url).hostname, port: Number(new URL(url).port) }));
    const settings = { node, mode, addresses, login, sentinelLogin: login, sentinelName: "mymaster" };
    const dropped: BusDrop[] = [];
    const troubles: unknown[] = [];
    const bus = redisBus({ ...settings, prefix: this.prefix, secret: busSecret, ...change }, systemClock, {
      onDropped: (reason) => void dropped.push(reason),
      onState() {},
      onTrouble: (cause) => void troubles.push(cause),
    });
    const member = { node, bus, followed: new Map(), markers: new Map(), dropped, troubles, alive: false };
    this.#members.push(member);
    return this.#watch(member);
  }

  /** Why messages were not taken by the node, or not sent. */
  dropped(node: string): readonly BusDrop[] {
    return this.#member(node).dropped;
  }

  troubles(node: string): readonly unknown[] {
    return this.#member(node).troubles;
  }

  async settle(): Promise<void> {
    await this.subscribed();
    await this.#arrived();
  }

  /** Resolves when Redis holds exactly the subscriptions that the nodes want. */
  async subscribed(): Promise<void> {
    await eventually("the subscriptions", async () => {
      const expected = this.#expected();
      const found = await this.#found();
      const same =
        found.size === expected.size && [...expected].every(([channel, count]) => found.get(channel) === count);
      return same ? true : undefined;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#members.map(({ bus }) => bus[Symbol.asyncDispose]()));
  }

  #member(node: string): Member {
    const member = this.#members.find((other) => other.node === node);
    if (member === undefined) throw new Error(`${node} has not joined`);
    return member;
  }

  #watch(member: Member): Bus {
    const { bus, followed } = member;
    return {
      alone: bus.alone,
      start: async (receiver) => {
        member.alive = true;
        for (const log of this.#markerLogs) this.#follow(member, log, 1);
        await bus.start(this.#withoutMarkers(member, receiver));
      },
      hint: (hint) => bus.hint(hint),
      signal: (log, signal) => bus.signal(log, signal),
      send: (node, message) => bus.send(node, message),
      digest: (digest) => bus.digest(digest),
      follow: (log) => this.#follow(member, log, 1),
      unfollow: (log) => {
        if (followed.has(log)) this.#follow(member, log, -1);
        else bus.unfollow(log);
      },
      [Symbol.asyncDispose]: async () => {
        member.alive = false;
        await bus[Symbol.asyncDispose]();
      },
    };
  }

  #follow({ bus, followed }: Member, log: LogId, change: 1 | -1): void {
    const times = (followed.get(log) ?? 0) + change;
    if (times === 0) followed.delete(log);
    else followed.set(log, times);
    if (change === 1) bus.follow(log);
    else bus.unfollow(log);
  }

  #withoutMarkers({ markers }: Member, receiver: BusReceiver): BusReceiver {
    return {
      onHint(hint: Hint) {
        if (hint.log.startsWith("marker/")) markers.set(`${hint.log} ${hint.epoch}`, hint.to);
        else receiver.onHint(hint);
      },
      onSignal: (log, signal) => receiver.onSignal(log, signal),
      onDigest: (digest) => receiver.onDigest(digest),
      onMessage: (message) => receiver.onMessage(message),
      onState: (state) => receiver.onState(state),
    };
  }

  async #arrived(): Promise<void> {
    this.#round += 1;
    const round = this.#round;
    const alive = this.#members.filter((member) => member.alive);
    await eventually("all that was published", () => {
      let missing = 0;
      for (const from of alive) {
        for (const log of this.#markerLogs) {
          const key = `${log} ${markerEpoch}-${from.node}`;
          const late = alive.filter((member) => member !== from && (member.markers.get(key) ?? 0) < round);
          // Why again and again: what is published while a connection is opened is lost.
          if (late.length > 0)
            from.bus.hint({ log, epoch: `${markerEpoch}-${from.node}`, from: round, to: round, events: null });
          missing += late.length;
        }
      }
      return missing === 0 ? true : undefined;
    });
  }

  #expected(): ReadonlyMap<string, number> {
    const expected = new Map<string, number>();
    for (const { node, followed, alive } of this.#members) {
      if (!alive) continue;
      const logs = [...followed.keys()].map((log) => this.channels.log(log));
      for (const channel of new Set([this.channels.node(node), ...this.channels.digests(), ...logs]))
        expected.set(channel, (expected.get(channel) ?? 0) + 1);
    }
    return expected;
  }

  async #found(): Promise<ReadonlyMap<string, number>> {
    const found = new Map<string, number>();
    for (const port of this.#options.ports()) {
      const { password } = this.#options;
      const channels = texts(await askRedis(port, ["PUBSUB", "SHARDCHANNELS", `${this.prefix}:*`], password));
      if (channels.length === 0) continue;
      const counts = texts(await askRedis(port, ["PUBSUB", "SHARDNUMSUB", ...channels], password));
      for (let index = 0; index < counts.length; index += 2) found.set(counts[index] ?? "", Number(counts[index + 1]));
    }
    return found;
  }
}

function texts(answer: unknown): string[] {
  return Array.isArray(answer) ? answer.map(String) : [];
}
