import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually } from "../../../../test/support/eventually.ts";
import { RedisBusNetwork } from "../../../../test/support/redis-bus.ts";
import { RedisSentinels } from "../../../../test/support/redis-sentinel.ts";
import { systemClock } from "../core/clock.ts";
import { busContract, hintOf, Recorder, room } from "./bus.contract.ts";
import { type RedisAddress, RedisConnection } from "./redis-connection.ts";
import { layoutSource } from "./redis-layout.ts";

let sentinels: RedisSentinels;

beforeAll(async () => {
  sentinels = await RedisSentinels.start();
}, 60_000);

afterAll(async () => {
  await sentinels[Symbol.asyncDispose]();
});

busContract("redis behind sentinels", async () => {
  const { urls, master } = sentinels;
  return new RedisBusNetwork({ mode: "sentinel", urls, ports: () => [master.port] });
});

test.each(["killed", "standing still"])(
  "[FEED-2] the replica takes the place of a master that is %s",
  { timeout: 90_000 },
  async (how) => {
    await using own = await RedisSentinels.start();
    let { port } = own.master;
    await using network = new RedisBusNetwork({ mode: "sentinel", urls: own.urls, ports: () => [port] });
    const received = new Recorder();
    const first = network.join("node-1");
    const second = network.join("node-2");
    await first.start(new Recorder());
    await second.start(received);
    second.follow(room);
    await network.settle();
    if (how === "killed") await own.master.kill();
    else own.master.pause();
    await eventually("its loss to be told", () => received.states.at(-1) === "down" || undefined);
    port = own.replica.port;
    await eventually("the bus to be up again", () => received.states.at(-1) === "up" || undefined);
    await network.subscribed();
    first.hint(hintOf(room, 1));
    await network.settle();
    expect(received.hints).toEqual([hintOf(room, 1)]);
  },
);

test("a server that the sentinels name and that is no master is not used", async () => {
  const { replica, urls, name: sentinelName } = sentinels;
  const login = { username: undefined, password: undefined, tls: null };
  const addresses = urls.map((url) => ({ host: "127.0.0.1", port: Number(new URL(url).port) }));
  const settings = { mode: "sentinel", addresses, login, sentinelLogin: login, sentinelName } as const;
  using source = layoutSource(settings, systemClock);
  const events = { onMessage() {}, onMoved() {}, onLost() {} };
  const verify = async (address: RedisAddress): Promise<void> => {
    const connection = await RedisConnection.open(address, login, systemClock, events);
    await source.verify(connection).finally(() => connection.close());
  };
  const { masters } = await source.find();
  await expect(Promise.all(masters.map(verify))).resolves.toHaveLength(1);
  await expect(verify({ host: "127.0.0.1", port: replica.port })).rejects.toThrow("master");
});
