import type { ConfigOverrides } from "../../packages/server/src/config.ts";
import type { ManagerOptions } from "socket.io-client";
import { eventually } from "./eventually.ts";
import { startServer, type TestServer, tokenFor } from "./server.ts";
import { StockClient } from "./stock-client.ts";
import { TcpProxy } from "./tcp-proxy.ts";

/** A node with public rooms `a`, `b` and `c`, and a proxy before it. */
export interface RecoveryWorld extends AsyncDisposable {
  readonly server: TestServer;
  readonly proxy: TcpProxy;
  until(ask: () => boolean): Promise<void>;
}

export async function setUpRecovery(overrides: ConfigOverrides = {}): Promise<RecoveryWorld> {
  await using opening = new AsyncDisposableStack();
  const server = opening.use(await startServer({ overrides }));
  for (const roomId of ["a", "b", "c"]) await server.operations.putRoom({ roomId, access: "public" });
  const proxy = opening.use(await TcpProxy.before(server.url));
  const opened = opening.move();
  return {
    server,
    proxy,
    until: async (ask) => {
      await eventually("the server", () => ask() || undefined);
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

/** A stock client, through the proxy unless `url` says otherwise. */
export async function connectAs(
  world: RecoveryWorld,
  userId: string,
  options: Partial<Omit<ManagerOptions, "auth">> & { readonly auth?: object } = {},
  url = world.proxy.url,
): Promise<StockClient> {
  return new StockClient(url, { ...options, auth: { token: await tokenFor(world.server, userId), ...options.auth } });
}

/** Another user says something, on a connection that no test cuts. */
export async function say({ server }: RecoveryWorld, roomId: string, text: string): Promise<number> {
  return (await server.operations.sendMessage({ roomId, userId: "carol", text })).seq;
}

/** Does it to the client's connection until it has taken notice: over polling there is none between two requests. */
export async function lose(client: StockClient, doIt: () => void): Promise<void> {
  await client.settled();
  const before = client.losses;
  await eventually("the loss of the connection", () => {
    if (client.losses > before) return true;
    doIt();
    return undefined;
  });
}
