import type { Arrival } from "../../packages/server/src/load/client.ts";
import { gather } from "../../packages/server/src/load/crowd.ts";
import { observe } from "../../packages/server/src/load/observe.ts";
import { Traffic } from "../../packages/server/src/load/traffic.ts";
import { Meter } from "../machine/meter.ts";
import { reasonsToRefuse } from "../../packages/server/src/load/rules.ts";
import { fanOutServers } from "./fan-out.ts";
import { explain, type Figure, figures, roomNames, type RunContext, type Scale, type Workload } from "./workload.ts";

const membersPerRoom = 10;
const timeoutMs = 120_000;

function connections(scale: Scale): number {
  return scale === "full" ? 10_000 : 200;
}

export const acceptWorkloads: readonly Workload[] = [
  acceptWorkload("accept-websocket", "websocket", fanOutServers, "WebSocket at once"),
  acceptWorkload(
    "accept-default",
    "default",
    ["parley", "tutorial", "tutorial-insert", "socketio"],
    "polling, then upgraded: the stock client's way",
  ),
];

function acceptWorkload(name: string, arrival: Arrival, servers: readonly string[], title: string): Workload {
  return {
    name,
    title: `10,000 connections, each a user of its own, accepted and joined in rooms of ${membersPerRoom}; ${title}`,
    servers,
    reference: "tutorial",
    serverCores: "0",
    nodes: 1,
    raiseRateLimits: false,
    unfit: ({ polling }) => (arrival === "default" && !polling ? "it knows no long polling" : undefined),
    openFiles: (scale) => connections(scale) + 1_500,
    run: (context) => run(context, arrival),
  };
}

async function run({ kind, server, tokenOf, scale }: RunContext, arrival: Arrival): Promise<readonly Figure[]> {
  const names = roomNames("accept", connections(scale) / membersPerRoom);
  await server.makeRooms(names);
  const traffic = new Traffic(kind.sequenced);
  const rooms = names.map((name) => traffic.addRoom(name));
  const memberships = Array.from({ length: connections(scale) }, (_, index) => {
    const room = rooms[index % rooms.length];
    return room === undefined ? [] : [room];
  });
  const meter = new Meter(server.pid);
  meter.begin();
  // More at once than a server works on in a turn; fewer than a listening socket's queue may hold.
  using crowd = await gather({ traffic, nodes: server.nodes, tokenOf, arrival, atOnce: 256 }, memberships);
  meter.end();
  const times = {
    plannedMs: timeoutMs,
    elapsedMs: crowd.elapsedMs,
    latenessP99Micros: undefined,
    sendIntervalMicros: undefined,
  };
  const meters = meter.shares;
  const refusals = reasonsToRefuse(observe("connecting", traffic, crowd, times, meters, server.ended));
  if (refusals.length > 0) explain(crowd, traffic);
  return figures(refusals, [
    ["connected and joined", "/s", crowd.clients.length / (crowd.elapsedMs / 1000)],
    ["server CPU", "cores", meters.serverShare],
    ["server CPU per connection", "µs", (meters.serverShare * crowd.elapsedMs * 1000) / crowd.clients.length],
    ["generator CPU", "cores", meters.generatorShare],
  ]);
}
