import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { z } from "zod";
import { openLoop } from "../generator/load.ts";
import { benchRoot } from "../machine/meter.ts";
import { generatorCore, pinned } from "../machine/pin.ts";
import type { Refusal } from "../rules.ts";
import { plans, runPhase } from "./phase.ts";
import { type Figure, figures, roomNames, type RunContext, type Scale, type Workload } from "./workload.ts";

const largeRate = 5;
const probeScript = fileURLToPath(new URL("../probe.ts", import.meta.url));
const run = promisify(execFile);

function largeMembers(scale: Scale): number {
  return scale === "full" ? 15_000 : 300;
}

/** What the probe, a process of its own, says about the small room. */
const probeResultSchema = z.object({
  p50Ms: z.number(),
  p99Ms: z.number(),
  refusals: z.array(z.object({ code: z.string(), detail: z.string() })),
});

export const beside: Workload = {
  name: "beside",
  title: `a room of 10 at 50 messages/s, alone and beside a room of 15,000 with ${largeRate} messages/s`,
  servers: ["parley", "socketio"],
  reference: "socketio",
  serverCores: "0",
  openFiles: (scale) => largeMembers(scale) + 500,
  run: async (context) => {
    const alone = await probe(context, "beside-alone");
    return [...smallRoom("alone", alone, []), ...(await withLargeRoom(context))];
  },
};

function smallRoom(
  when: string,
  { p50Ms, p99Ms, refusals }: z.infer<typeof probeResultSchema>,
  more: readonly Refusal[],
): readonly Figure[] {
  const own = refusals.map(({ code, detail }): Refusal => ({ code: "small_room", detail: `${code}: ${detail}` }));
  return figures(
    [...own, ...more],
    [
      [`small room's p50 ${when}`, "ms", p50Ms],
      [`small room's p99 ${when}`, "ms", p99Ms],
    ],
  );
}

async function withLargeRoom(context: RunContext): Promise<readonly Figure[]> {
  let probed: Promise<z.infer<typeof probeResultSchema>> | undefined;
  const { warmUpMs, measureMs } = plans[context.scale];
  // The large room is under load before the small one begins, and until after it ended.
  const plan = { warmUpMs, measureMs: warmUpMs + measureMs + 2_000, textLength: 100 };
  const { traffic, times, meters, refusals } = await runPhase(context, {
    kind: "fixed_rate",
    rooms: roomNames("beside-large", 1),
    membersPerRoom: largeMembers(context.scale),
    firstUser: 100,
    atOnce: 64,
    window: {
      begin: () => {
        probed = probe(context, "beside-small");
        probed.catch(() => undefined); // Awaited below, when the large room is done.
      },
      end: () => undefined,
    },
    load: (books, lanes, window) => openLoop(books, lanes, largeRate, plan, window),
  });
  if (probed === undefined) throw new Error("the probe was not started");
  return [
    ...smallRoom("beside", await probed, refusals),
    ...figures(refusals, [
      ["large room's deliveries", "/s", traffic.deliveriesMeasured / (times.measuredMs / 1000)],
      ["server CPU beside", "cores", meters.serverShare],
      ["generator CPU beside", "cores", meters.generatorShare],
    ]),
  ];
}

/**
 * Runs the small room in a process of its own, ahead of the large room's generator on the same core: else the small
 * room's messages would wait for the generator to read 15,000 others, and that wait would be taken for the server's.
 */
async function probe(
  { kind, server, secret, scale }: RunContext,
  room: string,
): Promise<z.infer<typeof probeResultSchema>> {
  await server.makeRooms([room]);
  const { host, port, pid } = server;
  const plan = { host, port, pid, secret, room, sequenced: kind.sequenced, members: 10, rate: 50, ...plans[scale] };
  const [program = "", ...rest] = pinned(generatorCore, [
    "nice",
    "-n",
    "-10",
    process.execPath,
    probeScript,
    JSON.stringify(plan),
  ]);
  const { stdout } = await run(program, rest, { env: { ...process.env, BENCH_ROOT: String(benchRoot()) } });
  return probeResultSchema.parse(JSON.parse(stdout));
}
