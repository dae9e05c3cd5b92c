import { eventually } from "./eventually.ts";
import { findFreePort } from "./free-port.ts";
import { RedisServer } from "./redis.ts";

const slots = 16_384;
const nodeTimeoutMs = 1_000;

/** A Redis Cluster of so many shards; the first of them may have a replica, which takes its place after about a second. */
export class RedisCluster implements AsyncDisposable {
  readonly shards: readonly RedisServer[];
  readonly replica: RedisServer | null;
  readonly #resources: AsyncDisposableStack;

  private constructor(shards: readonly RedisServer[], replica: RedisServer | null, resources: AsyncDisposableStack) {
    this.shards = shards;
    this.replica = replica;
    this.#resources = resources;
  }

  static async start(shardCount = 3, withReplica = false): Promise<RedisCluster> {
    await using starting = new AsyncDisposableStack();
    const meetingPort = await findFreePort();
    const shards: RedisServer[] = [];
    while (shards.length < shardCount)
      shards.push(starting.use(await startServer(shards.length === 0 ? meetingPort : await findFreePort())));
    const replica = withReplica ? starting.use(await startServer(await findFreePort())) : null;
    const servers = replica === null ? shards : [...shards, replica];
    for (const [index, shard] of shards.entries()) {
      const [first, next] = [index, index + 1].map((place) => Math.floor((slots * place) / shardCount));
      await shard.command("CLUSTER", "ADDSLOTSRANGE", `${first}`, `${(next ?? slots) - 1}`);
    }
    // Why an epoch for each: until they agree on one after a meeting, two masters may have the same.
    for (const [index, server] of servers.entries())
      await server.command("CLUSTER", "SET-CONFIG-EPOCH", `${index + 1}`);
    const [first] = shards;
    for (const server of servers)
      if (server !== first) await server.command("CLUSTER", "MEET", "127.0.0.1", `${first?.port}`, `${meetingPort}`);
    await eventually("the cluster", async () => ((await knowEachOther(servers)) ? true : undefined));
    if (first !== undefined && replica !== null) await replicate(replica, first);
    return new RedisCluster(shards, replica, starting.move());
  }

  get urls(): readonly string[] {
    return this.shards.map(({ url }) => url);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#resources.disposeAsync();
  }
}

function startServer(busPort: number): Promise<RedisServer> {
  const options = ["--cluster-enabled", "yes", "--cluster-node-timeout", `${nodeTimeoutMs}`];
  // Why diskless without delay: a copy to a new replica waits 5 s for others by default.
  return RedisServer.start({
    options: [...options, "--cluster-port", `${busPort}`, "--repl-diskless-sync-delay", "0"],
  });
}

async function knowEachOther(servers: readonly RedisServer[]): Promise<boolean> {
  for (const server of servers) {
    const info = String(await server.command("CLUSTER", "INFO"));
    if (!info.includes("cluster_state:ok") || !info.includes(`cluster_known_nodes:${servers.length}\r`)) return false;
  }
  return true;
}

async function replicate(replica: RedisServer, master: RedisServer): Promise<void> {
  await replica.command("CLUSTER", "REPLICATE", String(await master.command("CLUSTER", "MYID")));
  await eventually("the replica to be one", async () =>
    String(await replica.command("ROLE")).includes("connected") ? true : undefined,
  );
}
