import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { benchRoot } from "../machine/meter.ts";
import { generatorCore, pinned } from "../machine/pin.ts";
import type { Refusal } from "../../packages/server/src/load/rules.ts";
import { refusalsSchema } from "../run-report.ts";
import { plans } from "./phase.ts";
import type { RunContext } from "./workload.ts";

const script = fileURLToPath(new URL("../small-room-process.ts", import.meta.url));

const resultSchema = z.object({
  p50Ms: z.number(),
  p99Ms: z.number(),
  refusals: refusalsSchema,
});
export type SmallRoomResult = z.infer<typeof resultSchema>;

/**
 * A small room in a process of its own, ahead of the large room's generator on the same core: else the small room's
 * messages would wait for the generator to read 15,000 others, and that wait would be taken for the server's.
 */
export class SmallRoom implements Disposable {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /** Its members have joined when this resolves. Errors: rejects when the process ends instead. */
  static async join({ kind, server, secret, scale }: RunContext, name: string): Promise<SmallRoom> {
    await server.makeRooms([name]);
    const { host, port, pid } = server;
    const plan = {
      host,
      port,
      pid,
      secret,
      room: name,
      sequenced: kind.sequenced,
      members: 10,
      rate: 50,
      ...plans[scale],
    };
    const command = ["nice", "-n", "-10", process.execPath, script, JSON.stringify(plan)];
    const [program = "", ...rest] = pinned(generatorCore, command);
    const child = spawn(program, rest, {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
      env: { ...process.env, BENCH_ROOT: String(benchRoot()) },
    });
    const room = new SmallRoom(child);
    await room.#message();
    return room;
  }

  /** Puts the load on it and measures. */
  async measure(): Promise<SmallRoomResult> {
    const result = this.#message();
    this.#child.send("measure");
    return resultSchema.parse(await result);
  }

  async #message(): Promise<unknown> {
    const ended = new AbortController();
    const onExit = () => ended.abort(new Error("the small room's process ended"));
    this.#child.once("exit", onExit);
    try {
      const [message]: unknown[] = await once(this.#child, "message", { signal: ended.signal });
      return message;
    } finally {
      this.#child.off("exit", onExit);
    }
  }

  [Symbol.dispose](): void {
    this.#child.kill();
  }
}

/** Refusals of the small room, which make what was measured in it count as little as a failure of its surroundings. */
export function refusalsOf({ refusals }: SmallRoomResult): readonly Refusal[] {
  return refusals.map(({ code, detail }) => ({ code, detail: `in the small room: ${detail}` }));
}
