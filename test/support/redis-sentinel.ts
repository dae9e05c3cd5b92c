import { writeFile } from "node:fs/promises";
import path from "node:path";
import { eventually } from "./eventually.ts";
import { findFreePort } from "./free-port.ts";
import { spawnProgram } from "./process.ts";
import { askRedis, RedisServer } from "./redis.ts";
import { createTemporaryFolder } from "./temporary-folder.ts";

const sentinelName = "mymaster";
const sentinelCount = 3;

/** A master, its replica, and three sentinels that replace a master which is silent for a second. */
export class RedisSentinels implements AsyncDisposable {
  readonly name = sentinelName;
  readonly urls: readonly string[];
  readonly master: RedisServer;
  readonly replica: RedisServer;
  readonly #resources: AsyncDisposableStack;

  private constructor(
    urls: readonly string[],
    master: RedisServer,
    replica: RedisServer,
    resources: AsyncDisposableStack,
  ) {
    this.urls = urls;
    this.master = master;
    this.replica = replica;
    this.#resources = resources;
  }

  static async start(): Promise<RedisSentinels> {
    await using starting = new AsyncDisposableStack();
    const master = starting.use(await RedisServer.start());
    const options = ["--replicaof", "127.0.0.1", `${master.port}`, "--repl-diskless-sync-delay", "0"];
    const replica = starting.use(await RedisServer.start({ options }));
    await eventually("the replica to be one", async () =>
      String(await replica.command("ROLE")).includes("connected") ? true : undefined,
    );
    const ports: number[] = [];
    while (ports.length < sentinelCount) ports.push(await startSentinel(starting, master.port));
    await eventually("the sentinels to know each other", async () => {
      for (const port of ports) if (!(await knowsAll(port))) return undefined;
      return true;
    });
    return new RedisSentinels(
      ports.map((port) => `redis://127.0.0.1:${port}`),
      master,
      replica,
      starting.move(),
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#resources.disposeAsync();
  }
}

async function startSentinel(resources: AsyncDisposableStack, masterPort: number): Promise<number> {
  const folder = resources.use(await createTemporaryFolder());
  const port = await findFreePort();
  const settings = [
    `port ${port}`,
    "bind 127.0.0.1",
    `dir ${folder.path}`,
    `sentinel monitor ${sentinelName} 127.0.0.1 ${masterPort} 2`,
    `sentinel down-after-milliseconds ${sentinelName} 1000`,
    // Twice of it passes after an election that nobody won.
    `sentinel failover-timeout ${sentinelName} 2000`,
  ];
  const file = path.join(folder.path, "sentinel.conf");
  await writeFile(file, `${settings.join("\n")}\n`);
  const sentinel = resources.use(await spawnProgram("redis-server", [file, "--sentinel"]));
  await sentinel.waitForLine(/\+monitor/);
  return port;
}

async function knowsAll(port: number): Promise<boolean> {
  const state = JSON.stringify(await askRedis(port, ["SENTINEL", "MASTER", sentinelName]));
  return state.includes(`"num-other-sentinels":"${sentinelCount - 1}"`) && state.includes('"num-slaves":"1"');
}
