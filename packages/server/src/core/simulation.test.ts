import { describe, expect, test } from "vitest";
import { MemoryStore } from "../../../../test/support/memory-store.ts";
import { seededRandom } from "../../../../test/support/random.ts";
import { SimulatedBusNetwork } from "../../../../test/support/simulated-bus.ts";
import { SimulatedClient } from "../../../../test/support/simulated-client.ts";
import { SimulatedClock } from "../../../../test/support/simulated-clock.ts";
import { storedMemberships } from "./access.ts";
import { defaultFeedsLimits } from "./feeds.ts";
import { logId } from "./log.ts";
import { ParleyNode } from "./node.ts";

const windowBytes = 16_384;
const seeds = 200;

function createWorld(seed: number, nodeCount: number) {
  const random = seededRandom(seed);
  const clock = new SimulatedClock();
  const store = new MemoryStore({ clock, latencyMs: () => Math.floor(random() * 4) });
  const network = new SimulatedBusNetwork(clock, random);
  const rooms = ["alpha", "beta", "gamma"];
  const openRooms = new Set(rooms.map((room) => logId("default", room)));
  let started = 0;
  const startNode = async () => {
    const node = new ParleyNode({
      id: `node-${(started += 1)}`,
      store,
      bus: network.join(),
      clock,
      policy: storedMemberships(store, openRooms),
      openRooms,
      limits: {
        ...defaultFeedsLimits,
        tailBytesMax: 4_096,
        roomsPerConnectionMax: 10,
        historyPageBytesMax: 4_096,
        catchUpMax: 100_000,
        maxDisconnectionDurationMs: 120_000,
        detachedSessionsMax: 100,
        connectionsPerUserMax: 10,
        expiringNoticeMs: 60_000,
        leaveGraceMs: 5_000,
        presenceListMax: 100,
        accessTtlMs: 30_000,
        accessTimeoutMs: 5_000,
        cacheMax: 1_000,
        inboxSaveMs: 1_000,
      },
    });
    await node.start();
    return node;
  };
  return { random, clock, store, network, rooms, startNode, nodeCount };
}

type World = ReturnType<typeof createWorld>;

async function startNodes(world: World): Promise<ParleyNode[]> {
  return Promise.all(Array.from({ length: world.nodeCount }, () => world.startNode()));
}

function pick<Item>(random: () => number, items: readonly Item[]): Item {
  const item = items[Math.floor(random() * items.length)];
  if (item === undefined) throw new Error("nothing to pick from");
  return item;
}

/** What was acknowledged: room, seq and text. */
type Acknowledged = Map<string, string>;

function send(node: ParleyNode, room: string, text: string, clientId: string, acknowledged: Acknowledged): void {
  node.rooms.send({ tenant: "default", id: "writer" }, { roomId: room, text, clientId }).then(
    ({ seq }) => acknowledged.set(`${room} ${seq}`, text),
    () => {},
  );
}

/** Faults strike and clients come and go for `steps` steps; then all heals, and everyone has everything. */
async function simulate(
  seed: number,
  steps: number,
): Promise<{ faults: string[]; delivered: number; recovered: number }> {
  const world = createWorld(seed, 3);
  const { random, clock, store, network, rooms } = world;
  const nodes = await startNodes(world);
  const clients = Array.from(
    { length: 6 },
    (_, index) =>
      new SimulatedClient(`user-${index}`, clock, { bytesPerMs: pick(random, [0.5, 5, 1_000]), windowBytes }),
  );
  const acknowledged: Acknowledged = new Map();
  network.faults.lost = random() * 0.5;
  network.faults.repeated = random() * 0.3;
  network.faults.delayMaxMs = 1 + random() * 500;
  const background = (promise: Promise<unknown> | undefined) => void promise?.catch(() => {});

  for (let step = 0; step < steps; step += 1) {
    const client = pick(random, clients);
    const dice = random();
    if (dice < 0.5)
      send(
        pick(random, nodes),
        pick(random, rooms),
        `text ${step} ${"x".repeat(random() * 200)}`,
        `id-${step}`,
        acknowledged,
      );
    else if (dice < 0.6) background(client.join(pick(random, rooms)));
    else if (dice < 0.63) background(client.leave(pick(random, rooms)));
    else if (dice < 0.68) client.drop(random() < 0.5);
    else if (dice < 0.75 && client.connection === null) {
      const home = client.node;
      const stays = home !== null && nodes.includes(home) && random() < 0.6;
      background(stays ? client.connect(home, "session") : client.connect(pick(random, nodes), "positions"));
    } else if (dice < 0.76)
      store.failNextAppends(pick(random, ["unavailable", "unknown_committed", "unknown_not_committed"]));
    else if (dice < 0.765) {
      network.setDown(true);
      clock.after(Math.floor(random() * 3_000), () => network.setDown(false));
    } else if (dice < 0.77) {
      store.setDown(true);
      clock.after(Math.floor(random() * 1_000), () => store.setDown(false));
    } else if (dice < 0.773) {
      await killNode(world, nodes, clients);
    }
    await clock.advance(Math.floor(random() * 30));
  }
  network.setDown(false);
  store.setDown(false);
  await heal(world, nodes, clients);
  const faults = await verify(world, clients, acknowledged);
  for (const node of nodes) background(node.stop());
  const total = (count: (client: SimulatedClient) => number) => clients.reduce((sum, client) => sum + count(client), 0);
  return {
    faults,
    delivered: total(({ deliveries }) => deliveries.length),
    recovered: total(({ recovered }) => recovered),
  };
}

/** A node is gone at once, with what it had not told anyone; its clients lose their links, and another node comes. */
async function killNode(world: World, nodes: ParleyNode[], clients: readonly SimulatedClient[]): Promise<void> {
  const [dead] = nodes.splice(Math.floor(world.random() * nodes.length), 1);
  for (const client of clients) {
    if (client.node !== dead) continue;
    client.drop(false);
    client.node = null;
  }
  dead?.feeds.stop();
  dead?.sessions.stop();
  nodes.push(await world.startNode());
}

async function heal(world: World, nodes: readonly ParleyNode[], clients: readonly SimulatedClient[]): Promise<void> {
  await world.clock.advance(2_000);
  for (const client of clients) {
    client.bytesPerMs = 1_000;
    if (client.connection !== null) client.connection.resumeReading(1_000);
    else {
      const home = client.node !== null && nodes.includes(client.node) ? client.node : null;
      const connecting =
        home === null ? client.connect(pick(world.random, nodes), "positions") : client.connect(home, "session");
      connecting.catch(() => {});
    }
  }
  await world.clock.advance(40_000);
}

async function verify(
  world: World,
  clients: readonly SimulatedClient[],
  acknowledged: Acknowledged,
): Promise<string[]> {
  const faults = clients.flatMap((client) => client.faults.map((fault) => `${client.user.id} ${fault}`));
  const states = world.store.states(world.rooms.map((room) => logId("default", room)));
  await world.clock.advance(100);
  for (const [index, state] of (await states).entries()) {
    const room = world.rooms[index];
    for (const client of clients) {
      const seen = client.seen.get(String(room));
      if (seen !== undefined && seen.seq !== state?.head)
        faults.push(`${client.user.id} ${room}: at ${seen.seq} of ${state?.head}`);
      if (client.connection === null) faults.push(`${client.user.id} is not connected`);
      const most = Math.max(client.unansweredMax, client.connection?.unansweredMax ?? 0);
      if (most > windowBytes + 4_096) faults.push(`${client.user.id} had ${most} bytes unanswered`);
    }
  }
  return [...faults, ...(await verifyAcknowledged(world, acknowledged))];
}

async function verifyAcknowledged(world: World, acknowledged: Acknowledged): Promise<string[]> {
  const faults: string[] = [];
  for (const room of world.rooms) {
    for (let after = 0; ; ) {
      const reading = world.store.readAfter(logId("default", room), after, 500, 1_000_000);
      await world.clock.advance(50);
      const page = await reading;
      if (page === undefined || page.entries.length === 0) break;
      for (const entry of page.entries) {
        after += 1;
        if (entry.seq !== after) faults.push(`${room}: seq ${entry.seq} where ${after} was due`);
        const text = acknowledged.get(`${room} ${entry.seq}`);
        acknowledged.delete(`${room} ${entry.seq}`);
        if (text !== undefined && JSON.parse(entry.data).text !== text)
          faults.push(`${room} ${entry.seq}: another text`);
      }
    }
  }
  return [...faults, ...[...acknowledged.keys()].map((key) => `${key} was acknowledged and is not there`)];
}

describe("simulated cluster", () => {
  test("[FEED-1] whatever befalls hints, links, nodes and store: each entry once, in order, without a gap", {
    timeout: 120_000,
  }, async () => {
    let delivered = 0;
    let recovered = 0;
    for (let seed = 1; seed <= seeds; seed += 1) {
      const result = await simulate(seed, 300);
      expect(result.faults, `seed ${seed}`).toEqual([]);
      delivered += result.delivered;
      recovered += result.recovered;
    }
    expect(delivered).toBeGreaterThan(1_000);
    expect(recovered).toBeGreaterThan(10);
    console.log(`delivered ${delivered} entries, recovered ${recovered} sessions`);
  });
});
