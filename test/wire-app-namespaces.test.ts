import { once } from "node:events";
import { Manager, type Socket } from "socket.io-client";
import { describe, expect, test } from "vitest";
import { type AppNamespaces, createAppNamespaces } from "../packages/server/src/gateway/app-namespaces.ts";
import { type EchoServer, startEchoServer } from "./support/echo-gateway.ts";
import { RawWebSocket } from "./support/raw-client.ts";

// An app's own Socket.IO namespaces, as its code was written for a Socket.IO server, on connections that use `/` too.

type Namespace = ReturnType<AppNamespaces["io"]["of"]>;

interface AppServer extends AsyncDisposable {
  readonly echo: EchoServer;
  readonly app: AppNamespaces;
  readonly chat: Namespace;
}

async function startAppServer(connectTimeout = 45_000): Promise<AppServer> {
  const app = createAppNamespaces({ reserved: ["/", "/admin"], namespacesMax: 4, server: { connectTimeout } });
  const echo = await startEchoServer({ foreign: app });
  echo.gateway.keepHandshakes();
  const chat = app.io.of("/chat");
  return {
    echo,
    app,
    chat,
    async [Symbol.asyncDispose]() {
      await echo[Symbol.asyncDispose]();
      await app.io.close();
    },
  };
}

interface Client extends Disposable {
  readonly manager: Manager;
  readonly main: Socket;
  readonly chat: Socket;
}

/** One connection with `/` joined, and `/chat` not yet. */
async function startClient(
  url: string,
  auth: Record<string, unknown> = {},
  transports = ["websocket"],
): Promise<Client> {
  const manager = new Manager(url, { transports, reconnection: false, forceNew: true });
  const main = manager.socket("/");
  const chat = manager.socket("/chat", { auth });
  chat.disconnect();
  await nextEvent(main.connect(), "connect");
  return {
    manager,
    main,
    chat,
    [Symbol.dispose]() {
      main.disconnect();
      chat.disconnect();
      manager.engine.close();
    },
  };
}

async function joinChat(client: Client): Promise<void> {
  const connected = new Promise((resolve, reject) => {
    client.chat.once("connect", () => resolve(null));
    client.chat.once("connect_error", reject);
  });
  client.chat.connect();
  await connected;
}

async function stillWorks(client: Client): Promise<void> {
  expect(await client.main.timeout(5_000).emitWithAck("ask", "main")).toBe("main");
}

function nextEvent(socket: Socket, event: string): Promise<unknown[]> {
  return new Promise((resolve) => {
    socket.once(event, (...args: unknown[]) => resolve(args));
  });
}

describe.each([[["websocket"]], [["polling"]], [["polling", "websocket"]]])("over %j", (transports) => {
  test("[WIRE-1] events, acknowledgements and binary go both ways", async () => {
    await using server = await startAppServer();
    server.chat.on("connection", (socket) => {
      socket.on("echo", (...args: unknown[]) => {
        const reply = args.pop();
        if (typeof reply === "function") reply(...args);
      });
      socket.emit("welcome", socket.id, Buffer.from([1, 2, 3]));
    });
    using client = await startClient(server.echo.url, {}, transports);
    const welcome = nextEvent(client.chat, "welcome");
    await joinChat(client);
    expect(await welcome).toEqual([client.chat.id, Buffer.from([1, 2, 3])]);
    expect(await client.chat.emitWithAck("echo", { deep: [Buffer.from("x")] })).toEqual({ deep: [Buffer.from("x")] });
    await stillWorks(client);
  });

  test("[WIRE-1] the server asks a client for an acknowledgement", async () => {
    await using server = await startAppServer();
    const connection = once(server.chat, "connection");
    using client = await startClient(server.echo.url, {}, transports);
    client.chat.on("question", (text: string, reply: (answer: unknown) => void) =>
      reply({ text, raw: Buffer.from("42") }),
    );
    await joinChat(client);
    const [socket] = await connection;
    expect(await socket.timeout(5_000).emitWithAck("question", "why")).toEqual({ text: "why", raw: Buffer.from("42") });
    expect(await server.chat.timeout(5_000).emitWithAck("question", "all")).toEqual([
      { text: "all", raw: Buffer.from("42") },
    ]);
  });
});

describe("one connection", () => {
  test("[WIRE-1] middleware sees the handshake and the token, and refuses with data; the connection stays", async () => {
    await using server = await startAppServer();
    server.chat.use((socket, next) => {
      if (socket.handshake.auth["token"] === "good" && socket.handshake.headers["user-agent"] !== "none") {
        socket.data = { user: "ann", query: socket.handshake.query["EIO"], address: socket.handshake.address };
        next();
      } else {
        next(Object.assign(new Error("not authorized"), { data: { code: 7 } }));
      }
    });
    using bad = await startClient(server.echo.url, { token: "bad" });
    await expect(joinChat(bad)).rejects.toMatchObject({ message: "not authorized", data: { code: 7 } });
    await stillWorks(bad);
    using good = await startClient(server.echo.url, { token: "good" });
    await joinChat(good);
    const [socket] = await server.chat.fetchSockets();
    expect(socket?.data).toEqual({ user: "ann", query: "4", address: "127.0.0.1" });
  });

  test("[WIRE-1] after a refusal the client may try again on the same connection", async () => {
    await using server = await startAppServer();
    let tries = 0;
    server.chat.use((_socket, next) => {
      tries++;
      if (tries === 1) next(new Error("not yet"));
      else next();
    });
    using client = await startClient(server.echo.url);
    await expect(joinChat(client)).rejects.toThrow("not yet");
    await joinChat(client);
    expect(client.chat.connected).toBe(true);
    expect(server.echo.gateway.connectionCount).toBe(1);
  });

  test("[WIRE-1] rooms: join, to, except, leave, broadcast", async () => {
    await using server = await startAppServer();
    server.chat.on("connection", (socket) => {
      socket.on("enter", (room: string, done: () => void) => {
        void socket.join(room);
        done();
      });
      socket.on("say", (room: string, text: string) => socket.to(room).emit("said", text));
    });
    using ann = await startClient(server.echo.url);
    using bob = await startClient(server.echo.url);
    await joinChat(ann);
    await joinChat(bob);
    await ann.chat.emitWithAck("enter", "r1");
    await bob.chat.emitWithAck("enter", "r1");
    const heard = nextEvent(bob.chat, "said");
    ann.chat.emit("say", "r1", "hi");
    expect(await heard).toEqual(["hi"]);
    const both = Promise.all([nextEvent(ann.chat, "news"), nextEvent(bob.chat, "news")]);
    server.chat.to("r1").emit("news", 1);
    expect(await both).toEqual([[1], [1]]);
    const one = nextEvent(ann.chat, "news");
    server.chat.except(String(bob.chat.id)).emit("news", 2);
    expect(await one).toEqual([2]);
  });

  test("[WIRE-1] fetchSockets, socketsJoin and disconnectSockets", async () => {
    await using server = await startAppServer();
    using client = await startClient(server.echo.url);
    await joinChat(client);
    server.chat.socketsJoin("r2");
    const [socket, ...others] = await server.chat.in("r2").fetchSockets();
    expect(others).toEqual([]);
    expect(socket?.id).toBe(client.chat.id);
    const left = nextEvent(client.chat, "disconnect");
    server.chat.disconnectSockets();
    expect((await left)[0]).toBe("io server disconnect");
    await stillWorks(client);
  });

  test("[WIRE-1] disconnect reasons: the client left, the server ended it, the connection went", async () => {
    await using server = await startAppServer();
    const reasons: string[] = [];
    server.chat.on("connection", (socket) => {
      socket.on("disconnect", (reason) => reasons.push(reason));
      socket.on("end me", () => socket.disconnect());
    });
    using client = await startClient(server.echo.url);
    await joinChat(client);
    client.chat.disconnect();
    await expect.poll(() => reasons).toEqual(["client namespace disconnect"]);
    await joinChat(client);
    client.chat.emit("end me");
    await expect.poll(() => reasons).toEqual(["client namespace disconnect", "server namespace disconnect"]);
    await joinChat(client);
    await stillWorks(client);
    client.manager.engine.close();
    await expect.poll(() => reasons.at(-1)).toBe("transport close");
    expect(reasons).toHaveLength(3);
  });

  test("[WIRE-1] disconnect(true) closes the connection, as it does in Socket.IO", async () => {
    await using server = await startAppServer();
    const reasons: string[] = [];
    server.chat.on("connection", (socket) => {
      socket.on("disconnect", (reason) => reasons.push(reason));
      socket.on("end all", () => socket.disconnect(true));
    });
    using client = await startClient(server.echo.url);
    await joinChat(client);
    const [ofMain, ofChat] = [nextEvent(client.main, "disconnect"), nextEvent(client.chat, "disconnect")];
    client.chat.emit("end all");
    expect((await ofChat)[0]).toBe("io server disconnect");
    expect((await ofMain)[0]).toBe("transport close");
    expect(reasons).toEqual(["server namespace disconnect"]);
    expect(server.echo.closed).toEqual(["kicked"]);
  });

  test("[WIRE-1] Socket.IO's connect timeout gives up its part of the connection alone", async () => {
    await using server = await startAppServer(20);
    const asked = Promise.withResolvers<number>();
    server.chat.use(() => asked.resolve(server.app.io.engine.clientsCount));
    using client = await startClient(server.echo.url);
    client.chat.connect();
    expect(await asked.promise).toBe(1);
    await expect.poll(() => server.app.io.engine.clientsCount).toBe(0);
    await stillWorks(client);
  });

  test("[WIRE-1] dynamic namespaces, and names that do not exist", async () => {
    await using server = await startAppServer();
    server.app.io.of(/^\/team-\d+$/).on("connection", (socket) => socket.emit("team", socket.nsp.name));
    using client = await startClient(server.echo.url);
    const team = client.manager.socket("/team-7");
    expect(await nextEvent(team, "team")).toEqual(["/team-7"]);
    const nobody = client.manager.socket("/nobody");
    const [error] = await nextEvent(nobody, "connect_error");
    expect(error).toMatchObject({ message: "Invalid namespace" });
    await stillWorks(client);
    team.disconnect();
    nobody.disconnect();
  });

  test("[WIRE-1] the connection's upgrade and its transport can be seen", async () => {
    await using server = await startAppServer();
    const seen = Promise.withResolvers<string[]>();
    server.chat.on("connection", (socket) => {
      const first = socket.conn.transport.name;
      if (first === "websocket") seen.resolve([first, first]);
      else socket.conn.once("upgrade", () => seen.resolve([first, socket.conn.transport.name]));
    });
    using client = await startClient(server.echo.url, {}, ["polling", "websocket"]);
    await joinChat(client);
    expect((await seen.promise)[1]).toBe("websocket");
  });

  test("[WIRE-1] the names of `/` and `/admin` are Parley's, and say what to use instead", async () => {
    await using server = await startAppServer();
    const { io } = server.app;
    const forbidden: (() => unknown)[] = [
      () => io.on("connection", () => {}),
      () => io.emit("x"),
      () => io.to("r").emit("x"),
      () => io.use(() => {}),
      () => io.of("/").emit("x"),
      () => io.of("/").on("connection", () => {}),
      () => io.volatile,
      () => io.fetchSockets(),
      () => io.disconnectSockets(),
    ];
    for (const use of forbidden) expect(use).toThrow(/parley\.on.*announce/);
    expect(() => io.of("/admin")).toThrow(/Parley's own/);
    expect(() => io.listen(0)).toThrow(/parley\.attach/);
    expect(() => io.on("new_namespace", () => {})).not.toThrow();
  });

  test("[WIRE-1] before the app asks for them, its namespaces do not exist", async () => {
    const app = createAppNamespaces({ reserved: ["/", "/admin"], namespacesMax: 4 });
    await using echo = await startEchoServer({ foreign: app });
    await using client = await RawWebSocket.join(echo.port);
    client.send("40/chat,");
    expect(await client.text()).toBe('44/chat,{"message":"Invalid namespace"}');
  });
});

describe("bad input", () => {
  test.each([
    "42/chat,{}",
    '42/chat,["disconnect"]',
    "40/chat,",
    "49/chat,",
    `42/chat,${"[".repeat(200)}`,
    '451-/chat,["a"',
  ])("[IN-1] broken rules in an app's namespace close the connection, and nobody else notices: %s", async (packet) => {
    await using server = await startAppServer();
    using other = await startClient(server.echo.url);
    await joinChat(other);
    await using client = await RawWebSocket.join(server.echo.port);
    client.send("40/chat,");
    await client.text();
    client.send(packet);
    if (packet.startsWith("451")) client.send(Buffer.from([1]));
    await client.closed;
    expect(server.echo.closed).toEqual(["parse_error"]);
    await stillWorks(other);
    expect(other.chat.connected).toBe(true);
  });

  test("[IN-1] events before CONNECT, and too many namespaces", async () => {
    await using server = await startAppServer();
    server.app.io.of(/^\/n\d+$/);
    await using early = await RawWebSocket.join(server.echo.port);
    early.send('42/chat,["x"]');
    await early.closed;
    await using greedy = await RawWebSocket.join(server.echo.port);
    for (let at = 0; at < 5; at++) greedy.send(`40/n${at},`);
    await greedy.closed;
    expect(server.echo.closed).toEqual(["parse_error", "too_many_requests"]);
  });

  test("[WIRE-1] what a client sent before it learnt that the server ended its namespace is ignored", async () => {
    await using server = await startAppServer();
    server.chat.on("connection", (socket) => socket.disconnect());
    await using client = await RawWebSocket.join(server.echo.port);
    client.send("40/chat,");
    expect(await client.text()).toMatch(/^40\/chat,/);
    expect(await client.text()).toBe("41/chat,");
    client.send('42/chat,["late"]');
    client.send("41/chat,");
    client.send('42["message"]');
    expect(await client.text()).toBe('42["message-back"]');
  });
});
