import type { Clock } from "../core/clock.ts";
import { type Exit, WorkerProcess } from "./worker-process.ts";

const restartFirstMs = 100;
const restartMaxMs = 5_000;
/** A worker that lived so long begins anew with the shortest pause. */
const soundAfterMs = 60_000;

/** What the primary has for a worker's process. */
export interface Seat<In> {
  onMessage(message: In): void;
  /** The process is gone. */
  leave(): void;
}

export interface CrewOptions<Out, In> {
  readonly workers: number;
  /** What each process runs. */
  readonly program: URL;
  readonly clock: Clock;
  /** A process was begun: tells it what to do. Calls `admit` once it serves clients, or `fail` when it cannot. */
  seat(process: WorkerProcess<Out, In>): Seat<In>;
  /** Tells a process to finish and end. */
  dismiss(process: WorkerProcess<Out, In>): void;
  /** A process ended that should not have; another one follows after `againInMs`. */
  onLost(worker: number, exit: Exit, againInMs: number): void;
}

type State<Out, In> =
  | {
      readonly state: "starting" | "ready";
      readonly process: WorkerProcess<Out, In>;
      readonly since: number;
    }
  | { readonly state: "waiting"; readonly cancel: () => void }
  | { readonly state: "ended" };

interface Place<Out, In> {
  state: State<Out, In>;
  pauseMs: number;
}

/** The workers of this machine: started together, each replaced when it dies, ended together. */
export class Crew<Out, In> {
  readonly #options: CrewOptions<Out, In>;
  readonly #places: Place<Out, In>[];
  #starting: PromiseWithResolvers<void> | null = null;
  #stopping: PromiseWithResolvers<void> | null = null;

  constructor(options: CrewOptions<Out, In>) {
    this.#options = options;
    this.#places = Array.from({ length: options.workers }, () => ({
      state: { state: "ended" },
      pauseMs: restartFirstMs,
    }));
  }

  /** Resolves when all serve clients. Errors: rejects with the first failure, after which all are gone. */
  async start(): Promise<void> {
    this.#starting = Promise.withResolvers();
    for (const worker of this.#places.keys()) this.#begin(worker);
    try {
      await this.#starting.promise;
    } catch (error) {
      await this.stop(0);
      throw error;
    } finally {
      this.#starting = null;
    }
  }

  get ready(): readonly WorkerProcess<Out, In>[] {
    return this.#places.flatMap(({ state }) => (state.state === "ready" ? [state.process] : []));
  }

  admit(process: WorkerProcess<Out, In>): void {
    const place = this.#placeOf(process);
    if (place?.state.state !== "starting") return;
    place.state = { ...place.state, state: "ready" };
    if (this.ready.length === this.#places.length) this.#starting?.resolve();
  }

  /** The process could not begin; it ends by itself. */
  fail(error: Error): void {
    this.#starting?.reject(error);
  }

  /** Ends all of them, by force after `limitMs`. Resolves when none is left. */
  async stop(limitMs: number): Promise<void> {
    const stopping = (this.#stopping ??= Promise.withResolvers<void>());
    for (const place of this.#places) {
      const { state } = place;
      if (state.state === "waiting") {
        state.cancel();
        place.state = { state: "ended" };
      } else if (state.state !== "ended") {
        this.#options.dismiss(state.process);
      }
    }
    const cancel = this.#options.clock.after(limitMs, () => {
      for (const { state } of this.#places) if ("process" in state) state.process.kill();
    });
    this.#settleStop();
    await stopping.promise;
    cancel();
  }

  #begin(worker: number): void {
    const place = this.#places[worker];
    if (place === undefined) return;
    try {
      this.#beginAt(worker, place);
    } catch (error) {
      // Why caught: the workers that serve clients are not to end for one that may be begun later.
      this.#starting?.reject(error);
      this.#onExit(worker, place, { code: null, signal: null });
    }
  }

  #beginAt(worker: number, place: Place<Out, In>): void {
    const { clock, program } = this.#options;
    const process: WorkerProcess<Out, In> = new WorkerProcess(worker, program, {
      onMessage: (message) => seat.onMessage(message),
      onHandover: (handover, socket) => {
        const owner = this.#places[handover.to]?.state;
        if (owner?.state === "ready") owner.process.give(handover, socket);
        else socket.destroy();
      },
      onExit: (exit) => {
        seat.leave();
        this.#onExit(worker, place, exit);
      },
    });
    place.state = { state: "starting", process, since: clock.monotonic() };
    const seat = this.#options.seat(process);
  }

  #onExit(worker: number, place: Place<Out, In>, exit: Exit): void {
    const { state } = place;
    if (this.#stopping !== null) {
      place.state = { state: "ended" };
      this.#settleStop();
      return;
    }
    if (this.#starting !== null) {
      place.state = { state: "ended" };
      const how = exit.signal ?? `code ${String(exit.code)}`;
      this.#starting.reject(new Error(`worker ${worker + 1} ended before it was ready (${how})`));
      return;
    }
    const { clock } = this.#options;
    if ("since" in state && clock.monotonic() - state.since > soundAfterMs) place.pauseMs = restartFirstMs;
    const againInMs = place.pauseMs;
    place.pauseMs = Math.min(2 * againInMs, restartMaxMs);
    place.state = { state: "waiting", cancel: clock.after(againInMs, () => this.#begin(worker)) };
    this.#options.onLost(worker, exit, againInMs);
  }

  #settleStop(): void {
    if (this.#places.every(({ state }) => state.state === "ended")) this.#stopping?.resolve();
  }

  #placeOf(process: WorkerProcess<Out, In>): Place<Out, In> | undefined {
    return this.#places.find(({ state }) => "process" in state && state.process === process);
  }
}
