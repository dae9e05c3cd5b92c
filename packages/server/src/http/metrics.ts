import { monitorEventLoopDelay } from "node:perf_hooks";
import { AggregatorRegistry, Counter, Gauge, Histogram, Registry } from "prom-client";
import type { NodeStatistics } from "../core/operations.ts";
import type { CloseReason } from "../gateway/connection.ts";

/** What the parts of a node report, and what `/metrics` shows. Names: `parley_subsystem_name_unit`. */
export interface Metrics {
  /** A batch was committed: how long the store took, and of how many appends, repeated and refused ones among them. */
  storeCommitted(seconds: number, appends: number): void;
  disconnected(reason: CloseReason): void;
  recovered(result: RecoveryResult): void;
  /** A client's event was answered. `event`: a name of the contract, or `other`. `outcome`: `ok` or an error code. */
  requested(event: string, outcome: string): void;
  httpAnswered(route: string, status: number): void;
  /** A message between nodes was not taken, or could not be sent. */
  busDropped(reason: "garbage" | "forged" | "newer" | "unsent"): void;
  /** Whether other nodes can be told and heard; not called on a node that is alone. */
  busState(state: "up" | "down"): void;
  /** Where the figures that are kept elsewhere come from, asked at each reading. */
  follow(source: () => NodeStatistics): void;
  readonly contentType: string;
  /** The text that Prometheus reads. */
  text(): Promise<string>;
  /** The same, to be joined with those of other processes by `joinSamples`. */
  samples(): Promise<MetricSamples>;
  /** Ends the measuring of the event loop. */
  close(): void;
}

/** What one process has measured; a structured clone of it is as good. */
export type MetricSamples = Awaited<ReturnType<Registry["getMetricsAsJSON"]>>;

/** The text that Prometheus reads, of several processes that bear names. */
export function joinSamples(samples: readonly MetricSamples[]): Promise<string> {
  return AggregatorRegistry.aggregate([...samples]).metrics();
}

/** `session`: as the same socket; `positions`: by `resume`; `unknown`: anew, for the session it asked for is not there. */
export type RecoveryResult = "session" | "positions" | "unknown";

const loopResolutionMs = 20;
const commitBucketsSeconds = [
  0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5,
  1, 2.5, 5,
];

/**
 * In a registry of its own: an app that embeds the server keeps prom-client's default one to itself. `worker` names this
 * process among others of its machine, as a label.
 */
export function createMetrics(version: string, worker?: string): Metrics {
  const registry = new Registry();
  if (worker !== undefined) registry.setDefaultLabels({ worker });
  const registers = [registry];
  const commit = new Histogram({
    name: "parley_store_commit_seconds",
    help: "Time that the store took to commit a batch, fsync included",
    buckets: commitBucketsSeconds,
    registers,
  });
  const counter = (name: string, help: string, labelNames: string[]) =>
    new Counter({ name, help, labelNames, registers });
  const disconnects = counter("parley_disconnects_total", "Connections that ended, by reason", ["reason"]);
  const recoveries = counter("parley_recovery_total", "Clients that returned, by how far they were recovered", [
    "result",
  ]);
  const requests = counter("parley_requests_total", "Events of clients, by name and outcome", ["event", "outcome"]);
  const http = counter("parley_http_requests_total", "HTTP requests, by route and status", ["route", "status"]);
  const busDrops = counter("parley_bus_dropped_total", "Messages between nodes that were lost, by reason", ["reason"]);
  const busUp = new Gauge({ name: "parley_bus_up", help: "Whether the bus between nodes is up", registers: [] });
  const appended = counter(
    "parley_store_appended_total",
    "Appends in the batches that this store committed, repeated and refused ones among them",
    [],
  );
  const build = new Gauge({ name: "parley_build_info", help: "Always 1", labelNames: ["version", "node"], registers });
  build.set({ version, node: process.versions.node }, 1);
  registerProcess(registry);
  const loop = registerEventLoop(registry);

  return {
    storeCommitted(seconds, appends) {
      commit.observe(seconds);
      appended.inc(appends);
    },
    disconnected: (reason) => disconnects.inc({ reason }),
    recovered: (result) => recoveries.inc({ result }),
    requested: (event, outcome) => requests.inc({ event, outcome }),
    httpAnswered: (route, status) => http.inc({ route, status }),
    busDropped: (reason) => busDrops.inc({ reason }),
    busState(state) {
      // Why not before: a node that is alone has no bus that could be down.
      registry.registerMetric(busUp);
      busUp.set(state === "up" ? 1 : 0);
    },
    follow: (source) => registerStatistics(registry, source),
    contentType: registry.contentType,
    text: () => registry.metrics(),
    samples: () => registry.getMetricsAsJSON(),
    close: () => loop.disable(),
  };
}

// Why read and not counted along: a counter's call for every delivery would cost more than the delivery.
function registerStatistics(registry: Registry, source: () => NodeStatistics): void {
  const registers = [registry];
  const gauges: readonly [string, string, (statistics: NodeStatistics) => number][] = [
    [
      "parley_connections",
      "Connections on the namespace /, whatever their transport",
      ({ connections }) => connections,
    ],
    ["parley_sockets", "Sockets on the namespace /", ({ sockets }) => sockets],
    ["parley_users", "Users with a connection", ({ users }) => users],
    ["parley_feeds", "Logs that the node follows: rooms, inboxes, announcements, @control", ({ feeds }) => feeds],
    ["parley_subscribers", "Cursors in feeds", ({ subscribers }) => subscribers],
    ["parley_detached_sessions", "Lost connections that may recover", ({ detachedSessions }) => detachedSessions],
  ];
  for (const [name, help, read] of gauges) {
    registry.registerMetric(
      new Gauge({
        name,
        help,
        registers: [],
        collect() {
          this.set(read(source()));
        },
      }),
    );
  }
  const delivered = new Counter({
    name: "parley_entries_delivered_total",
    help: "Entries written to connections",
    registers,
    collect() {
      this.reset();
      this.inc(source().deliveredTotal);
    },
  });
  delivered.inc(0);
}

function registerProcess(registry: Registry): void {
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  gauge("parley_process_resident_memory_bytes", "Resident memory", () => process.memoryUsage.rss());
  gauge("parley_process_heap_used_bytes", "JavaScript heap in use", () => process.memoryUsage().heapUsed);
  gauge("parley_process_external_memory_bytes", "Memory of buffers", () => process.memoryUsage().external);
  gauge("parley_process_uptime_seconds", "Time since the process began", () => process.uptime());
  const cpu = new Counter({
    name: "parley_process_cpu_seconds_total",
    help: "Processor time, user and system",
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc((user + system) / 1e6);
    },
  });
  cpu.inc(0);
}

function registerEventLoop(registry: Registry) {
  const loop = monitorEventLoopDelay({ resolution: loopResolutionMs });
  loop.enable();
  const delay = new Gauge({
    name: "parley_event_loop_delay_seconds",
    help: "Lateness of the event loop since the last reading, by quantile; 1 is the worst",
    labelNames: ["quantile"],
    registers: [registry],
    collect() {
      for (const [quantile, percentile] of [
        ["0.5", 50],
        ["0.99", 99],
        ["1", 100],
      ] as const) {
        // The timer's own period is part of what is measured.
        const lateMs = loop.percentile(percentile) / 1e6 - loopResolutionMs;
        this.set({ quantile }, Math.max(0, lateMs) / 1e3);
      }
      loop.reset();
    },
  });
  delay.set({ quantile: "1" }, 0);
  return loop;
}
