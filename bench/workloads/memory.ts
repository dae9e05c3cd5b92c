import { setTimeout as wait } from "node:timers/promises";
import type { Arrival } from "../generator/client.ts";
import { type Crowd, gather } from "../generator/crowd.ts";
import { Traffic } from "../generator/traffic.ts";
import { Meter } from "../machine/meter.ts";
import { reasonsToRefuse } from "../rules.ts";
import {
  explain,
  type Figure,
  figures,
  observe,
  roomNames,
  type RunContext,
  type Scale,
  type Workload,
} from "./workload.ts";

const membersPerRoom = 10;
const acceptTimeoutMs = 120_000;

function connections(scale: Scale): number {
  return scale === "full" ? 10_000 : 200;
}

export const memoryWorkloads: readonly Workload[] = [
  memoryWorkload("memory-websocket", "websocket", "WebSocket at once"),
  memoryWorkload("memory-default", "default", "polling, then upgraded: the stock client's way"),
];

function memoryWorkload(name: string, arrival: Arrival, title: string): Workload {
  return {
    name,
    title: `memory per idle joined connection, 10,000 of them in rooms of ${membersPerRoom}; ${title}`,
    servers: ["parley", "socketio"],
    reference: "socketio",
    serverCores: "0",
    raiseRateLimits: false,
    openFiles: (scale) => connections(scale) + 500,
    run: (context) => run(context, arrival),
  };
}

/** RSS after a forced collection, minus the base, over the connections that have joined and are still there. */
async function run(context: RunContext, arrival: Arrival): Promise<readonly Figure[]> {
  const { server } = context;
  const settleMs = context.scale === "full" ? 3_000 : 300;
  // A few connections that come and go: what the server makes once, on first use, is no cost of a connection.
  const warm = await enter(context, arrival, "memory-warm", 100, 50_000);
  warm.crowd[Symbol.dispose]();
  await wait(settleMs);
  const base = await server.memory();
  const meter = new Meter(server.pid);
  meter.begin();
  const entered = await enter(context, arrival, "memory", connections(context.scale), 0);
  const { traffic } = entered;
  using crowd = entered.crowd;
  await wait(settleMs);
  const { rss, heapUsed } = await server.memory();
  meter.end();
  const joined = crowd.clients.filter(({ ready }) => ready).length;
  const times = { plannedMs: acceptTimeoutMs, elapsedMs: crowd.elapsedMs, latenessP99Micros: undefined };
  const refusals = reasonsToRefuse(observe("idle", traffic, crowd, times, meter.shares, server.ended));
  if (refusals.length > 0) explain(crowd, traffic);
  return figures(refusals, [
    ["RSS per connection", "KB", (rss - base.rss) / joined / 1000],
    ["heap per connection", "KB", (heapUsed - base.heapUsed) / joined / 1000],
    ["connected and joined", "/s", joined / (crowd.elapsedMs / 1000)],
    ["base RSS", "MB", base.rss / 1e6],
    ["joined", "connections", joined],
  ]);
}

async function enter(
  { kind, server, secret }: RunContext,
  arrival: Arrival,
  prefix: string,
  count: number,
  firstUser: number,
): Promise<{ traffic: Traffic; crowd: Crowd }> {
  const traffic = new Traffic(kind.sequenced);
  const names = roomNames(prefix, Math.ceil(count / membersPerRoom));
  await server.makeRooms(names);
  const rooms = names.map((name) => traffic.addRoom(name));
  const memberships = Array.from({ length: count }, (_, index) =>
    rooms.slice(index % rooms.length, (index % rooms.length) + 1),
  );
  const { host, port } = server;
  const crowd = await gather(
    { traffic, host, port, secret, arrival, atOnce: arrival === "default" ? 512 : 64 },
    memberships,
    firstUser,
  );
  return { traffic, crowd };
}
