import { randomUUID } from "node:crypto";
import path from "node:path";
import { BusHub, WorkersBus } from "./bus/workers.ts";
import { CommandFailed, type RunningNode } from "./commands/command.ts";
import { type NodeOptions, openNode, type OpenNode, type Summary } from "./compose.ts";
import type { FromWorker, ToWorkerMade } from "./compose-messages.ts";
import { type Config, ConfigError } from "./config.ts";
import { systemClock } from "./core/clock.ts";
import type { NodeStatistics } from "./core/operations.ts";
import type { Readiness } from "./http/health.ts";
import { joinSamples, type Metrics, type MetricSamples } from "./http/metrics.ts";
import { findPublicPort, urlOfPort } from "./http/port.ts";
import { answerCall } from "./store/remote-service.ts";
import type { Store } from "./store/store.ts";
import { Crew, type Seat } from "./workers/crew.ts";
import type { WorkerProcess } from "./workers/worker-process.ts";

type Process = WorkerProcess<ToWorkerMade, FromWorker>;
type Started = Extract<FromWorker, { type: "ready" | "failed" }>;

// From source this file ends in .ts, in the published package in .js, and the worker's likewise.
const program = new URL(`./worker${path.extname(import.meta.url)}`, import.meta.url);

/** A worker that does not say in this time what it has measured is left out. */
const measureMs = 2_000;
/** What a worker has to end besides its clients and requests under way: last writes to the store. */
const finishMs = 5_000;

/**
 * A node for each worker, on one public port, and one in this process: it owns the store and the internal port, and
 * takes no clients but administrators. Errors: as `startNode`.
 */
export async function startWorkers(given: Config, options: NodeOptions): Promise<RunningNode> {
  await using opening = new AsyncDisposableStack();
  const port = await findPublicPort(given);
  const config = { ...given, server: { ...given.server, port } };
  const primary = new Primary(config, options);
  const open = opening.use(await primary.open());
  const internal = await open.openInternal();
  // Why in this order: when the workers stop, the store that they need is still there.
  opening.defer(async () => {
    await Promise.all([open.drain(), primary.stopWorkers()]);
    await internal[Symbol.asyncDispose]();
  });
  await primary.startWorkers(open.node.store);
  const opened = opening.move();
  return {
    publicUrl: urlOfPort(config.server),
    internalUrl: internal.url,
    operations: open.operations,
    stop: () => opened.disposeAsync(),
  };
}

/** What is known of a worker's node. */
interface Known {
  readonly process: Process;
  statistics: NodeStatistics | null;
}

class Primary implements Summary {
  readonly #config: Config;
  readonly #options: NodeOptions;
  readonly #hub = new BusHub();
  readonly #known = new Map<Process, Known>();
  /** Readings of metrics that wait for a worker. */
  readonly #readings = new Map<number, (samples: MetricSamples | null) => void>();
  #lastReading = 0;
  #draining = false;
  #own: Metrics | null = null;
  #crew: Crew<ToWorkerMade, FromWorker> | null = null;

  constructor(config: Config, options: NodeOptions) {
    this.#config = config;
    this.#options = options;
  }

  /** The node of this process. */
  async open(): Promise<OpenNode> {
    const id = randomUUID();
    const own = new WorkersBus((message) => member.take(message));
    const member = this.#hub.join(id, (message) => own.receive(message));
    const bus = this.#config.bus.url.length === 0 ? own : undefined;
    const open = await openNode(this.#config, this.#options, { id, worker: "primary", bus, summary: this });
    this.#own = open.metrics;
    return open;
  }

  async startWorkers(store: Store): Promise<void> {
    const { workers } = this.#config.server;
    const { log } = this.#options;
    const crew: Crew<ToWorkerMade, FromWorker> = new Crew({
      workers,
      program,
      clock: systemClock,
      seat: (process) => this.#seat(process, crew, store),
      dismiss: ({ link }) => link.send({ type: "stop" }),
      onLost: (worker, { code, signal }, againInMs) => {
        log.error({ worker: worker + 1, code, signal, againInMs }, "worker_lost");
      },
    });
    this.#crew = crew;
    try {
      await crew.start();
    } catch (error) {
      if (error instanceof ConfigError) throw error;
      throw new CommandFailed(error instanceof Error ? error.message : String(error), { cause: error });
    }
  }

  async stopWorkers(): Promise<void> {
    const { server, bus, drain } = this.#config;
    const drainMs = bus.url.length === 0 ? 0 : drain.drainMs + drain.moveMs;
    await this.#crew?.stop(drainMs + server.shutdownTimeoutMs + finishMs);
  }

  statistics(own: NodeStatistics): NodeStatistics {
    const all = [own];
    for (const { statistics } of this.#known.values()) if (statistics !== null) all.push(statistics);
    const sum = (read: (statistics: NodeStatistics) => number): number =>
      all.reduce((total, statistics) => total + read(statistics), 0);
    return {
      ...own,
      connections: sum(({ connections }) => connections),
      sockets: sum(({ sockets }) => sockets),
      users: sum(({ users }) => users),
      feeds: sum(({ feeds }) => feeds),
      subscribers: sum(({ subscribers }) => subscribers),
      detachedSessions: sum(({ detachedSessions }) => detachedSessions),
      appendedTotal: sum(({ appendedTotal }) => appendedTotal),
      deliveredTotal: sum(({ deliveredTotal }) => deliveredTotal),
    };
  }

  async metrics(own: MetricSamples): Promise<string> {
    const asked = (this.#crew?.ready ?? []).map((process) => this.#measure(process));
    const samples = await Promise.all(asked);
    return joinSamples([own, ...samples.filter((sample) => sample !== null)]);
  }

  readiness(own: Readiness): Readiness {
    if (!own.ready) return own;
    const missing = this.#config.server.workers - (this.#crew?.ready.length ?? 0);
    return missing === 0 ? own : { ready: false, reason: `${missing} of the workers are not ready` };
  }

  onService(draining: boolean): void {
    this.#draining = draining;
    for (const { process } of this.#known.values()) process.link.send({ type: "service", draining });
  }

  #seat(process: Process, crew: Crew<ToWorkerMade, FromWorker>, store: Store): Seat<FromWorker> {
    const id = randomUUID();
    const { link } = process;
    const known: Known = { process, statistics: null };
    const member = this.#hub.join(id, (message) => {
      if (!link.offer({ type: "bus", message })) this.#own?.busDropped("unsent");
    });
    this.#known.set(process, known);
    const { adminSecret } = this.#options;
    link.send({ type: "start", id, worker: process.number, config: this.#config, adminSecret });
    if (this.#draining) link.send({ type: "service", draining: true });
    return {
      onMessage: (message) => {
        switch (message.type) {
          case "ready":
          case "failed":
            this.#onStarted(process, crew, message);
            return;
          case "store":
            void answerCall(store, message.request).then((answer) => link.send({ type: "store", answer }));
            return;
          case "bus":
            member.take(message.message);
            return;
          case "statistics":
            known.statistics = message.statistics;
            return;
          case "measured":
            this.#readings.get(message.reading)?.(message.samples);
            return;
          default:
            message satisfies never;
        }
      },
      leave: () => {
        member.leave();
        this.#known.delete(process);
        // Why not left to end: who was there is gone at once for everyone, and not only in seconds.
        store.endLease(id).catch(() => {});
      },
    };
  }

  #onStarted(process: Process, crew: Crew<ToWorkerMade, FromWorker>, message: Started): void {
    const { log } = this.#options;
    const worker = process.number + 1;
    if (message.type === "ready") {
      log.info({ worker, pid: process.pid }, "worker_ready");
      crew.admit(process);
    } else {
      crew.fail(message.problems.length > 0 ? new ConfigError(message.problems) : new Error(message.message));
      log.error({ worker, reason: message.message }, "worker_failed");
    }
  }

  /** Null: it did not answer in time. */
  async #measure({ link }: Process): Promise<MetricSamples | null> {
    this.#lastReading += 1;
    const reading = this.#lastReading;
    const { promise, resolve } = Promise.withResolvers<MetricSamples | null>();
    this.#readings.set(reading, resolve);
    const cancel = systemClock.after(measureMs, () => resolve(null));
    link.send({ type: "measure", reading });
    const samples = await promise;
    cancel();
    this.#readings.delete(reading);
    return samples;
  }
}
