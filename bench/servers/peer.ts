import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { installPeers, peerVersion } from "../peers/install.ts";
import { nodeOf, Nodes } from "./nodes.ts";
import { ServerProcess } from "./process.ts";
import type { RunningServer, ServerKind, ServerOptions } from "./server.ts";
import { type Service, type Services, startServices } from "./services.ts";

const directory = fileURLToPath(new URL("../peers/", import.meta.url));

export interface Peer extends Pick<ServerKind, "name" | "title"> {
  readonly sequenced?: boolean;
  readonly ordered?: boolean;
  readonly durable?: boolean;
  readonly comesBack?: ServerKind["comesBack"];
  readonly nodesMax?: number;
  readonly polling?: boolean;
  /** A file of `peers/`. */
  readonly script: string;
  /** Packages whose versions are printed. */
  readonly packages: readonly string[];
  readonly services?: readonly Service[];
  /** A file of the peers' packages that runs the script, in the place of Node. */
  readonly runtime?: string;
  environment?(services: Services, runDirectory: string): Readonly<Record<string, string | undefined>>;
}

/** A server of `peers/`, which prints its port when it is ready. */
export function peerKind(peer: Peer): ServerKind {
  return {
    name: peer.name,
    title: peer.title,
    sequenced: peer.sequenced ?? false,
    ordered: peer.ordered ?? true,
    durable: peer.durable ?? false,
    comesBack: peer.comesBack ?? "none",
    nodesMax: peer.nodesMax ?? 1,
    polling: peer.polling ?? true,
    missing: () => {
      const problem = installPeers();
      if (problem !== undefined || peer.runtime === undefined) return problem;
      return existsSync(`${directory}${peer.runtime}`) ? undefined : `npm installed no ${peer.runtime} on this machine`;
    },
    start: (options) => start(peer, options),
  };
}

async function start(peer: Peer, options: ServerOptions): Promise<RunningServer> {
  await using starting = new AsyncDisposableStack();
  const services = starting.use(await startServices(peer.services ?? [], options.usedServices));
  const nodes = starting.use(await Nodes.start(options.nodes, () => startNode(peer, services, options)));
  const started = starting.move();
  return {
    host: "127.0.0.1",
    get port() {
      return nodes.first.port;
    },
    get pid() {
      return nodes.first.pid;
    },
    get nodes() {
      return nodes.all;
    },
    get ended() {
      return nodes.all.find(({ ended }) => ended !== undefined)?.ended;
    },
    command: nodes.first.process.command,
    versions: Object.fromEntries(peer.packages.map((name) => [name, peerVersion(name)])),
    settings: [],
    memory: () => nodes.first.process.memory(),
    makeRooms: () => Promise.resolve(), // A room exists as soon as someone joins it.
    commitTimes: () => Promise.resolve(undefined),
    loseFirst: () => nodes.loseFirst(),
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  };
}

async function startNode(peer: Peer, services: Services, options: ServerOptions) {
  const given = Object.entries(peer.environment?.(services, options.directory) ?? {});
  const environment = Object.fromEntries(
    given.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
  const server = new ServerProcess({
    cores: options.cores,
    ...(peer.runtime === undefined ? {} : { runtime: `${directory}${peer.runtime}` }),
    arguments: [`${directory}${peer.script}`],
    environment: { BENCH_SECRET: options.secret, ...environment },
    directory: options.directory,
  });
  return nodeOf(server, await server.readyPort());
}
