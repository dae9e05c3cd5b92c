import { type Namespace, Server, type ServerOptions } from "socket.io";
import type { EngineConnection } from "./engine-connection.ts";
import { EngineFacade, FacadeEngine } from "./engine-facade.ts";
import type { ForeignNamespaces } from "./foreign.ts";

export interface AppNamespacesOptions {
  /** Parley's own, which `io.of` refuses. */
  readonly reserved: readonly string[];
  readonly namespacesMax: number;
  /** Makes what joins a namespace of this node with that of the others. Without: this node is alone. */
  readonly adapter?: (namespace: Namespace) => Namespace["adapter"];
  /** For Socket.IO's server. */
  readonly server?: Partial<
    Pick<ServerOptions, "connectTimeout" | "cleanupEmptyChildNamespaces" | "connectionStateRecovery">
  >;
  /** Called once, when `io` is first asked for. */
  onOpen?(): void;
}

/** The embedding app's own Socket.IO namespaces, on the connections that Parley serves. */
export interface AppNamespaces extends ForeignNamespaces {
  /** A real Socket.IO server, made when first asked for. `/` and the reserved names are not its. */
  readonly io: Server;
}

export function createAppNamespaces(options: AppNamespacesOptions): AppNamespaces {
  const engine = new FacadeEngine();
  let io: Server | null = null;
  return {
    get io() {
      if (io === null) {
        io = createServer(options);
        io.bind(engine);
        options.onOpen?.();
      }
      return io;
    },
    isOpen: () => io !== null,
    attach: (connection: EngineConnection) => {
      const facade = new EngineFacade(engine, connection, options.namespacesMax);
      engine.emit("connection", facade);
      return facade;
    },
  };
}

const ofParley =
  "`/` is Parley's own namespace: use `parley.on(event, schema, handler)` for its events and connections, `announce`, `publish` and `notifyUser` to send.";

/** Methods of `io`, and of `io.of("/")`, that would reach the clients of `/` past Parley. */
const closedMethods = [
  "emit",
  "send",
  "write",
  "use",
  "to",
  "in",
  "except",
  "timeout",
  "compress",
  "fetchSockets",
  "allSockets",
  "socketsJoin",
  "socketsLeave",
  "disconnectSockets",
] as const;
const closedProperties = ["local", "volatile"] as const;
const listeningMethods = ["on", "once", "addListener", "prependListener", "prependOnceListener"] as const;

function createServer(options: AppNamespacesOptions): Server {
  const { reserved, server } = options;
  const io = new Server({ ...server, ...adapterOption(options), serveClient: false });
  closeNamespace(io.of("/"));
  for (const name of ["attach", "listen", "attachApp"]) {
    refuse(io, name, `io.${name}: Parley serves the connections; use parley.attach(server).`);
  }
  const names = new Set(reserved.flatMap((name) => [name, name.slice(1)]));
  const of = io.of.bind(io);
  Object.defineProperty(io, "of", {
    value: (...args: Parameters<typeof of>) => {
      const [name] = args;
      if (typeof name === "string" && names.has(name) && name !== "/" && name !== "") {
        throw new Error(`${name} is Parley's own namespace; io.of takes other names.`);
      }
      return of(...args);
    },
  });
  return io;
}

function adapterOption({ adapter }: AppNamespacesOptions): Partial<Pick<ServerOptions, "adapter">> {
  if (adapter === undefined) return {};
  // Why no arrow: Socket.IO calls it with `new`.
  return {
    adapter: function adapterOf(namespace: Namespace) {
      return adapter(namespace);
    },
  };
}

function closeNamespace(root: Namespace): void {
  for (const name of closedMethods) refuse(root, name, ofParley);
  for (const name of closedProperties) {
    Object.defineProperty(root, name, {
      get: () => {
        throw new Error(ofParley);
      },
    });
  }
  for (const name of listeningMethods) {
    const listen: unknown = Reflect.get(root, name);
    if (typeof listen !== "function") continue;
    Object.defineProperty(root, name, {
      value: (...args: unknown[]) => {
        if (args[0] === "connection" || args[0] === "connect") throw new Error(ofParley);
        return Reflect.apply(listen, root, args);
      },
    });
  }
}

function refuse(target: object, name: string, message: string): void {
  Object.defineProperty(target, name, {
    value: () => {
      throw new Error(message);
    },
  });
}
