import { expect } from "vitest";
import type { ParleyNode } from "../../packages/server/src/core/node.ts";
import type { SimulatedClient } from "./simulated-client.ts";
import { World, type WorldOptions } from "./simulation.ts";

interface Cluster {
  readonly world: World;
  /** Where the client is at first, and where it comes back. */
  readonly first: ParleyNode;
  readonly second: ParleyNode;
  readonly client: SimulatedClient;
}

/** Three nodes; a client on the first has joined `alpha`, where two messages are. */
export async function createCluster(options: WorldOptions = {}): Promise<Cluster> {
  const world = new World({ openRooms: ["alpha", "beta"], ...options });
  const first = await world.startNode();
  const second = await world.startNode();
  await world.startNode();
  const client = world.addClient("anna");
  await world.until(client.connect(first));
  await world.until(client.join("alpha"));
  await world.clock.advance(2_000);
  const cluster = { world, first, second, client };
  await send(cluster, 2);
  return cluster;
}

export async function send({ world }: Cluster, count: number, room = "alpha"): Promise<void> {
  for (; count > 0; count -= 1)
    await world.until(
      world.pick(world.nodes).rooms.send({ tenant: "default", id: "writer" }, { roomId: room, text: "x" }),
    );
  await world.clock.advance(2_500);
}

export function seqsOf({ transcript }: SimulatedClient, room = "alpha"): number[] {
  return transcript.deliveries.filter((delivery) => delivery.room === room).map(({ seq }) => seq);
}

export function callsOf({ world }: Cluster, method: string): number {
  return world.store.calls.get(method) ?? 0;
}

/** The client comes back by its session, which must be the one it had. */
export async function comeBack({ world, client }: Cluster, node: ParleyNode): Promise<void> {
  const { pid, session, recovered } = client;
  await world.until(client.connect(node, "session"));
  expect(client.recovered).toBe(recovered + 1);
  expect({ pid: client.pid, id: client.session?.id }).toEqual({ pid, id: session?.id });
  await world.clock.advance(100);
}
