import { setTimeout as delay } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import path from "node:path";
import { z } from "zod";
import { repositoryRoot } from "../support/process.ts";
import { type SpawnedServer, spawnServer, tokenFor } from "../support/server.ts";
import { StockClient, transportOptions } from "../support/stock-client.ts";
import { TcpProxy } from "../support/tcp-proxy.ts";
import type { Faults } from "../support/transcript.ts";

export interface SlowReadersOptions {
  readonly seconds: number;
  readonly messagesPerSecond: number;
  readonly slowBytesPerSecond: number;
  /** When those that stop reading do so, and when they come back; after the begin of the load. */
  readonly deadAfterSeconds: number;
  readonly backAfterSeconds: number;
  /** Settings of the server over its defaults. */
  readonly environment: Readonly<Record<string, string>>;
  /** Sent before the base is measured, 16 KB each, so that the store's page cache (64 MiB) is full by then. */
  readonly warmUpMessages: number;
  /** Short ones, which eight readers then catch up on: as many as those that come back will have missed. */
  readonly warmUpMissed: number;
  readonly print: (line: string) => void;
}

export interface ReaderReport {
  readonly name: string;
  readonly connections: number;
  readonly recovered: number;
  /** The most that the server ever wrote to one of its connections beyond what had arrived. */
  readonly unansweredBytesMax: number;
  readonly pages: number;
  readonly complete: boolean;
  readonly gaps: readonly string[];
  readonly faults: Faults;
}

export interface Memory {
  readonly residentBytes: number;
  /** Of the main thread: its heap, and buffers. Not hidden by what the allocator keeps for later. */
  readonly inUseBytes: number;
}

export interface SlowReadersReport {
  readonly sent: number;
  readonly windowBytes: number;
  /** After a forced collection: before the slow ones came, and at its highest since. */
  readonly base: Memory;
  readonly max: Memory;
  /** Connections that the server saw end before the load did, by reason. */
  readonly disconnects: readonly string[];
  /** From the moment that a reader stopped until it was cut. */
  readonly cutAfterSeconds: readonly number[];
  readonly readers: readonly ReaderReport[];
}

const room = "busy";
const senders = 4;
const sampleMs = 5_000;
const completeLimitMs = 120_000;
const text = "x".repeat(100);

const collectedSchema = z.object({
  control: z.literal("collected"),
  residentBytes: z.number(),
  heapUsedBytes: z.number(),
  externalBytes: z.number(),
});

/** A reader behind a proxy of its own, which asks for history again and again, whether it reads the answers or not. */
class Reader implements AsyncDisposable {
  readonly name: string;
  readonly client: StockClient;
  readonly proxy: TcpProxy;
  pages = 0;
  #heldBytesMax = 0;
  readonly #timers: NodeJS.Timeout[] = [];

  private constructor(name: string, client: StockClient, proxy: TcpProxy) {
    this.name = name;
    this.client = client;
    this.proxy = proxy;
    this.#timers.push(setInterval(() => this.#watch(), 20));
  }

  static async start(server: SpawnedServer, name: string): Promise<Reader> {
    const proxy = await TcpProxy.before(server.url);
    const client = new StockClient(proxy.url, {
      ...transportOptions.websocket,
      auth: { token: await tokenFor(server, name) },
    });
    await client.join(room);
    return new Reader(name, client, proxy);
  }

  askForHistory(): void {
    const ask = (): void => {
      if (!this.client.socket.connected) return;
      this.client.socket.emit("room_history", { roomId: room, limit: 50 }, ({ ok }: { ok: boolean }) => {
        if (ok) this.pages += 1;
      });
    };
    this.#timers.push(setInterval(ask, 1_000));
  }

  report(head: number): ReaderReport {
    const transcript = this.client.transcript(room);
    return {
      name: this.name,
      connections: this.client.welcomes.length,
      recovered: this.client.welcomes.filter(({ recovered }) => recovered).length,
      unansweredBytesMax: this.#heldBytesMax,
      pages: this.pages,
      complete: transcript.has(head),
      gaps: transcript.gaps,
      faults: transcript.faults,
    };
  }

  #watch(): void {
    for (const link of this.proxy.links) this.#heldBytesMax = Math.max(this.#heldBytesMax, link.heldBytesMax);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    this.client[Symbol.dispose]();
    await this.proxy[Symbol.asyncDispose]();
  }
}

/** A room with steady traffic, some who read it all, one that reads slowly, and two that stop and come back later. */
export async function runSlowReaders(options: SlowReadersOptions): Promise<SlowReadersReport> {
  const { print } = options;
  await using opening = new AsyncDisposableStack();
  const controls = pathToFileURL(path.join(repositoryRoot, "test/support/server-controls.ts")).href;
  const server = opening.use(
    await spawnServer({
      environment: { NODE_OPTIONS: `--import ${controls}`, ...raisedRates, ...options.environment },
    }),
  );
  for (const roomId of [room, "warm-up", "warm-up-missed"])
    await server.api("PUT", `/rooms/${roomId}`, { access: "public" });
  const start = async (name: string): Promise<Reader> => opening.use(await Reader.start(server, name));
  const others = [await start("reader-0"), await start("reader-1"), await start("reader-2")];
  const load = await startLoad(server, options, opening);
  await warmUp(server, options);
  const memory = await watchMemory(server, opening);
  print(`base: ${describeMemory(memory.base)}, after a collection`);

  const slow = await start("slow");
  const dead = [await start("dead-0"), await start("dead-1")];
  const readers = [...others, slow, ...dead];
  const begunAt = performance.now();
  const elapsed = (): number => (performance.now() - begunAt) / 1_000;
  const timeline = setInterval(() => {
    const lag = load.head - (slow.client.transcript(room).reached ?? 0);
    const held = slow.proxy.links[0]?.heldBytes ?? 0;
    print(
      `${elapsed().toFixed(0).padStart(4)} s: ${load.head} sent, the slow one is ${lag} behind and ${held} bytes are on their way to it, ` +
        describeMemory(memory.last),
    );
  }, 10_000);
  opening.defer(() => clearInterval(timeline));
  for (const reader of readers) reader.askForHistory();
  for (const link of slow.proxy.links) link.setPace({ bytesPerSecond: options.slowBytesPerSecond });
  slow.proxy.pace = { bytesPerSecond: options.slowBytesPerSecond };

  await delay(options.deadAfterSeconds * 1_000);
  const cutAfterSeconds = await stopReading(dead, elapsed);
  await delay(Math.max(0, options.backAfterSeconds - elapsed()) * 1_000);
  print(`${elapsed().toFixed(0).padStart(4)} s: the two that stopped come back`);
  for (const reader of dead) reader.proxy.refuses = false;
  await delay(Math.max(0, options.seconds - elapsed()) * 1_000);
  const slowWelcomes = slow.client.welcomes.length;
  await load.stop();
  slow.proxy.pace = "at_once";
  for (const link of slow.proxy.links) link.setPace("at_once");
  await complete(readers, load.head);
  print(
    `${elapsed().toFixed(0).padStart(4)} s: all have everything, or have given up; the slow one had connected ${slowWelcomes} time(s)`,
  );
  await memory.sample();
  return {
    sent: load.head,
    windowBytes: Number(options.environment["PARLEY_LIMITS_WINDOW_BYTES"] ?? server.config.limits.windowBytes),
    base: memory.base,
    max: memory.max,
    disconnects: disconnectsIn(server.child.stdout),
    cutAfterSeconds,
    readers: readers.map((reader) => reader.report(load.head)),
  };
}

/** Reasons of the connections that ended, but for those of the warm-up. */
function disconnectsIn(log: string): readonly string[] {
  const lines = log.matchAll(/"user":"(?!warm-up)[^"]+","reason":"(\w+)","event":"disconnected"/g);
  return [...lines].map(([, reason = ""]) => reason);
}

/** So that a few senders make the traffic of a busy room. */
export const raisedRates = {
  PARLEY_LIMITS_EVENTS_PER_SECOND: "100000",
  PARLEY_LIMITS_EVENTS_BURST: "100000",
  PARLEY_LIMITS_USER_EVENTS_PER_SECOND: "100000",
  PARLEY_LIMITS_USER_EVENTS_BURST: "100000",
};

/** They stop, for good, and cannot connect again; gives how long the server took to cut each. */
async function stopReading(dead: readonly Reader[], elapsed: () => number): Promise<readonly number[]> {
  const stoppedAt = elapsed();
  for (const { proxy } of dead) {
    proxy.refuses = true;
    for (const link of proxy.links) link.setPace("stalled");
  }
  return Promise.all(
    dead.map(async ({ client }) => {
      while (client.losses === 0) await delay(10);
      return elapsed() - stoppedAt;
    }),
  );
}

async function startLoad(server: SpawnedServer, options: SlowReadersOptions, opening: AsyncDisposableStack) {
  const load = { head: 0, stop: async (): Promise<void> => {} };
  const clients: StockClient[] = [];
  for (let index = 0; index < senders; index += 1) {
    const auth = { token: await tokenFor(server, `sender-${index}`), recovery: false };
    clients.push(opening.use(new StockClient(server.url, { ...transportOptions.websocket, auth })));
  }
  await Promise.all(clients.map((client) => client.welcomed(1)));
  const under = new Set<Promise<number>>();
  const begunAt = performance.now();
  let sent = 0;
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - begunAt) / 1_000) * options.messagesPerSecond);
    for (; sent < due; sent += 1) {
      const sending = clients[sent % senders]?.send(room, text);
      if (sending === undefined) continue;
      under.add(sending);
      void sending.then((seq) => {
        load.head = Math.max(load.head, seq);
        under.delete(sending);
      });
    }
  }, 5);
  opening.defer(() => clearInterval(timer));
  load.stop = async () => {
    clearInterval(timer);
    await Promise.all(under);
  };
  return load;
}

/**
 * The work of the run, once and harder, so that what grows to a bound of its own has reached it: the page cache of the
 * store, and the young generation of the heap.
 */
async function warmUp(server: SpawnedServer, { warmUpMessages, warmUpMissed }: SlowReadersOptions): Promise<void> {
  const body = { userId: "carol", text: "x".repeat(16_000) };
  for (let sent = 0; sent < warmUpMessages; sent += 50) {
    await Promise.all(Array.from({ length: 50 }, () => server.api("POST", "/rooms/warm-up/messages", body)));
  }
  using clients = new DisposableStack();
  const start = async (index: number): Promise<StockClient> => {
    const auth = { token: await tokenFor(server, `warm-up-${index}`) };
    return clients.use(new StockClient(server.url, { ...transportOptions.websocket, auth }));
  };
  const sender = await start(8);
  await sender.join("warm-up-missed");
  const { "warm-up-missed": begin } = sender.positions;
  if (begin === undefined) throw new Error("the warm-up's room has no history");
  for (let sent = 0; sent < warmUpMissed; sent += 500)
    await Promise.all(Array.from({ length: 500 }, () => sender.send("warm-up-missed", text)));
  for (let index = 0; index < 8; index += 1) {
    const client = await start(index);
    await client.join("warm-up-missed", { ...begin, seq: 0 });
    await client.until("the whole room", () => client.textsOf("warm-up-missed").length >= warmUpMissed);
  }
}

/** Memory after a collection: now, which is the base, and again every few seconds. */
async function watchMemory(server: SpawnedServer, opening: AsyncDisposableStack) {
  let asked = 0;
  const collect = async (): Promise<Memory> => {
    const number = asked;
    asked += 1;
    server.child.writeInput("collect\n");
    for (;;) {
      const lines = server.child.stdout.split("\n").filter((line) => line.startsWith('{"control":"collected"'));
      // The last line may still be on its way.
      const line = lines[number];
      if (line?.endsWith("}") === true) {
        const { residentBytes, heapUsedBytes, externalBytes } = collectedSchema.parse(JSON.parse(line));
        return { residentBytes, inUseBytes: heapUsedBytes + externalBytes };
      }
      await delay(20);
    }
  };
  // Twice, because what the first one frees is given back with the second.
  await collect();
  const base = await collect();
  const memory = {
    base,
    last: base,
    max: { residentBytes: 0, inUseBytes: 0 },
    sample: async () => {
      memory.last = await collect();
      const { residentBytes, inUseBytes } = memory.last;
      memory.max = {
        residentBytes: Math.max(memory.max.residentBytes, residentBytes),
        inUseBytes: Math.max(memory.max.inUseBytes, inUseBytes),
      };
    },
  };
  const timer = setInterval(() => void memory.sample(), sampleMs);
  opening.defer(() => clearInterval(timer));
  return memory;
}

async function complete(readers: readonly Reader[], head: number): Promise<void> {
  const limit = performance.now() + completeLimitMs;
  while (!readers.every(({ client }) => client.transcript(room).has(head)) && performance.now() < limit)
    await delay(20);
}

export function describeMemory({ residentBytes, inUseBytes }: Memory): string {
  return `${(residentBytes / 1e6).toFixed(1)} MB resident, ${(inUseBytes / 1e6).toFixed(1)} MB of them in use by the main thread`;
}
