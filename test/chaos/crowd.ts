import { setTimeout as delay } from "node:timers/promises";
import { seededRandom } from "../support/random.ts";
import type { ChaosClient, Reconnecting } from "./chaos-client.ts";
import { SdkClient } from "./sdk-client.ts";
import { type Presenting, StockChaosClient } from "./stock-client.ts";

export interface CrowdOptions {
  readonly seed: number;
  readonly clients: number;
  /** Messages that each client sends per second. */
  readonly sendsPerSecond: number;
  /** Whether clients come back as fast as their defaults say, or at once. */
  readonly reconnecting: Reconnecting;
}

/** Where the clients go. */
export interface Door {
  readonly url: string;
  tokenFor(userId: string): Promise<string>;
}

export const rooms = ["red", "green", "blue"];
const lookMs = 5;

type Common = Omit<ConstructorParameters<typeof SdkClient>[0], "transport">;
type Maker = (common: Common) => ChaosClient;

function sdk(transport: "websocket" | "polling"): Maker {
  return (common) => new SdkClient({ ...common, transport });
}

function stock(transport: "websocket" | "polling" | "upgrade", presenting: Presenting): Maker {
  return (common) => new StockChaosClient({ ...common, transport, presenting });
}

/** A mix of software and ways in, each of which comes again after eight. */
export const presentingPositions: readonly Maker[] = [
  sdk("websocket"),
  stock("upgrade", "auth.resume"),
  stock("websocket", "join_room"),
  sdk("polling"),
  stock("websocket", "auth.resume"),
  stock("upgrade", "join_room"),
  stock("polling", "auth.resume"),
  sdk("websocket"),
];

/** The same, with stock clients that leave it all to connection state recovery. */
export const withRecovery: readonly Maker[] = [
  sdk("websocket"),
  stock("websocket", "recovery"),
  stock("upgrade", "auth.resume"),
  stock("upgrade", "recovery"),
  sdk("polling"),
  stock("websocket", "join_room"),
  stock("websocket", "recovery"),
  stock("polling", "auth.resume"),
];

export async function startClients(
  door: Door,
  makers: readonly Maker[],
  { clients: count, reconnecting }: CrowdOptions,
  crowd: DisposableStack,
): Promise<readonly ChaosClient[]> {
  const clients: ChaosClient[] = [];
  for (let index = 0; index < count; index += 1) {
    const userId = `user-${index}`;
    const common = { userId, url: door.url, token: await door.tokenFor(userId), rooms, reconnecting };
    const client = makers[index % makers.length]?.(common);
    if (client === undefined) continue;
    clients.push(crowd.use(client));
    client.start();
  }
  return clients;
}

/** Every client sends at its pace until the returned function is called. */
export function startLoad(clients: readonly ChaosClient[], { seed, sendsPerSecond }: CrowdOptions): () => void {
  const random = seededRandom(seed + 1_000);
  const sent = clients.map(() => 0);
  const timers = clients.map((client, index) =>
    setInterval(() => {
      // Why: who is away for long does not queue without end.
      if (client.unacknowledged > 20 * sendsPerSecond) return;
      const number = (sent[index] = (sent[index] ?? 0) + 1);
      const room = rooms[Math.floor(random() * rooms.length)] ?? "red";
      client.send(room, `${index} ${number} ${"x".repeat(Math.floor(random() ** 3 * 400))}`);
    }, 1_000 / sendsPerSecond),
  );
  return () => timers.forEach((timer) => clearInterval(timer));
}

/** When each client had a connection again, and when it had everything; in seconds since the fault. */
export async function comeBack(clients: readonly ChaosClient[], heads: ReadonlyMap<string, number>, faultAt: number) {
  const connected = new Map<ChaosClient, number>();
  const complete = new Map<ChaosClient, number>();
  await until("all clients to be back", () => {
    const now = (performance.now() - faultAt) / 1_000;
    for (const client of clients) {
      if (client.connected && !connected.has(client)) connected.set(client, now);
      if (client.following && hasAll(client, heads) && !complete.has(client)) complete.set(client, now);
    }
    return complete.size === clients.length;
  }).catch((error: unknown) => {
    const missing = clients.filter((client) => !complete.has(client)).map((client) => describe(client, heads));
    throw new Error(`these are not back: ${missing.join("; ")}`, { cause: error });
  });
  const [slowest] = [...complete.keys()].slice(-1);
  return { connected: [...connected.values()], complete: [...complete.values()], slowest: slowest?.name ?? "" };
}

function describe(client: ChaosClient, heads: ReadonlyMap<string, number>): string {
  const reached = [...heads].map(([room, head]) => `${client.journal.transcript(room).reached} of ${head} in ${room}`);
  const { name, connected, following, unacknowledged } = client;
  return `${name}, ${connected ? "" : "not "}connected, ${following ? "" : "not "}following, ${reached.join(", ")}, ${unacknowledged} unacknowledged`;
}

/** The highest acknowledged seq of each room. */
export function headsOf(clients: readonly ChaosClient[]): ReadonlyMap<string, number> {
  const heads = new Map<string, number>(rooms.map((room) => [room, 0]));
  for (const { journal } of clients) {
    for (const { room, seq } of journal.acknowledged) heads.set(room, Math.max(heads.get(room) ?? 0, seq));
  }
  return heads;
}

export function hasAll({ journal }: ChaosClient, heads: ReadonlyMap<string, number>): boolean {
  return [...heads].every(([room, seq]) => journal.transcript(room).has(seq));
}

const backLimitMs = 60_000;

/** Errors: rejects after a minute. */
export async function until(what: string, ask: () => boolean): Promise<void> {
  const limit = performance.now() + backLimitMs;
  while (!ask()) {
    if (performance.now() > limit) throw new Error(`waited ${backLimitMs} ms for ${what}`);
    await delay(lookMs);
  }
}
