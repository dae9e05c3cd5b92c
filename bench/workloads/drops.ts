import { setTimeout as wait } from "node:timers/promises";
import type { Client } from "../../packages/server/src/load/client.ts";
import { gather } from "../../packages/server/src/load/crowd.ts";
import { openLoop } from "../../packages/server/src/load/loops.ts";
import { observe } from "../../packages/server/src/load/observe.ts";
import { count, nowMicros, Traffic } from "../../packages/server/src/load/traffic.ts";
import { Meter } from "../machine/meter.ts";
import { type Observation, reasonsToRefuse } from "../../packages/server/src/load/rules.ts";
import type { RunningServer } from "../servers/server.ts";
import {
  explain,
  type Figure,
  figures,
  milliseconds,
  roomNames,
  type RunContext,
  type Scale,
  type Workload,
} from "./workload.ts";

interface Sizes {
  readonly members: number;
  readonly rate: number;
  readonly measureMs: number;
  /** Mean time from a client's return to its next cut; it varies by a third, so that they do not all fall at once. */
  readonly cutEveryMs: number;
  readonly offlineMs: number;
}

const sizes: Readonly<Record<Scale, Sizes>> = {
  full: { members: 500, rate: 2, measureMs: 160_000, cutEveryMs: 15_000, offlineMs: 2_000 },
  short: { members: 20, rate: 10, measureMs: 2_500, cutEveryMs: 800, offlineMs: 200 },
};
const retryMs = 1_000;
/** After the last broadcast every client is let back in, and gets what it still lacks. */
const settleMsMax = 30_000;
/** What a server without positions has not sent after this long does not come. */
const quietMsMax = 1_000;

export const drops: Workload = {
  name: "drops",
  title: "500 clients cut without a close frame every ~15 s, 2 s offline each time; 2 broadcasts/s for 160 s",
  servers: ["parley", "parley-stock", "socketio", "socketio-recovery", "tutorial", "ws"],
  reference: "socketio",
  serverCores: "0",
  nodes: 1,
  raiseRateLimits: true,
  openFiles: (scale) => sizes[scale].members * 2 + 500,
  run,
};

async function run({ kind, server, tokenOf, scale }: RunContext): Promise<readonly Figure[]> {
  const { members, rate, measureMs } = sizes[scale];
  const names = roomNames("drops", 1);
  await server.makeRooms(names);
  const traffic = new Traffic(kind.sequenced);
  const [room] = names.map((name) => traffic.addRoom(name));
  if (room === undefined) throw new Error("there is no room");
  const gathering = { traffic, nodes: server.nodes, tokenOf, arrival: "websocket", atOnce: 32 } as const;
  using crowd = await gather(
    { ...gathering, comingBack: kind.comesBack },
    Array.from({ length: members }, () => [room]),
  );
  using senders = await gather(gathering, [[]], 500_000);
  const meter = new Meter(server.pid);
  const failures = new Map<string, number>();
  const ending = new AbortController();
  const living = crowd.clients.map((client) => live(client, server, sizes[scale], ending.signal, failures));
  const plan = { warmUpMs: 0, measureMs, textLength: 100, drains: false };
  const lanes = senders.clients.map((client) => ({ client, room }));
  const times = await openLoop(traffic, lanes, rate, plan, meter);
  ending.abort();
  const last = await Promise.all(living);
  await complete(last, kind.comesBack === "positions" ? settleMsMax : quietMsMax);
  for (const client of last) client.close();

  const meters = meter.shares;
  const observed = observe("fixed_rate", traffic, crowd, times, meters, server.ended);
  const judged = kind.comesBack === "positions" ? observed : withLossesAllowed(observed);
  const refusals = reasonsToRefuse({ ...judged, connectionsLost: 0 });
  if (refusals.length > 0) explain({ failures }, traffic);
  const fresh = traffic.deliveries - traffic.repeated;
  return figures(refusals, [
    ["delivered", "%", (fresh / traffic.expectedDeliveries) * 100],
    ["delivered again", "%", (traffic.repeated / traffic.expectedDeliveries) * 100],
    ["delivery p50", "ms", milliseconds(traffic.deliveryLatency.percentile(0.5))],
    ["longest delivery", "s", traffic.deliveryLatency.maxMicros / 1e6],
    ["connections cut", "", last.length === 0 ? 0 : cuts(last)],
    ["server CPU", "cores", meters.serverShare],
  ]);
}

/** What these clients lose is their figure. */
function withLossesAllowed(observed: Observation): Observation {
  return { ...observed, expectedDeliveries: observed.deliveries, skipped: 0, repeated: 0 };
}

function cuts(clients: readonly Client[]): number {
  return clients.reduce((sum, { connection }) => sum + connection - 1, 0);
}

/** Cuts and returns until `ended`; gives the client's last connection, which is left open. */
async function live(
  first: Client,
  server: RunningServer,
  { cutEveryMs, offlineMs }: Sizes,
  ended: AbortSignal,
  failures: Map<string, number>,
): Promise<Client> {
  let client = first;
  while (!ended.aborted) {
    // The first time anywhere in the interval, so that the cuts are spread from the beginning.
    const factor = client === first ? Math.random() : 2 / 3 + (Math.random() * 2) / 3;
    await wait(cutEveryMs * factor, undefined, { signal: ended }).catch(() => undefined);
    if (ended.aborted) break;
    client.close();
    await wait(offlineMs);
    client = await backAgain(client, server, failures);
  }
  return client;
}

async function backAgain(client: Client, server: RunningServer, failures: Map<string, number>): Promise<Client> {
  for (;;) {
    const next = client.next(server);
    try {
      await next.comeBack();
      return next;
    } catch (error) {
      next.close();
      count(failures, error instanceof Error ? error.message : String(error));
      if (server.ended !== undefined) return next;
      await wait(retryMs);
    }
  }
}

async function complete(clients: readonly Client[], quietMax: number): Promise<void> {
  const deadline = nowMicros() + settleMsMax * 1000;
  let lacking = -1;
  let quietMs = 0;
  while (nowMicros() < deadline && quietMs < quietMax) {
    const now = clients.filter((client) => !client.isComplete).length;
    quietMs = now === lacking ? quietMs + 20 : 0;
    lacking = now;
    if (lacking === 0) return;
    await wait(20);
  }
}
