import { loadOf, otherLoad, sampleLoad, type LoadSample } from "./load.ts";

/** Shares of one core over the measured time. */
export interface Meters {
  readonly generatorShare: number;
  readonly serverShare: number;
  readonly otherLoadShare: number;
}

/** The process at the top of the bench's own: work below it is not another load. */
export function benchRoot(): number {
  return Number(process.env["BENCH_ROOT"] ?? process.pid);
}

/** What the generator, the server and everything else took between `begin` and `end`. */
export class Meter {
  readonly #serverPid: number;
  #before: LoadSample | undefined;
  #after: LoadSample | undefined;

  constructor(serverPid: number) {
    this.#serverPid = serverPid;
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
    if (before === undefined || after === undefined) return { generatorShare: 0, serverShare: 0, otherLoadShare: 0 };
    const ownBefore = before.processes.get(process.pid)?.ticks ?? 0;
    const own = (after.processes.get(process.pid)?.ticks ?? 0) - ownBefore;
    return {
      generatorShare: (own * 10) / (after.atMs - before.atMs),
      serverShare: loadOf(before, after, this.#serverPid),
      otherLoadShare: otherLoad(before, after, benchRoot()),
    };
  }
}
