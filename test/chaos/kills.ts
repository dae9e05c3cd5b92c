import { setTimeout as delay } from "node:timers/promises";
import { seededRandom } from "../support/random.ts";
import { type SpawnedServer, spawnServer, tokenFor } from "../support/server.ts";
import { createTemporaryFolder } from "../support/temporary-folder.ts";
import type { ChaosClient, Reconnecting } from "./chaos-client.ts";
import { check, readLogs, type Verdict } from "./check.ts";
import { SdkClient } from "./sdk-client.ts";
import { StockChaosClient } from "./stock-client.ts";

export interface KillsOptions {
  readonly kills: number;
  readonly seed: number;
  readonly clients: number;
  /** Messages that each client sends per second. */
  readonly sendsPerSecond: number;
  /** A kill comes at a random moment within so long after all clients are back. */
  readonly calmMsMax: number;
  /** Whether clients come back as fast as their defaults say, or at once. */
  readonly reconnecting: Reconnecting;
  /** Part of the kills that come while clients are still coming back from the one before. */
  readonly earlyPart: number;
  readonly print: (line: string) => void;
}

export interface KillsReport {
  readonly verdict: Verdict;
  /** From each kill until the server was ready again. */
  readonly readySeconds: readonly number[];
  /** From each kill until a client followed all rooms again and had every message acknowledged before it: each client. */
  readonly clientSeconds: readonly number[];
  /** The same, until the last of them had. */
  readonly completeSeconds: readonly number[];
  /** From the moment that the server was ready until each client had a connection again: its own waiting, mostly. */
  readonly connectedSeconds: readonly number[];
  /** Refusals that clients met. */
  readonly refused: readonly string[];
}

const rooms = ["red", "green", "blue"];
const backLimitMs = 60_000;
const lookMs = 5;

/** Kills a real node under load, again and again; the verdict is of the log on disk against what clients saw. */
export async function runKills(options: KillsOptions): Promise<KillsReport> {
  await using folder = await createTemporaryFolder();
  await using server = await spawnServer({ folder: folder.path });
  for (const room of rooms) await server.api("PUT", `/rooms/${room}`, { access: "public" });
  using crowd = new DisposableStack();
  const clients = await startClients(server, options, crowd);
  await until("all clients to join", () => clients.every((client) => client.following));
  const load = startLoad(clients, options);
  const times = await killAgainAndAgain(server, clients, options);
  await load.stop();
  await until("all acknowledgements", () => clients.every(({ unacknowledged }) => unacknowledged === 0));
  const heads = headsOf(clients);
  await until("the last messages", () => clients.every((client) => hasAll(client, heads))).catch((error: unknown) =>
    options.print(String(error)),
  );
  await server.stop();
  const verdict = check(clients, await readLogs(folder.path, rooms));
  return { verdict, ...times, refused: clients.flatMap(({ journal }) => journal.refused) };
}

/** A mix of software and ways in, each of which comes again after eight. */
async function startClients(
  server: SpawnedServer,
  { clients: count, reconnecting }: KillsOptions,
  crowd: DisposableStack,
): Promise<readonly ChaosClient[]> {
  const clients: ChaosClient[] = [];
  for (let index = 0; index < count; index += 1) {
    const userId = `user-${index}`;
    const common = { userId, url: server.url, token: await tokenFor(server, userId), rooms, reconnecting };
    const client = makers[index % makers.length]?.(common);
    if (client === undefined) continue;
    clients.push(crowd.use(client));
    client.start();
  }
  return clients;
}

type Common = Omit<ConstructorParameters<typeof SdkClient>[0], "transport">;

const makers: readonly ((common: Common) => ChaosClient)[] = [
  (common) => new SdkClient({ ...common, transport: "websocket" }),
  (common) => new StockChaosClient({ ...common, transport: "upgrade", presenting: "auth.resume" }),
  (common) => new StockChaosClient({ ...common, transport: "websocket", presenting: "join_room" }),
  (common) => new SdkClient({ ...common, transport: "polling" }),
  (common) => new StockChaosClient({ ...common, transport: "websocket", presenting: "auth.resume" }),
  (common) => new StockChaosClient({ ...common, transport: "upgrade", presenting: "join_room" }),
  (common) => new StockChaosClient({ ...common, transport: "polling", presenting: "auth.resume" }),
  (common) => new SdkClient({ ...common, transport: "websocket" }),
];

function startLoad(clients: readonly ChaosClient[], { seed, sendsPerSecond }: KillsOptions) {
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
  return { stop: async () => timers.forEach((timer) => clearInterval(timer)) };
}

async function killAgainAndAgain(server: SpawnedServer, clients: readonly ChaosClient[], options: KillsOptions) {
  const random = seededRandom(options.seed);
  const times = { readySeconds: list(), clientSeconds: list(), completeSeconds: list(), connectedSeconds: list() };
  for (let kill = 1; kill <= options.kills; kill += 1) {
    await delay(random() * options.calmMsMax);
    const heads = headsOf(clients);
    const killedAt = performance.now();
    await server.kill();
    await server.start();
    const readySeconds = (performance.now() - killedAt) / 1_000;
    times.readySeconds.push(readySeconds);
    const ready = `kill ${kill}: ready after ${readySeconds.toFixed(2)} s`;
    if (random() < options.earlyPart && kill < options.kills) {
      options.print(`${ready}, the next one comes at once`);
      continue;
    }
    const seconds = await comeBack(clients, heads, killedAt);
    times.connectedSeconds.push(...seconds.connected.map((connected) => connected - readySeconds));
    times.clientSeconds.push(...seconds.complete);
    const complete = Math.max(...seconds.complete);
    times.completeSeconds.push(complete);
    options.print(`${ready}, complete after ${complete.toFixed(2)} s`);
  }
  return times;
}

function list(): number[] {
  return [];
}

/** When each client had a connection again, and when it had everything; in seconds since the kill. */
async function comeBack(clients: readonly ChaosClient[], heads: ReadonlyMap<string, number>, killedAt: number) {
  const connected = new Map<ChaosClient, number>();
  const complete = new Map<ChaosClient, number>();
  await until("all clients to be back", () => {
    const now = (performance.now() - killedAt) / 1_000;
    for (const client of clients) {
      if (client.connected && !connected.has(client)) connected.set(client, now);
      if (client.following && hasAll(client, heads) && !complete.has(client)) complete.set(client, now);
    }
    return complete.size === clients.length;
  }).catch((error: unknown) => {
    const missing = clients.filter((client) => !complete.has(client)).map((client) => describe(client, heads));
    throw new Error(`these are not back: ${missing.join("; ")}`, { cause: error });
  });
  return { connected: [...connected.values()], complete: [...complete.values()] };
}

function describe(client: ChaosClient, heads: ReadonlyMap<string, number>): string {
  const reached = [...heads].map(([room, head]) => `${client.journal.transcript(room).reached} of ${head} in ${room}`);
  const { name, connected, following, unacknowledged } = client;
  return `${name}, ${connected ? "" : "not "}connected, ${following ? "" : "not "}following, ${reached.join(", ")}, ${unacknowledged} unacknowledged`;
}

/** The highest acknowledged seq of each room. */
function headsOf(clients: readonly ChaosClient[]): ReadonlyMap<string, number> {
  const heads = new Map<string, number>(rooms.map((room) => [room, 0]));
  for (const { journal } of clients) {
    for (const { room, seq } of journal.acknowledged) heads.set(room, Math.max(heads.get(room) ?? 0, seq));
  }
  return heads;
}

function hasAll({ journal }: ChaosClient, heads: ReadonlyMap<string, number>): boolean {
  return [...heads].every(([room, seq]) => journal.transcript(room).has(seq));
}

async function until(what: string, ask: () => boolean): Promise<void> {
  const limit = performance.now() + backLimitMs;
  while (!ask()) {
    if (performance.now() > limit) throw new Error(`waited ${backLimitMs} ms for ${what}`);
    await delay(lookMs);
  }
}
