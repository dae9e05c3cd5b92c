import { afterAll, beforeAll } from "vitest";
import { RedisServer } from "../../../../test/support/redis.ts";
import { RedisBusNetwork } from "../../../../test/support/redis-bus.ts";
import { busContract } from "./bus.contract.ts";

let server: RedisServer;

beforeAll(async () => {
  server = await RedisServer.start();
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

busContract(
  "redis",
  async () => new RedisBusNetwork({ mode: "single", urls: [server.url], ports: () => [server.port] }),
);
