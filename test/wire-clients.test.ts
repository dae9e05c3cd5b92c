import { Manager, type Socket } from "socket.io-client";
import { describe, expect, test } from "vitest";
import { listSettings } from "../packages/server/src/config-settings.ts";
import { startEchoServer } from "./support/echo-gateway.ts";

// The stock client, in each of the ways it connects; `polling`, then `websocket` is its default.

const ways = [{ transports: ["websocket"] }, { transports: ["polling"] }, { transports: ["polling", "websocket"] }];

function nextEvent(socket: Pick<Socket, "once">, event: string): Promise<unknown[]> {
  return new Promise((resolve) => {
    socket.once(event, (...args: unknown[]) => resolve(args));
  });
}

interface Client extends Disposable {
  readonly manager: Manager;
  readonly socket: Socket;
}

/** A client that is connected to `/`; it comes back by itself, quickly. */
async function startClient(url: string, transports: readonly string[], auth = {}): Promise<Client> {
  const manager = new Manager(url, {
    transports: [...transports],
    forceNew: true,
    reconnectionDelay: 5,
    reconnectionDelayMax: 20,
  });
  const socket = manager.socket("/", { auth });
  await nextEvent(socket, "connect");
  return {
    manager,
    socket,
    [Symbol.dispose]() {
      manager.reconnection(false);
      socket.disconnect();
      manager.engine.close();
    },
  };
}

async function upgraded({ manager }: Client, transports: readonly string[]): Promise<void> {
  const last = transports.at(-1);
  await expect.poll(() => manager.engine.transport.name).toBe(last);
}

describe.each(ways)("over $transports", ({ transports }) => {
  test("[WIRE-1] connects with its auth; events and acknowledgements go both ways", async () => {
    await using server = await startEchoServer();
    const manager = new Manager(server.url, { transports, reconnection: false });
    const socket = manager.socket("/", { auth: { token: "abc" } });
    expect(await nextEvent(socket, "auth")).toEqual([{ token: "abc" }]);
    const back = nextEvent(socket, "message-back");
    socket.emit("message", 1, "zwei", { drei: [true, null] });
    expect(await back).toEqual([1, "zwei", { drei: [true, null] }]);
    expect(await socket.timeout(5_000).emitWithAck("ask", "x")).toBe("x");
    socket.disconnect();
    await expect.poll(() => server.gateway.connectionCount).toBe(0);
  });

  test("[WIRE-1] what a server writes just before it closes is there before the client comes back", async () => {
    await using server = await startEchoServer();
    using client = await startClient(server.url, transports);
    await upgraded(client, transports);
    // The server has left polling behind, too.
    await client.socket.emitWithAck("ask");
    const seen: string[] = [];
    client.socket.on("last words", () => seen.push("last words"));
    client.socket.on("disconnect", () => seen.push("disconnect"));
    const [here] = server.main.clients;
    const back = nextEvent(client.socket, "connect");
    here?.emit("last words");
    here?.connection.close("kicked");
    await back;
    expect(seen).toEqual(["last words", "disconnect"]);
  });

  test("[WIRE-1] binary goes both ways, in events and in acknowledgements", async () => {
    await using server = await startEchoServer();
    using client = await startClient(server.url, transports);
    const large = Buffer.alloc(100_000, "ab");
    const back = nextEvent(client.socket, "message-back");
    client.socket.emit("message", large, { in: [Buffer.from([0, 255])] });
    expect(await back).toEqual([large, { in: [Buffer.from([0, 255])] }]);
    expect(await client.socket.timeout(5_000).emitWithAck("ask", new Uint8Array([1, 2]))).toEqual(Buffer.from([1, 2]));
  });

  test("[WIRE-1] everything arrives in order, also across the upgrade", async () => {
    await using server = await startEchoServer();
    using client = await startClient(server.url, transports);
    const got: unknown[] = [];
    client.socket.on("message-back", (at: unknown) => got.push(at));
    const count = 500;
    for (let at = 0; at < count; at++) {
      client.socket.emit("message", at);
      if (at % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await expect.poll(() => got.length, { timeout: 10_000 }).toBe(count);
    expect(got).toEqual(Array.from({ length: count }, (_, at) => at));
    await upgraded(client, transports);
    expect(server.gateway.connectionCount).toBe(1);
  });

  test("[WIRE-1] several namespaces share a connection, and leave it one by one", async () => {
    await using server = await startEchoServer();
    using client = await startClient(server.url, transports);
    const admin = client.manager.socket("/admin");
    await nextEvent(admin, "connect");
    expect(await admin.timeout(5_000).emitWithAck("ask", "admin")).toBe("admin");
    admin.disconnect();
    expect(await client.socket.timeout(5_000).emitWithAck("ask", "main")).toBe("main");
    await expect.poll(() => server.admin.disconnected).toEqual(["client_left"]);
    expect(server.gateway.connectionCount).toBe(1);
  });

  test("[WIRE-1] a refusal is a connect_error with its data", async () => {
    await using server = await startEchoServer();
    const data = { code: "unauthorized", message: "no token" } as const;
    server.main.verdict = { kind: "refused", message: "no token", data };
    const manager = new Manager(server.url, { transports, reconnection: false });
    const socket = manager.socket("/");
    expect(await nextEvent(socket, "connect_error")).toMatchObject([{ message: "no token", data }]);
    expect(socket.active).toBe(false);
    manager.engine.close();
  });

  test("[WIRE-1] the server ends a namespace: io server disconnect", async () => {
    await using server = await startEchoServer();
    using client = await startClient(server.url, transports);
    const left = nextEvent(client.socket, "disconnect");
    client.socket.emit("leave");
    expect((await left)[0]).toBe("io server disconnect");
  });

  test("[WIRE-1] the server closes the transport: the client comes back by itself, again and again", async () => {
    await using server = await startEchoServer();
    using client = await startClient(server.url, transports);
    for (let round = 0; round < 5; round++) {
      await upgraded(client, transports);
      const [left, back] = [nextEvent(client.socket, "disconnect"), nextEvent(client.socket, "connect")];
      for (const { connection } of server.main.clients) connection.close("overloaded");
      const [reason] = await left;
      expect(["transport close", "transport error"]).toContain(reason);
      await back;
      expect(await client.socket.timeout(5_000).emitWithAck("ask", round)).toBe(round);
    }
    expect(server.gateway.connectionCount).toBe(1);
  });

  test("[WIRE-1] heartbeats keep it, for many intervals", async () => {
    await using server = await startEchoServer({ settings: { pingIntervalMs: 40, pingTimeoutMs: 2_000 } });
    using client = await startClient(server.url, transports);
    await expect.poll(() => server.main.answers, { timeout: 10_000 }).toBeGreaterThan(5);
    expect(client.socket.connected).toBe(true);
    expect(server.closed).toEqual([]);
  });

  test("[WIRE-1] heartbeats as seldom as they may be set keep it", async () => {
    const [pingIntervalMs = 0, pingTimeoutMs = 0] = ["heartbeat.pingIntervalMs", "heartbeat.pingTimeoutMs"].map(
      (name) => listSettings().find((setting) => setting.name === name)?.maximum ?? undefined,
    );
    await using server = await startEchoServer({ settings: { pingIntervalMs, pingTimeoutMs } });
    using client = await startClient(server.url, transports);
    expect(await client.socket.timeout(5_000).emitWithAck("ask", "x")).toBe("x");
  });

  test("[WIRE-1] an event as large as it may be", async () => {
    await using server = await startEchoServer();
    using client = await startClient(server.url, transports);
    const text = "x".repeat(900_000);
    expect(await client.socket.timeout(10_000).emitWithAck("ask", text)).toBe(text);
  });
});

test("[WIRE-1] a client that tries WebSocket first and falls back", async () => {
  await using server = await startEchoServer();
  using client = await startClient(server.url, ["websocket", "polling"]);
  expect(await client.socket.timeout(5_000).emitWithAck("ask", 1)).toBe(1);
});

test("[WIRE-1] fifty clients come and go at once and leave nothing behind", async () => {
  await using server = await startEchoServer();
  const clients = await Promise.all(
    Array.from({ length: 50 }, (_, at) => startClient(server.url, ways[at % 3]?.transports ?? [])),
  );
  const answers = await Promise.all(clients.map(({ socket }, at) => socket.timeout(10_000).emitWithAck("ask", at)));
  expect(answers).toEqual(Array.from({ length: 50 }, (_, at) => at));
  for (const client of clients) client[Symbol.dispose]();
  await expect.poll(() => server.gateway.connectionCount, { timeout: 10_000 }).toBe(0);
  expect(server.main.clients.size).toBe(0);
  expect(server.main.disconnected).toHaveLength(50);
});
