import { setTimeout as delay } from "node:timers/promises";
import { seededRandom } from "../support/random.ts";
import { type SpawnedServer, spawnServer, tokenFor } from "../support/server.ts";
import { createTemporaryFolder } from "../support/temporary-folder.ts";
import type { ChaosClient } from "./chaos-client.ts";
import { check, readSqliteLogs, type Verdict } from "./check.ts";
import {
  comeBack,
  type CrowdOptions,
  hasAll,
  headsOf,
  presentingPositions,
  rooms,
  startClients,
  startLoad,
  until,
} from "./crowd.ts";

export interface KillsOptions extends CrowdOptions {
  readonly kills: number;
  /** A kill comes at a random moment within so long after all clients are back. */
  readonly calmMsMax: number;
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

/** Kills a real node under load, again and again; the verdict is of the log on disk against what clients saw. */
export async function runKills(options: KillsOptions): Promise<KillsReport> {
  await using folder = await createTemporaryFolder();
  await using server = await spawnServer({ folder: folder.path });
  for (const room of rooms) await server.api("PUT", `/rooms/${room}`, { access: "public" });
  using crowd = new DisposableStack();
  const door = { url: server.url, tokenFor: (userId: string) => tokenFor(server, userId) };
  const clients = await startClients(door, presentingPositions, options, crowd);
  await until("all clients to join", () => clients.every((client) => client.following));
  const stopLoad = startLoad(clients, options);
  const times = await killAgainAndAgain(server, clients, options);
  stopLoad();
  await until("all acknowledgements", () => clients.every(({ unacknowledged }) => unacknowledged === 0));
  const heads = headsOf(clients);
  await until("the last messages", () => clients.every((client) => hasAll(client, heads))).catch((error: unknown) =>
    options.print(String(error)),
  );
  await server.stop();
  const verdict = check(clients, await readSqliteLogs(folder.path, rooms));
  return { verdict, ...times, refused: clients.flatMap(({ journal }) => journal.refused) };
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
