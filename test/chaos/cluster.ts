import { setTimeout as delay } from "node:timers/promises";
import { Cluster } from "../support/cluster.ts";
import { seededRandom } from "../support/random.ts";
import { TcpProxy } from "../support/tcp-proxy.ts";
import type { ChaosClient } from "./chaos-client.ts";
import { check, Findings, readPostgresLogs, type Verdict } from "./check.ts";
import {
  comeBack,
  type CrowdOptions,
  hasAll,
  headsOf,
  rooms,
  startClients,
  startLoad,
  until,
  withRecovery,
} from "./crowd.ts";
import { type Fault, faults, type FaultWorld } from "./faults.ts";

export interface ClusterChaosOptions extends CrowdOptions {
  /** The run ends with the first fault that ends after it. */
  readonly seconds: number;
  readonly nodes: number;
  /** A fault comes at a random moment within so long after all clients are back from the one before. */
  readonly calmMsMax: number;
  /** Factor on the lengths of faults. */
  readonly pace: number;
  /** Names of the faults that may strike; all of them by default. */
  readonly only?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly print: (line: string) => void;
}

export interface ClusterReport {
  readonly verdict: Verdict;
  /** By kind of fault: from the moment that it was over until each client had all that was acknowledged before it. */
  readonly recoverySeconds: ReadonlyMap<string, readonly number[]>;
  readonly refused: readonly string[];
  /** Times that a client which might have recovered as the same socket came back as another. */
  readonly unrecovered: number;
  /** Entries that came again after a recovery, as may be when a node cannot answer. */
  readonly repeats: number;
}

/** Faults strike a real cluster under load, behind a real nginx; the verdict is of the log against what clients saw. */
export async function runClusterChaos(options: ClusterChaosOptions): Promise<ClusterReport> {
  const { print, nodes, pace } = options;
  await using resources = new AsyncDisposableStack();
  const cluster = resources.use(
    await Cluster.start({ nodes, balancer: "nginx", environment: { ...fastDrain, ...options.environment } }),
  );
  for (const room of rooms) await cluster.makeRoom(room);
  const front = resources.use(await TcpProxy.before(cluster.url));
  using crowd = new DisposableStack();
  const door = { url: front.url, tokenFor: (userId: string) => cluster.tokenFor(userId) };
  const clients = await startClients(door, withRecovery, options, crowd);
  await until("all clients to join", () => clients.every((client) => client.following));
  const stopLoad = startLoad(clients, options);
  const findings = new Findings();
  const world = {
    cluster,
    front,
    pace,
    random: seededRandom(options.seed),
    expectDelivery: () => expectDelivery(clients, findings),
  };
  const recoverySeconds = await strikeAgainAndAgain(world, clients, findings, options);
  stopLoad();
  await until("all acknowledgements", () => clients.every(({ unacknowledged }) => unacknowledged === 0)).catch(
    (error: unknown) => print(String(error)),
  );
  const heads = headsOf(clients);
  await until("the last messages", () => clients.every((client) => hasAll(client, heads))).catch((error: unknown) =>
    print(String(error)),
  );
  const journals = clients.map(({ journal }) => journal);
  return {
    verdict: check(clients, await readPostgresLogs(cluster.storeUrl, rooms), findings),
    recoverySeconds,
    refused: journals.flatMap(({ refused }) => refused),
    unrecovered: journals.reduce((sum, { unrecovered }) => sum + unrecovered, 0),
    repeats: repeatsOf(clients),
  };
}

/** FEED-2 allows 2 s; real processes, five times that. */
const deliveryMs = 10_000;

async function expectDelivery(clients: readonly ChaosClient[], findings: Findings): Promise<void> {
  const heads = headsOf(clients);
  const limit = performance.now() + deliveryMs;
  const isLate = (client: ChaosClient): boolean => client.following && !hasAll(client, heads);
  while (clients.some(isLate) && performance.now() < limit) await delay(20);
  const late = clients.filter(isLate);
  const names = late.map(({ name }) => name).join("; ");
  findings.note("FEED-2", "lost", late.length, `not delivered after ${deliveryMs} ms: ${names}`);
}

/** Entries that came again after a recovery: which may be when the node that a client was on cannot answer (REC-2). */
function repeatsOf(clients: readonly ChaosClient[]): number {
  return clients.reduce((sum, { journal }) => sum + journal.repeats, 0);
}

/** After which every node can answer for its clients. */
const nodesAnswerAfter: ReadonlySet<string> = new Set(["clients_cut", "clients_half_open"]);

// Long drains are no fault, and take the time of faults.
const fastDrain = { PARLEY_DRAIN_DRAIN_MS: "2000", PARLEY_DRAIN_MOVE_MS: "2000" };

async function strikeAgainAndAgain(
  world: FaultWorld,
  clients: readonly ChaosClient[],
  findings: Findings,
  { seconds, calmMsMax, only, print }: ClusterChaosOptions,
): Promise<ReadonlyMap<string, readonly number[]>> {
  const recoverySeconds = new Map<string, number[]>();
  const endsAt = performance.now() + seconds * 1_000;
  for (const [name, strike] of faultsInTurn(world.random, only)) {
    await delay(world.random() * calmMsMax);
    const repeats = repeatsOf(clients);
    const struckAt = performance.now();
    await strike(world);
    const overAt = performance.now();
    const heads = headsOf(clients);
    const back = await comeBack(clients, heads, overAt).catch((error: unknown) => String(error));
    if (typeof back === "string") {
      for (const line of describeNodes(world.cluster)) print(line);
      findings.note("REC-1", "lost", 1, `after ${name}, ${back}`);
      return recoverySeconds;
    }
    const { complete, slowest } = back;
    if (nodesAnswerAfter.has(name))
      findings.note("REC-2", "repeated", repeatsOf(clients) - repeats, `after ${name}, though every node could answer`);
    const times = recoverySeconds.get(name) ?? [];
    recoverySeconds.set(name, [...times, ...complete]);
    const lasted = ((overAt - struckAt) / 1_000).toFixed(1);
    print(
      `${name}: lasted ${lasted} s, every client complete ${Math.max(...complete).toFixed(2)} s after it, at last ${slowest}`,
    );
    if (performance.now() > endsAt) return recoverySeconds;
  }
  return recoverySeconds;
}

/** The last words of each node: what to read when something is not as it should be. */
function describeNodes({ nodes }: Cluster): readonly string[] {
  return nodes.flatMap(({ server: { child } }, index) => {
    const lines = child.stdout
      .trimEnd()
      .split("\n")
      .filter((line) => !line.includes("connected"));
    return [`node ${index}: ${lines.slice(-8).join("\n  ")}`, child.stderr.slice(-2_000)];
  });
}

/** Without end: every fault once, in a random order, again and again. */
function* faultsInTurn(random: () => number, only?: readonly string[]): Generator<readonly [string, Fault]> {
  const chosen = Object.entries(faults).filter(([name]) => only?.includes(name) ?? true);
  if (chosen.length === 0) throw new Error(`no such fault; there are ${Object.keys(faults).join(", ")}`);
  for (;;) {
    const order = chosen.map((fault) => ({ fault, at: random() })).toSorted((one, other) => one.at - other.at);
    for (const { fault } of order) yield fault;
  }
}
