import { randomUUID } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { CloseReason } from "../../packages/server/src/gateway/connection.ts";
import { createGateway, type Gateway, type GatewayOptions } from "../../packages/server/src/gateway/gateway.ts";
import type {
  ConnectRequest,
  ConnectVerdict,
  NamespaceClient,
  NamespaceHandler,
  NamespaceSocket,
  Reply,
} from "../../packages/server/src/gateway/namespace.ts";

export interface LogLine {
  readonly event: string;
  readonly fields: Readonly<Record<string, string | number | boolean | null>>;
}

/**
 * A namespace that stands in for the core: sends `auth` on a connection, answers `message` with `message-back`,
 * acknowledges what asks for it with the same arguments, and does a few things by name.
 */
export class EchoNamespace implements NamespaceHandler {
  readonly requests: ConnectRequest[] = [];
  readonly clients = new Set<NamespaceClient>();
  readonly events: unknown[][] = [];
  readonly acks: { readonly id: number; readonly args: unknown[] }[] = [];
  readonly disconnected: string[] = [];
  pings = 0;
  answers = 0;
  readonly #greets: boolean;
  /** Verdict for the next CONNECT, else it is accepted. */
  verdict: ConnectVerdict | Promise<ConnectVerdict> | null = null;

  constructor({ greets = true }: { greets?: boolean } = {}) {
    this.#greets = greets;
  }

  connect(request: ConnectRequest): ConnectVerdict | Promise<ConnectVerdict> {
    this.requests.push(request);
    return this.verdict ?? this.accept(request);
  }

  accept(request: ConnectRequest): ConnectVerdict {
    const { client } = request;
    const socket: NamespaceSocket = {
      opened: () => {
        this.clients.add(client);
        if (this.#greets) client.emit("auth", request.auth);
      },
      onEvent: (args, reply) => this.#onEvent(client, args, reply),
      onAck: (id, args) => {
        this.acks.push({ id, args });
      },
      onPinged: () => {
        this.pings++;
      },
      onAnswered: () => {
        this.answers++;
      },
      onDisconnected: (reason) => {
        this.clients.delete(client);
        this.disconnected.push(reason);
      },
    };
    return { kind: "accepted", sid: randomUUID(), pid: null, socket };
  }

  #onEvent(client: NamespaceClient, args: unknown[], reply: Reply | null): void | Promise<void> {
    this.events.push(args);
    const [name, ...rest] = args;
    if (name === "throw") throw new Error("the handler failed");
    if (name === "reject") return Promise.reject(new Error("the handler failed later"));
    if (name === "never") return new Promise(() => {});
    if (name === "leave") {
      client.disconnect("kicked");
      return;
    }
    if (name === "message") client.emit("message-back", ...rest);
    reply?.(...rest);
  }
}

export interface EchoServer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly http: Server;
  readonly gateway: Gateway;
  readonly main: EchoNamespace;
  readonly admin: EchoNamespace;
  readonly log: LogLine[];
  readonly closed: CloseReason[];
}

/** A gateway with two echoing namespaces, `/` and `/admin`, on a free port. */
export async function startEchoServer(
  options: Omit<Partial<GatewayOptions>, "namespaces" | "log"> & { readonly scope?: readonly string[] } = {},
): Promise<EchoServer> {
  const main = new EchoNamespace();
  const admin = new EchoNamespace();
  const log: LogLine[] = [];
  const closed: CloseReason[] = [];
  const gateway = createGateway({
    ...options,
    log: (event, fields) => log.push({ event, fields }),
    namespaces: new Map([
      ["/", main],
      ["/admin", admin],
    ]),
    onClosed: (reason) => {
      closed.push(reason);
      options.onClosed?.(reason);
    },
  });
  const http = createServer((_request, response) => {
    response.end("the app's own page");
  });
  gateway.attach(http, options.scope === undefined ? {} : { namespaces: options.scope });
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  const address = http.address();
  if (address === null || typeof address === "string") throw new Error("the server has no port");
  const { port } = address;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    http,
    gateway,
    main,
    admin,
    log,
    closed,
    async [Symbol.asyncDispose]() {
      gateway.close("server_closing");
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
    },
  };
}
