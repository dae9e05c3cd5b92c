import { setTimeout as wait } from "node:timers/promises";
import type { Arrival } from "../../packages/server/src/load/client.ts";
import { type Crowd, gather } from "../../packages/server/src/load/crowd.ts";
import { spreadOver } from "../../packages/server/src/load/lanes.ts";
import { observe } from "../../packages/server/src/load/observe.ts";
import { Traffic } from "../../packages/server/src/load/traffic.ts";
import { Meter } from "../machine/meter.ts";
import { reasonsToRefuse } from "../../packages/server/src/load/rules.ts";
import type { Memory } from "../servers/process.ts";
import { explain, type Figure, figures, roomNames, type RunContext, type Scale, type Workload } from "./workload.ts";

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
    charted: ["RSS per connection"],
    servers: ["parley", "socketio"],
    reference: "socketio",
    serverCores: "0",
    nodes: 1,
    raiseRateLimits: false,
    unfit: ({ polling }) => (arrival === "default" && !polling ? "it knows no long polling" : undefined),
    openFiles: (scale) => connections(scale) + 500,
    run: (context) => run(context, arrival),
  };
}

/** RSS after a forced collection, minus the base, over the connections that have joined and are still there. */
async function run(context: RunContext, arrival: Arrival): Promise<readonly Figure[]> {
  const { server } = context;
  // Longer than what servers keep of an arrival for a moment: rates, handshakes, answers.
  const settleMs = context.scale === "full" ? 15_000 : 300;
  // Before the base: rooms are there before anyone joins them, and what a server makes once, on first use, is no cost of
  // a connection; so a few come and go.
  const names = roomNames("memory", connections(context.scale) / membersPerRoom);
  await server.makeRooms(names);
  const warm = await enter(context, arrival, names, 100, 50_000);
  warm.crowd[Symbol.dispose]();
  await wait(settleMs);
  const base = await server.memory();
  const meter = new Meter(server.pid);
  meter.begin();
  const entered = await enter(context, arrival, names, connections(context.scale), 0);
  const { traffic } = entered;
  using crowd = entered.crowd;
  await wait(settleMs);
  const memory = await server.memory();
  meter.end();
  const joined = crowd.clients.filter(({ ready }) => ready).length;
  const per = (kind: keyof Memory) => (memory[kind] - base[kind]) / joined / 1000;
  const times = {
    plannedMs: acceptTimeoutMs,
    elapsedMs: crowd.elapsedMs,
    latenessP99Micros: undefined,
    sendIntervalMicros: undefined,
  };
  const refusals = reasonsToRefuse(observe("idle", traffic, crowd, times, meter.shares, server.ended));
  if (refusals.length > 0) explain(crowd, traffic);
  return figures(refusals, [
    ["RSS per connection", "KB", per("rss")],
    ["heap per connection", "KB", per("heapUsed")],
    ["reserved heap per connection", "KB", per("heapTotal")],
    ["external per connection", "KB", per("external")],
    ["connected and joined", "/s", joined / (crowd.elapsedMs / 1000)],
    ["base RSS", "MB", base.rss / 1e6],
    ["joined", "connections", joined],
  ]);
}

async function enter(
  { kind, server, tokenOf }: RunContext,
  arrival: Arrival,
  names: readonly string[],
  count: number,
  firstUser: number,
): Promise<{ traffic: Traffic; crowd: Crowd }> {
  const traffic = new Traffic(kind.sequenced);
  const rooms = names.map((name) => traffic.addRoom(name));
  const crowd = await gather(
    { traffic, nodes: server.nodes, tokenOf, arrival, atOnce: arrival === "default" ? 512 : 64 },
    spreadOver(rooms, count),
    firstUser,
  );
  return { traffic, crowd };
}
