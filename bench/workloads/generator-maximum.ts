import { setTimeout as wait } from "node:timers/promises";
import { gather } from "../../packages/server/src/load/crowd.ts";
import { closedLoop } from "../../packages/server/src/load/loops.ts";
import { observe } from "../../packages/server/src/load/observe.ts";
import { nowMicros, Traffic } from "../../packages/server/src/load/traffic.ts";
import { Meter } from "../machine/meter.ts";
import { reasonsToRefuse } from "../../packages/server/src/load/rules.ts";
import { plans } from "./phase.ts";
import { type Figure, figures, roomNames, type RunContext, type Workload } from "./workload.ts";

/** What the generator itself can take and send: figures of servers near these are the generator's, not the server's. */
export const generatorMaximum: Workload = {
  name: "generator-maximum",
  title: "the generator alone, against a server that only sends ready-made frames",
  servers: ["sink"],
  reference: "sink",
  serverCores: "0",
  nodes: 1,
  raiseRateLimits: false,
  openFiles: () => 1_500,
  run: async (context) => [
    ...(await receive(context, "coalesced", "deliveries, 200 frames per write")),
    ...(await receive(context, "single", "deliveries, one frame per write")),
    ...(await send(context)),
  ],
};

async function receive(context: RunContext, mode: "coalesced" | "single", metric: string): Promise<readonly Figure[]> {
  const { server, tokenOf, scale } = context;
  const members = scale === "full" ? 1_000 : 100;
  const measureMs = scale === "full" ? 3_000 : 500;
  const traffic = new Traffic(true);
  const room = traffic.addRoom("room-00000");
  using crowd = await gather(
    { traffic, nodes: server.nodes, tokenOf, arrival: "websocket", atOnce: 32 },
    Array.from({ length: members }, () => [room]),
  );
  const [controller] = crowd.clients;
  if (controller === undefined) throw new Error("nobody reached the sink");
  const meter = new Meter(server.pid);
  await controller.request("stream", mode);
  await wait(measureMs / 3);
  meter.begin();
  const began = nowMicros();
  const deliveriesBefore = traffic.deliveries;
  await wait(measureMs);
  const measuredSeconds = (nowMicros() - began) / 1e6;
  const perSecond = (traffic.deliveries - deliveriesBefore) / measuredSeconds;
  meter.end();
  await controller.request("stream", "off");
  await wait(300);
  room.sent = sentBySink(await controller.request("stream", "off"));
  traffic.sends = room.sent;
  traffic.acknowledged = room.sent;
  const times = {
    plannedMs: measureMs,
    elapsedMs: measureMs,
    latenessP99Micros: undefined,
    sendIntervalMicros: undefined,
  };
  const meters = meter.shares;
  // Not judged as a maximum: here the generator is meant to be at its limit.
  const refusals = reasonsToRefuse(observe("fixed_rate", traffic, crowd, times, meters, server.ended));
  return figures(refusals, [
    [metric, "/s", perSecond],
    [`generator CPU, ${mode}`, "cores", meters.generatorShare],
  ]);
}

function sentBySink(reply: unknown): number {
  return typeof reply === "object" && reply !== null && "sent" in reply ? Number(reply.sent) : 0;
}

async function send(context: RunContext): Promise<readonly Figure[]> {
  const { server, tokenOf, scale } = context;
  const traffic = new Traffic(true);
  const rooms = roomNames("sends", 100).map((name) => traffic.addRoom(name));
  using crowd = await gather(
    { traffic, nodes: server.nodes, tokenOf, arrival: "websocket", atOnce: 32 },
    rooms.map(() => []),
  );
  const lanes = rooms.flatMap((room, index) => {
    const client = crowd.clients[index];
    return client === undefined ? [] : [{ client, room }];
  });
  const meter = new Meter(server.pid);
  const plan = scale === "full" ? { ...plans.full, measureMs: 3_000 } : plans.short;
  const times = await closedLoop(traffic, lanes, 8, "acknowledged", plan, meter);
  const meters = meter.shares;
  const refusals = reasonsToRefuse(observe("fixed_rate", traffic, crowd, times, meters, server.ended));
  return figures(refusals, [
    ["acknowledged sends", "/s", traffic.acknowledgedMeasured / (times.measuredMs / 1000)],
    ["generator CPU, sends", "cores", meters.generatorShare],
  ]);
}
