import { loadOf, otherLoad, sampleLoad, type LoadSample } from "./load.ts";

/** Shares of one core over the measured time. */
export interface Meters {
  readonly generatorShare: number;
  /** All of the server's nodes together. */
  readonly serverShare: number;
  /** Node by node, in the order in which the meter was given them. */
  readonly nodeShares: readonly number[];
  readonly otherLoadShare: number;
}

/** The process at the top of the bench's own: work below it is not another load. */
export function benchRoot(): number {
  return Number(process.env["BENCH_ROOT"] ?? process.pid);
}

/** What the generator, the server and everything else took between `begin` and `end`. */
export class Meter {
  readonly #nodes: readonly number[];
  #before: LoadSample | undefined;
  #after: LoadSample | undefined;

  /** Of the processes of a server's nodes, by their ids. */
  constructor(...nodes: readonly number[]) {
    this.#nodes = nodes;
  }

  begin(): void {
    this.#before = sampleLoad();
  }

  end(): void {
    this.#after = sampleLoad();
  }

  get shares(): Meters {
    const before = this.#before;
    const after = this.#after;
    if (before === undefined || after === undefined)
      return { generatorShare: 0, serverShare: 0, nodeShares: [], otherLoadShare: 0 };
    const nodeShares = this.#nodes.map((pid) => loadOf(before, after, pid));
    const ownBefore = before.processes.get(process.pid)?.ticks ?? 0;
    const own = (after.processes.get(process.pid)?.ticks ?? 0) - ownBefore;
    return {
      generatorShare: (own * 10) / (after.atMs - before.atMs),
      serverShare: nodeShares.reduce((sum, share) => sum + share, 0),
      nodeShares,
      otherLoadShare: otherLoad(before, after, benchRoot()),
    };
  }
}
