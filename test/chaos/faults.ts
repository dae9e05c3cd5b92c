import { setTimeout as delay } from "node:timers/promises";
import type { Cluster, ClusterNode } from "../support/cluster.ts";
import { RedisServer } from "../support/redis.ts";
import type { TcpProxy } from "../support/tcp-proxy.ts";

/** What may befall a cluster, and what is behind it. */
export interface FaultWorld {
  readonly cluster: Cluster;
  /** Between the clients and the balancer. */
  readonly front: TcpProxy;
  /** 0 to 1, from the seed. */
  readonly random: () => number;
  /** Factor on all lengths: a short form has less time. */
  readonly pace: number;
  /** What is acknowledged now must soon be at every client that has a connection, while the fault lasts (FEED-2). */
  expectDelivery(): Promise<void>;
}

/** Strikes, and resolves when nothing stands in the way of recovery any more. */
export type Fault = (world: FaultWorld) => Promise<void>;

/** Every kind, by name. */
export const faults: Readonly<Record<string, Fault>> = {
  async node_killed(world) {
    const { server } = anyNode(world);
    await server.kill();
    await server.start();
  },

  async node_killed_and_away(world) {
    const { server } = anyNode(world);
    await server.kill();
    await wait(world, 1_000, 8_000);
    await server.start();
  },

  async node_stopped_and_woken(world) {
    const { server } = anyNode(world);
    server.child.signal("SIGSTOP");
    await wait(world, 1_000, 12_000);
    server.child.signal("SIGCONT");
  },

  async clients_moved_off_a_stopped_node(world) {
    const { server } = anyNode(world);
    server.child.signal("SIGSTOP");
    world.front.cut();
    await wait(world, 3_000, 8_000);
    server.child.signal("SIGCONT");
  },

  async nodes_restarted_in_turn({ cluster }) {
    for (const { server } of cluster.nodes) {
      await server.stop();
      await server.start();
    }
  },

  async redis_restarted(world) {
    await redisOf(world).restart();
  },

  async redis_flushed(world) {
    await redisOf(world).command("FLUSHALL");
  },

  async redis_away(world) {
    const redis = redisOf(world);
    await redis.kill();
    await wait(world, 2_000, 15_000);
    await world.expectDelivery();
    await redis.restart();
  },

  async redis_links_cut(world) {
    for (const { toRedis } of world.cluster.nodes) if (world.random() < 0.7) toRedis?.cut();
  },

  async redis_away_for_one_node(world) {
    const { toRedis } = anyNode(world);
    if (toRedis === null) return;
    toRedis.refuses = true;
    toRedis.cut();
    await wait(world, 1_000, 8_000);
    await world.expectDelivery();
    toRedis.refuses = false;
  },

  async redis_half_open_for_one_node(world) {
    const { toRedis } = anyNode(world);
    for (const link of toRedis?.links ?? []) link.setPace("stalled");
    await wait(world, 1_000, 8_000);
    toRedis?.cut();
  },

  async postgres_restarted({ cluster }) {
    await cluster.postgres.restart();
  },

  async postgres_killed({ cluster }) {
    await cluster.postgres.kill();
    await cluster.postgres.resume();
  },

  async postgres_links_cut(world) {
    for (const { toPostgres } of world.cluster.nodes) if (world.random() < 0.7) toPostgres.cut();
  },

  async postgres_away_for_one_node(world) {
    const { toPostgres } = anyNode(world);
    toPostgres.refuses = true;
    toPostgres.cut();
    await wait(world, 500, 5_000);
    toPostgres.refuses = false;
  },

  async clients_cut({ front }) {
    front.cut();
  },

  async clients_half_open({ front }) {
    front.abandon();
  },
};

function anyNode({ cluster, random }: FaultWorld): ClusterNode {
  return cluster.node(Math.floor(random() * cluster.nodes.length));
}

function redisOf({ cluster }: FaultWorld): RedisServer {
  if (cluster.redis instanceof RedisServer) return cluster.redis;
  throw new Error("these faults are for a single Redis");
}

function wait({ random, pace }: FaultWorld, minMs: number, maxMs: number): Promise<void> {
  return delay((minMs + random() * (maxMs - minMs)) * pace);
}
