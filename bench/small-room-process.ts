// One small room under a low, fixed rate, for workloads that put their main load on from another process.
// usage: forked with a PLAN (JSON); sends "joined", waits for a message, sends {"p50Ms":…,"p99Ms":…,"refusals":[…]}
import { once } from "node:events";
import { z } from "zod";
import { gather } from "../packages/server/src/load/crowd.ts";
import { openLoop } from "../packages/server/src/load/loops.ts";
import { observe } from "../packages/server/src/load/observe.ts";
import { Traffic } from "../packages/server/src/load/traffic.ts";
import { tokensOf } from "./token.ts";
import { Meter } from "./machine/meter.ts";
import { reasonsToRefuse } from "../packages/server/src/load/rules.ts";

const planSchema = z.object({
  host: z.string(),
  port: z.number(),
  pid: z.number(),
  secret: z.string(),
  room: z.string(),
  sequenced: z.boolean(),
  members: z.number(),
  rate: z.number(),
  warmUpMs: z.number(),
  measureMs: z.number(),
  textLength: z.number(),
});

const plan = planSchema.parse(JSON.parse(process.argv[2] ?? "{}"));
const traffic = new Traffic(plan.sequenced);
const room = traffic.addRoom(plan.room);
const { host, port, secret } = plan;
const memberships = Array.from({ length: plan.members }, () => [room]);
using crowd = await gather(
  { traffic, nodes: [{ host, port }], tokenOf: tokensOf(secret), arrival: "websocket", atOnce: plan.members },
  memberships,
  90_000,
);
tell("joined");
await once(process, "message");
const meter = new Meter(plan.pid);
const lanes = crowd.clients.slice(0, 1).map((client) => ({ client, room }));
const times = await openLoop(traffic, lanes, plan.rate, plan, meter);
const refusals = reasonsToRefuse(observe("fixed_rate", traffic, crowd, times, meter.shares, undefined));
const percentileMs = (fraction: number) => (traffic.deliveryLatency.percentile(fraction) ?? 0) / 1000;
tell({ p50Ms: percentileMs(0.5), p99Ms: percentileMs(0.99), refusals });

function tell(message: unknown): void {
  if (process.send === undefined) throw new Error("this process has no parent to talk to");
  process.send(message);
}
