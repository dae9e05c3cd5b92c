import { openLoop } from "../../packages/server/src/load/loops.ts";
import type { Refusal } from "../../packages/server/src/load/rules.ts";
import { type PhaseResult, plans, runPhase } from "./phase.ts";
import { refusalsOf, SmallRoom, type SmallRoomResult } from "./small-room.ts";
import { type Figure, figures, roomNames, type RunContext, type Scale, type Workload } from "./workload.ts";

const largeRate = 5;

function largeMembers(scale: Scale): number {
  return scale === "full" ? 15_000 : 300;
}

export const beside: Workload = {
  name: "beside",
  title: `a room of 10 at 50 messages/s, alone and beside a room of 15,000 with ${largeRate} messages/s`,
  charted: ["small room's p99 beside"],
  servers: ["parley", "socketio"],
  reference: "socketio",
  serverCores: "0",
  nodes: 1,
  raiseRateLimits: true,
  openFiles: (scale) => largeMembers(scale) + 500,
  run: async (context) => [...(await alone(context)), ...(await withLargeRoom(context))],
};

async function alone(context: RunContext): Promise<readonly Figure[]> {
  using room = await SmallRoom.join(context, "beside-alone");
  const result = await room.measure();
  return smallRoomFigures("alone", result, refusalsOf(result));
}

async function withLargeRoom(context: RunContext): Promise<readonly Figure[]> {
  using room = await SmallRoom.join(context, "beside-small");
  let measuring: Promise<SmallRoomResult> | undefined;
  let largeRoomIsOver = false;
  let outlasted = false;
  const large = await runLargeRoom(context, {
    begin: () => {
      measuring = room.measure().finally(() => {
        outlasted = largeRoomIsOver;
      });
      measuring.catch(() => undefined); // It is awaited below, when the large room is done.
    },
    end: () => {
      largeRoomIsOver = true;
    },
  });
  if (measuring === undefined) throw new Error("the small room was not measured");
  const result = await measuring;
  const late: readonly Refusal[] = outlasted
    ? [{ code: "too_long", detail: "the small room was measured longer than the large one" }]
    : [];
  const { traffic, times, meters, commitP99Ms, refusals } = large;
  return [
    ...smallRoomFigures("beside", result, [...refusalsOf(result), ...late, ...refusals]),
    ...figures(refusals, [
      ["large room's deliveries", "/s", traffic.deliveriesMeasured / (times.measuredMs / 1000)],
      ["store's own commit p99 beside", "ms", commitP99Ms],
      ["server CPU beside", "cores", meters.serverShare],
      ["generator CPU beside", "cores", meters.generatorShare],
    ]),
  ];
}

function runLargeRoom(context: RunContext, window: { begin(): void; end(): void }): Promise<PhaseResult> {
  const { warmUpMs, measureMs } = plans[context.scale];
  // It is under load before the small room is measured, and until after that.
  const plan = { warmUpMs, measureMs: warmUpMs + measureMs + 2_000, textLength: 100 };
  return runPhase(context, {
    kind: "fixed_rate",
    rooms: roomNames("beside-large", 1),
    membersPerRoom: largeMembers(context.scale),
    firstUser: 100,
    atOnce: 64,
    window,
    load: (traffic, lanes, meter) => openLoop(traffic, lanes, largeRate, plan, meter),
  });
}

function smallRoomFigures(
  when: string,
  { p50Ms, p99Ms }: SmallRoomResult,
  refusals: readonly Refusal[],
): readonly Figure[] {
  return figures(refusals, [
    [`small room's p50 ${when}`, "ms", p50Ms],
    [`small room's p99 ${when}`, "ms", p99Ms],
  ]);
}
