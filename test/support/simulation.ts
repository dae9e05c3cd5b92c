import { storedMemberships } from "../../packages/server/src/core/access.ts";
import { defaultFeedsLimits } from "../../packages/server/src/core/feeds.ts";
import { type LogId, logId } from "../../packages/server/src/core/log.ts";
import { type NodeLimits, ParleyNode } from "../../packages/server/src/core/node.ts";
import type { Operations } from "../../packages/server/src/core/operations.ts";
import { createOperations } from "../../packages/server/src/core/server-api.ts";
import type { Bus } from "../../packages/server/src/bus/bus.ts";
import { type CutStore, cutStore } from "./cut-store.ts";
import { MemoryStore } from "./memory-store.ts";
import { seededRandom } from "./random.ts";
import { SimulatedBusNetwork } from "./simulated-bus.ts";
import { type ClientOptions, SimulatedClient } from "./simulated-client.ts";
import { SimulatedClock } from "./simulated-clock.ts";

const simulatedLimits: NodeLimits = {
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
};

export const simulatedWindowBytes = 16_384;

export interface WorldOptions {
  readonly seed?: number;
  /** Rooms that every user may read and send to. */
  readonly openRooms?: readonly string[];
  readonly limits?: Partial<NodeLimits>;
  /** Milliseconds of one way to the store or back, at most. */
  readonly storeLatencyMaxMs?: number;
}

/** A cluster on a simulated clock: nodes that share a store and a bus, and clients, all from one seed. */
export class World {
  readonly random: () => number;
  readonly clock = new SimulatedClock();
  readonly store: MemoryStore;
  readonly network: SimulatedBusNetwork;
  readonly openRooms: ReadonlySet<LogId>;
  readonly nodes: ParleyNode[] = [];
  readonly clients: SimulatedClient[] = [];
  readonly limits: NodeLimits;
  readonly #buses = new Map<ParleyNode, Bus>();
  readonly #ways = new Map<ParleyNode, CutStore>();
  #started = 0;

  constructor(options: WorldOptions = {}) {
    const { seed = 1, openRooms = ["alpha"], storeLatencyMaxMs = 3 } = options;
    this.random = seededRandom(seed);
    this.store = new MemoryStore({
      clock: this.clock,
      latencyMs: () => Math.floor(this.random() * (storeLatencyMaxMs + 1)),
    });
    this.network = new SimulatedBusNetwork(this.clock, this.random);
    this.openRooms = new Set(openRooms.map((room) => logId("default", room)));
    this.limits = { ...simulatedLimits, ...options.limits };
  }

  async startNode(): Promise<ParleyNode> {
    const { clock, openRooms, limits } = this;
    const id = `node-${(this.#started += 1)}`;
    const bus = this.network.join(id);
    const way = cutStore(this.store);
    const { store } = way;
    const node = new ParleyNode({
      id,
      store,
      bus,
      clock,
      policy: storedMemberships(store, openRooms),
      openRooms,
      limits,
    });
    await node.start();
    this.#buses.set(node, bus);
    this.#ways.set(node, way);
    this.nodes.push(node);
    return node;
  }

  /** A node is gone at once, with what it had not told anyone; its clients lose their links. */
  kill(node: ParleyNode): void {
    const at = this.nodes.indexOf(node);
    if (at >= 0) this.nodes.splice(at, 1);
    this.cutBus(node);
    for (const client of this.clients) {
      if (client.node !== node && client.connectingTo !== node) continue;
      client.drop(false);
      if (client.node === node) client.node = null;
    }
    node.feeds.stop();
    node.sessions.stop();
    // What it was committing lands, or does not; it numbers no batch after it, and ends no lease.
    this.cutStore(node, true);
    this.background(node.stop());
  }

  /** While cut, the node does not reach the store; the others do. */
  cutStore(node: ParleyNode, cut: boolean): void {
    const way = this.#ways.get(node);
    if (way !== undefined) way.cut = cut;
  }

  /** Nothing that the node sends or is sent by bus arrives any more. */
  cutBus(node: ParleyNode): void {
    const bus = this.#buses.get(node);
    if (bus !== undefined) this.network.cut(bus);
  }

  addClient(userId: string, options: Partial<ClientOptions> = {}): SimulatedClient {
    const client = new SimulatedClient(userId, this.clock, {
      bytesPerMs: 1_000,
      windowBytes: simulatedWindowBytes,
      ...options,
    });
    this.clients.push(client);
    return client;
  }

  operations(node: ParleyNode): Operations {
    return createOperations(node);
  }

  pick<Item>(items: readonly Item[]): Item {
    const item = items[Math.floor(this.random() * items.length)];
    if (item === undefined) throw new Error("nothing to pick from");
    return item;
  }

  /** Waits for `promise` while time goes on, `limitMs` at most. */
  async until<Result>(promise: Promise<Result>, limitMs = 60_000): Promise<Result> {
    let settled = false;
    const mark = (): void => {
      settled = true;
    };
    promise.then(mark, mark);
    await this.clock.settle();
    for (let waited = 0; !settled && waited < limitMs; waited += 1) await this.clock.advance(1);
    if (!settled) throw new Error(`not done within ${limitMs} ms`);
    return promise;
  }

  /** For what may fail, and is tried again by whom it concerns. */
  background(promise: Promise<unknown> | undefined): void {
    promise?.catch(() => {});
  }

  /** All nodes end; afterwards nothing waits on the clock but what a client or a test set. */
  async stop(): Promise<void> {
    for (const client of this.clients) client.drop(true);
    for (const node of this.nodes.splice(0)) await this.until(node.stop());
  }
}
