import { setTimeout as wait } from "node:timers/promises";
import type { ServerProcess } from "./process.ts";
import type { ServerNode } from "./server.ts";

/** A node and the process that it is. */
export interface StartedNode extends ServerNode {
  readonly process: ServerProcess;
}

export function nodeOf(process: ServerProcess, port: number): StartedNode {
  return {
    process,
    host: "127.0.0.1",
    port,
    pid: process.pid,
    get ended() {
      return process.ended;
    },
    watchLoop: () => process.watchLoop(),
    loopDelay: () => process.loopDelay(),
  };
}

/** The processes of one server, which come and go while it runs. */
export class Nodes implements AsyncDisposable {
  readonly #start: () => Promise<StartedNode>;
  readonly #all: StartedNode[] = [];

  private constructor(start: () => Promise<StartedNode>) {
    this.#start = start;
  }

  /** One after the other: the first one makes the schema. Errors: rejects when one does not start; none is left then. */
  static async start(count: number, start: () => Promise<StartedNode>): Promise<Nodes> {
    await using starting = new AsyncDisposableStack();
    const nodes = starting.use(new Nodes(start));
    for (let index = 0; index < count; index += 1) nodes.#all.push(await start());
    starting.move();
    return nodes;
  }

  get all(): readonly StartedNode[] {
    return this.#all;
  }

  get first(): StartedNode {
    const [first] = this.#all;
    if (first === undefined) throw new Error("no node runs");
    return first;
  }

  /** As `RunningServer.loseFirst`. */
  async loseFirst(): Promise<ServerNode> {
    await this.first.process.kill();
    this.#all.shift();
    if (this.#all.length === 0) this.#all.push(await this.#start());
    return this.first;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#all.map(({ process }) => process[Symbol.asyncDispose]()));
  }
}

/** Waits until `url` answers with 200. Errors: rejects, and ends the process, when it does not within `timeoutMs`. */
export async function answering(process: ServerProcess, url: string, timeoutMs: number): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (performance.now() < deadline && process.ended === undefined) {
    const response = await fetch(url).catch(() => undefined);
    if (response?.ok === true) return;
    await wait(50);
  }
  const error = process.complaint(process.ended ?? `not ready within ${timeoutMs} ms`);
  await process[Symbol.asyncDispose]();
  throw error;
}
