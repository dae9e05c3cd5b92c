import { randomUUID } from "node:crypto";
import { PostgresServer } from "./postgres.ts";
import { type ProxyKind, type RunningProxy, startProxy } from "./proxies.ts";
import { RedisServer } from "./redis.ts";
import { RedisCluster } from "./redis-cluster.ts";
import { RedisSentinels } from "./redis-sentinel.ts";
import { type SpawnedServer, spawnServer, tokenFor, type TokenOptions } from "./server.ts";
import { TcpProxy } from "./tcp-proxy.ts";

export interface ClusterOptions {
  /** 2 by default. */
  readonly nodes?: number;
  /** A balancer of this kind in front; without it clients choose a node. */
  readonly balancer?: ProxyKind;
  /** `single` by default; `none`: the nodes have the store in common, and no bus. */
  readonly redis?: "single" | "sentinel" | "cluster" | "none";
  /** Settings as `PARLEY_…`, over those of the test. */
  readonly environment?: Readonly<Record<string, string>>;
}

/** What stands behind the nodes: real ones, of this test alone. */
interface Backend {
  readonly postgres: PostgresServer;
  readonly redis: RedisServer | RedisSentinels | RedisCluster | null;
  readonly storeUrl: string;
}

/** One node, and the links between it and what stands behind it, which a test may cut, slow and stall. */
export interface ClusterNode {
  readonly server: SpawnedServer;
  /** Null for a Redis that is not single: its addresses are told by itself. */
  readonly toRedis: TcpProxy | null;
  readonly toPostgres: TcpProxy;
}

const busSecret = "m4Yw8Zt1Qx6Lr3Vn9Kc5Jd7Hb2Gf0Ps8";

/** Real nodes on one Postgres and one Redis, as processes of their own. */
export class Cluster implements AsyncDisposable {
  readonly nodes: readonly ClusterNode[];
  readonly postgres: PostgresServer;
  readonly redis: Backend["redis"];
  readonly balancer: RunningProxy | null;
  /** Past the links that a test may cut. */
  readonly storeUrl: string;
  readonly #resources: AsyncDisposableStack;

  private constructor(
    nodes: readonly ClusterNode[],
    { postgres, redis, storeUrl }: Backend,
    balancer: RunningProxy | null,
    resources: AsyncDisposableStack,
  ) {
    this.nodes = nodes;
    this.postgres = postgres;
    this.redis = redis;
    this.storeUrl = storeUrl;
    this.balancer = balancer;
    this.#resources = resources;
  }

  static async start(options: ClusterOptions = {}): Promise<Cluster> {
    await using starting = new AsyncDisposableStack();
    const [postgres, redis] = await Promise.all([
      PostgresServer.start({ fsync: true }).then((server) => starting.use(server)),
      startRedis(options.redis ?? "single").then((server) => server && starting.use(server)),
    ]);
    const schema = `test_${randomUUID().replaceAll("-", "")}`;
    const nodes: ClusterNode[] = [];
    for (let index = 0; index < (options.nodes ?? 2); index += 1) {
      const toPostgres = starting.use(await TcpProxy.before(postgres.url()));
      const toRedis = redis instanceof RedisServer ? starting.use(await TcpProxy.before(redis.url)) : null;
      const storeUrl = new URL(postgres.url(schema));
      storeUrl.port = new URL(toPostgres.url).port;
      const environment = {
        PARLEY_STORE_URL: storeUrl.href,
        ...(redis === null ? {} : busSettings(redis, toRedis)),
        ...options.environment,
      };
      nodes.push({ server: starting.use(await spawnServer({ environment })), toRedis, toPostgres });
    }
    const urls = nodes.map(({ server }) => server.url);
    const balancer = options.balancer === undefined ? null : starting.use(await startProxy(options.balancer, urls));
    return new Cluster(nodes, { postgres, redis, storeUrl: postgres.url(schema) }, balancer, starting.move());
  }

  /** Where clients connect: the balancer, or else the first node. */
  get url(): string {
    return this.balancer?.url ?? this.node(0).server.url;
  }

  node(index: number): ClusterNode {
    const node = this.nodes[index];
    if (node === undefined) throw new Error(`there is no node ${index}`);
    return node;
  }

  /** Makes a room that all may enter. */
  async makeRoom(roomId: string): Promise<void> {
    await this.node(0).server.api("PUT", `/rooms/${roomId}`, { access: "public" });
  }

  tokenFor(userId: string, options: TokenOptions = {}): Promise<string> {
    return tokenFor(this.node(0).server, userId, options);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#resources.disposeAsync();
  }
}

async function startRedis(kind: "single" | "sentinel" | "cluster" | "none"): Promise<Backend["redis"]> {
  if (kind === "none") return null;
  if (kind === "sentinel") return RedisSentinels.start();
  return kind === "cluster" ? RedisCluster.start(3, true) : RedisServer.start();
}

function busSettings(redis: RedisServer | RedisSentinels | RedisCluster, proxy: TcpProxy | null) {
  const secret = { PARLEY_BUS_SECRET: busSecret };
  if (redis instanceof RedisServer)
    return { ...secret, PARLEY_BUS_URL: (proxy?.url ?? redis.url).replace("http://", "redis://") };
  const mode = redis instanceof RedisCluster ? "cluster" : "sentinel";
  return { ...secret, PARLEY_BUS_URL: redis.urls.join(","), PARLEY_BUS_MODE: mode };
}
