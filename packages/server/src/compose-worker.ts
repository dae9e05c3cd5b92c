import type { Server } from "node:http";
import { Socket } from "node:net";
import { z } from "zod";
import { WorkersBus } from "./bus/workers.ts";
import { openNode, type OpenNode } from "./compose.ts";
import type { FromWorkerMade, ToWorker } from "./compose-messages.ts";
import { ConfigError } from "./config.ts";
import { systemClock } from "./core/clock.ts";
import { createLog } from "./log.ts";
import { RemoteStore } from "./store/remote.ts";
import { type Handover, Handovers, takeOver } from "./workers/handover.ts";
import { Link } from "./workers/link.ts";
import { takenMessage } from "./workers/worker-process.ts";

type Start = Extract<ToWorker, { type: "start" }>;

const statisticsMs = 1_000;
const lingerMs = 3_000;
const bytesSchema = z.object({ to: z.int(), bytes: z.instanceof(Uint8Array) }) satisfies z.ZodType<Handover>;

/** A worker's whole life: serves clients on the shared port as the primary at the other end of `pipe` says. */
export function serveClients(pipe: Socket): void {
  const worker = new Worker(
    new Link<FromWorkerMade, ToWorker>(pipe, {
      onMessage: (message) => worker.onMessage(message),
      // Nothing can be committed any more, and so nothing acknowledged.
      onLost: () => process.exit(),
    }),
  );
  process.on("message", (message, handle) => worker.onHandover(message, handle));
}

class Worker {
  readonly #link: Link<FromWorkerMade, ToWorker>;
  readonly #store: RemoteStore;
  readonly #bus: WorkersBus;
  #running: Promise<Running> | null = null;
  #server: Server | null = null;
  #draining = false;

  constructor(link: Link<FromWorkerMade, ToWorker>) {
    this.#link = link;
    this.#store = new RemoteStore((request) => link.send({ type: "store", request }));
    this.#bus = new WorkersBus((message) => {
      if (message.kind === "follow" || message.kind === "unfollow") link.send({ type: "bus", message });
      else link.offer({ type: "bus", message });
    });
  }

  onMessage(message: ToWorker): void {
    switch (message.type) {
      case "start":
        this.#running = this.#start(message);
        this.#running.then(
          () => this.#link.send({ type: "ready" }),
          (error: unknown) => void this.#fail(error),
        );
        return;
      case "store":
        this.#store.answered(message.answer);
        return;
      case "bus":
        this.#bus.receive(message.message);
        return;
      case "measure":
        void this.#measure(message.reading);
        return;
      case "service":
        this.#draining = message.draining;
        void this.#running?.then(({ open }) => this.#serve(open)).catch(() => {});
        return;
      case "stop":
        void this.#stop();
        return;
      default:
        message satisfies never;
    }
  }

  onHandover(message: unknown, socket: unknown): void {
    process.send?.(takenMessage);
    // A connection that its client closed on the way arrives as a message alone.
    if (!(socket instanceof Socket)) return;
    const handover = bytesSchema.safeParse(message);
    if (handover.success && this.#server !== null) takeOver(this.#server, handover.data, socket);
    else socket.destroy();
  }

  async #start({ id, worker, config, adminSecret }: Start): Promise<Running> {
    await using opening = new AsyncDisposableStack();
    const name = String(worker + 1);
    const log = createLog(config.log).child({ worker: name });
    const neighbours = new Handovers({
      worker,
      workers: config.server.workers,
      payloadBytesMax: config.limits.payloadBytesMax,
      send: (handover, socket, sent) => void process.send?.(handover, socket, {}, sent),
    });
    // Why not these: a store and a bus of their own make the workers nodes like those of other machines.
    const store = config.store.url === undefined ? this.#store : undefined;
    const bus = config.bus.url.length === 0 ? this.#bus : undefined;
    const place = { id, worker: name, store, bus, neighbours };
    const open = opening.use(await openNode(config, { log, adminSecret }, place));
    const port = await open.openShared((server) => {
      this.#server = server;
    });
    opening.defer(async () => {
      await open.drain();
      await port[Symbol.asyncDispose]();
    });
    opening.defer(this.#tellStatistics(open));
    const opened = opening.move();
    return { open, stop: () => opened.disposeAsync() };
  }

  #serve({ gateway, config }: OpenNode): void {
    if (this.#draining) gateway.pause(config.drain);
    else gateway.resume();
  }

  /** Until the returned function is called. */
  #tellStatistics({ operations }: OpenNode): () => void {
    let cancel = (): void => {};
    const tell = (): void => {
      this.#link.offer({ type: "statistics", statistics: operations.statistics() });
      cancel = systemClock.after(statisticsMs, tell);
    };
    tell();
    return () => cancel();
  }

  async #measure(reading: number): Promise<void> {
    const running = await this.#running;
    if (running !== null) {
      this.#link.send({ type: "measured", reading, samples: await running.open.metrics.samples() });
    }
  }

  async #fail(error: unknown): Promise<void> {
    const problems = error instanceof ConfigError ? error.problems : [];
    this.#link.send({ type: "failed", problems, message: error instanceof Error ? error.message : String(error) });
    process.exitCode = 1;
    await this.#leave();
  }

  async #stop(): Promise<void> {
    try {
      const running = await this.#running;
      await running?.stop();
    } catch {
      // It never began, and has said so.
    }
    await this.#leave();
  }

  async #leave(): Promise<void> {
    await this.#link.close();
    // What should have been closed and was not must not keep the process.
    setTimeout(() => process.exit(), lingerMs).unref();
    if (process.connected) process.disconnect?.();
  }
}

interface Running {
  readonly open: OpenNode;
  stop(): Promise<void>;
}
