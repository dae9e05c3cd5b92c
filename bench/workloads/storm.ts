import { setTimeout as wait } from "node:timers/promises";
import type { Client } from "../../packages/server/src/load/client.ts";
import { gather, withinTime } from "../../packages/server/src/load/crowd.ts";
import { observe } from "../../packages/server/src/load/observe.ts";
import { count, nowMicros, type RoomTraffic, Traffic } from "../../packages/server/src/load/traffic.ts";
import { Meter } from "../machine/meter.ts";
import { reasonsToRefuse, type Refusal } from "../../packages/server/src/load/rules.ts";
import type { ServerKind, ServerNode } from "../servers/server.ts";
import { explain, type Figure, figures, roomNames, type RunContext, type Scale, type Workload } from "./workload.ts";

interface Sizes {
  readonly rooms: number;
  readonly membersPerRoom: number;
  /** Messages of each room that its members miss. */
  readonly missed: number;
  readonly timeoutMs: number;
}

const sizes: Readonly<Record<Scale, Sizes>> = {
  full: { rooms: 100, membersPerRoom: 100, missed: 100, timeoutMs: 120_000 },
  short: { rooms: 5, membersPerRoom: 20, missed: 20, timeoutMs: 30_000 },
};

/** Stock clients wait a second, more or less, before they try again. */
const retryMs = 1_000;
const attemptMsMax = 20_000;
/** What a server without positions has not sent after this long does not come. */
const quietMsMax = 2_000;

export const storms: readonly Workload[] = [
  storm(
    "storm",
    1,
    ["parley", "socketio", "socketio-recovery"],
    "socketio",
    "the same server started anew on what it had on disk",
  ),
  storm("storm-cluster", 2, ["parley-cluster", "tutorial", "streams"], "tutorial", "another node"),
];

function storm(name: string, nodes: number, servers: readonly string[], reference: string, to: string): Workload {
  return {
    name,
    title: `10,000 clients lose their node (kill -9), miss 100 messages each, and all come back at once: to ${to}`,
    charted: ["clients complete", "until the last client was complete", "event loop delay max"],
    servers,
    reference,
    serverCores: "0",
    nodes,
    raiseRateLimits: true,
    openFiles: (scale) => sizes[scale].rooms * sizes[scale].membersPerRoom + 1_500,
    run,
  };
}

async function run(context: RunContext): Promise<readonly Figure[]> {
  const { kind, server, tokenOf, scale } = context;
  const { rooms: roomCount, membersPerRoom, missed, timeoutMs } = sizes[scale];
  const names = roomNames("storm", roomCount);
  await server.makeRooms(names);
  const traffic = new Traffic(kind.sequenced);
  const rooms = names.map((name) => traffic.addRoom(name));
  using crowd = await gather(
    { traffic, nodes: server.nodes.slice(0, 1), tokenOf, arrival: "websocket", atOnce: 64, comingBack: kind.comesBack },
    rooms.flatMap((room) => Array.from({ length: membersPerRoom }, () => [room])),
  );
  const survivor = await server.loseFirst();
  await until(() => crowd.clients.every(({ ready }) => !ready));
  traffic.lostConnections.clear();
  await sendMissed(context, survivor, rooms, missed);

  const meter = new Meter(survivor.pid);
  const watched = kind.name !== "bun";
  if (watched) await survivor.watchLoop();
  meter.begin();
  const back = await comeBack(
    crowd.clients,
    survivor,
    timeoutMs,
    kind.comesBack === "positions" ? timeoutMs : quietMsMax,
  );
  meter.end();
  const delay = watched ? await survivor.loopDelay() : undefined;
  for (const client of back.clients) client.close();

  const times = {
    plannedMs: timeoutMs,
    elapsedMs: back.liveMs,
    latenessP99Micros: undefined,
    sendIntervalMicros: undefined,
  };
  const everyone = { attempted: crowd.attempted, failures: crowd.failures };
  const meters = meter.shares;
  const judged = reasonsToRefuse(observe("connecting", traffic, everyone, times, meters, server.ended));
  const refusals = [...judged, ...disorder(traffic), ...losses(kind, crowd.clients.length - back.complete)];
  if (refusals.length > 0) explain({ failures: back.failures }, traffic);
  const all = back.complete === crowd.clients.length;
  return figures(refusals, [
    ["clients back", "%", (back.live / crowd.clients.length) * 100],
    ["clients complete", "%", (back.complete / crowd.clients.length) * 100],
    ["until the last client was back", "s", back.liveMs / 1000],
    ["until the last client was complete", "s", all ? back.completeMs / 1000 : undefined],
    ["attempts that failed", "", [...back.failures.values()].reduce((sum, times_) => sum + times_, 0)],
    ["event loop delay p99", "ms", delay?.p99Ms],
    ["event loop delay max", "ms", delay?.maxMs],
    ["server CPU", "cores", meters.serverShare],
    ["generator CPU", "cores", meters.generatorShare],
  ]);
}

async function until(isDone: () => boolean): Promise<void> {
  while (!isDone()) await wait(10);
}

/** What a peer loses is its figure; what comes twice or in another order is wrong everywhere. */
function disorder({ repeated, outOfSequence }: Traffic): readonly Refusal[] {
  if (repeated === 0 && outOfSequence === 0) return [];
  return [{ code: "disordered", detail: `${repeated} repeated or late, ${outOfSequence} with a wrong seq` }];
}

/** A server that keeps messages, and whose clients say what they have, owes them all. */
function losses({ comesBack }: ServerKind, lacking: number): readonly Refusal[] {
  if (comesBack !== "positions" || lacking === 0) return [];
  return [{ code: "lost", detail: `${lacking} clients did not become complete` }];
}

async function sendMissed(
  { tokenOf }: RunContext,
  { host, port }: ServerNode,
  rooms: readonly RoomTraffic[],
  missed: number,
): Promise<void> {
  // Books of its own: here every message is acknowledged, and nobody is there to get it.
  const books = new Traffic(false);
  using senders = await gather(
    { traffic: books, nodes: [{ host, port }], tokenOf, arrival: "websocket", atOnce: 8 },
    [[]],
    900_000,
  );
  const [client] = senders.clients;
  if (client === undefined) throw new Error("nobody can send on the node that is left");
  for (const room of rooms) {
    const awaited = new Promise<void>((resolve) => {
      let open = missed;
      client.onAcknowledged = () => {
        open -= 1;
        if (open === 0) resolve();
      };
    });
    for (let index = 0; index < missed; index += 1) client.sendMessage(room, nowMicros(), 100);
    await awaited;
  }
}

interface Returned {
  readonly clients: readonly Client[];
  readonly live: number;
  readonly complete: number;
  readonly liveMs: number;
  readonly completeMs: number;
  readonly failures: ReadonlyMap<string, number>;
}

/** Each client tries until it is back, as stock clients do. Ends when all are complete, or nothing more is to be hoped for. */
async function comeBack(
  clients: readonly Client[],
  to: ServerNode,
  timeoutMs: number,
  quietMax: number,
): Promise<Returned> {
  const began = nowMicros();
  const elapsedMs = () => (nowMicros() - began) / 1000;
  const failures = new Map<string, number>();
  const returned: Client[] = [];
  let liveMs = 0;
  const returning = clients.map(async (client) => {
    while (elapsedMs() < timeoutMs) {
      const next = client.next(to);
      try {
        await withinTime(next.comeBack(), attemptMsMax);
        returned.push(next);
        liveMs = elapsedMs();
        return;
      } catch (error) {
        next.close();
        count(failures, error instanceof Error ? error.message : String(error));
        await wait(retryMs * (0.5 + Math.random()));
      }
    }
  });
  const settled = Promise.all(returning);
  let completeMs = 0;
  let complete = 0;
  let deliveriesSeen = -1;
  let quietSinceMs = 0;
  while (elapsedMs() < timeoutMs) {
    const now = returned.filter((client) => client.isComplete).length;
    if (now > complete) completeMs = elapsedMs();
    complete = now;
    if (complete === clients.length) break;
    // All are back, and for a while nobody became complete: what is missing does not come.
    if (returned.length + complete !== deliveriesSeen || returned.length < clients.length) quietSinceMs = elapsedMs();
    deliveriesSeen = returned.length + complete;
    if (elapsedMs() - quietSinceMs > quietMax) break;
    await wait(10);
  }
  await Promise.race([settled, wait(Math.max(0, timeoutMs - elapsedMs()))]);
  return { clients: returned, live: returned.length, complete, liveMs, completeMs, failures };
}
