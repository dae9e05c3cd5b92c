import { createServer, type Server } from "node:http";
import { Manager } from "socket.io-client";
import { afterEach, describe, expect, test } from "vitest";
import { z } from "zod";
import {
  ConfigError,
  createParley,
  type Parley,
  type ParleyOptions,
  RefusalError,
  StoreLocked,
} from "../packages/server/src/index.ts";
import { createLog } from "../packages/server/src/log.ts";
import { createTemporaryFolder } from "./support/temporary-folder.ts";
import { UserClient } from "./support/user-client.ts";

const secret = "kP3vX9qLw7Zr2TnB8sYd5Gh1JmC6fAe4";
let cleanup = new AsyncDisposableStack();

afterEach(async () => {
  await cleanup.disposeAsync();
  cleanup = new AsyncDisposableStack();
});

interface App {
  readonly parley: Parley;
  readonly server: Server;
  readonly url: string;
}

/** An app of its own, with a Parley in it. Its server closes before the Parley does. */
async function startApp(options: ParleyOptions = {}): Promise<App> {
  const folder = cleanup.use(await createTemporaryFolder());
  const parley = cleanup.use(
    await createParley({ secret, store: { path: folder.path }, log: { level: "silent" }, ...options }),
  );
  const server = createServer((_request, response) => response.end("the app's own page"));
  parley.attach(server);
  const url = await listen(server);
  cleanup.defer(() => {
    server.close();
    server.closeAllConnections();
  });
  return { parley, server, url };
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  return `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`;
}

async function connect({ parley, url }: App, userId: string): Promise<UserClient> {
  return cleanup.use(await UserClient.connect(url, { token: await parley.createToken(userId) }));
}

describe("an embedded Parley", () => {
  test("serves its clients beside the app's own pages", async () => {
    const app = await startApp();
    await app.parley.putRoom({ roomId: "lobby", access: "public" });
    const alice = await connect(app, "alice");
    const bob = await connect(app, "bob");
    for (const client of [alice, bob]) expect(await client.request("join_room", "lobby")).toMatchObject({ ok: true });
    expect(await alice.request("send_message", { roomId: "lobby", text: "hello" })).toMatchObject({ ok: true, seq: 1 });
    await bob.got("new_message", (message) => expect.objectContaining({ text: "hello" }).asymmetricMatch(message));
    expect(await (await fetch(app.url)).text()).toBe("the app's own page");
  });

  test("gives the app what the server-side API does, without `this`", async () => {
    const app = await startApp();
    const { putRoom, setMembership, sendMessage, publish, announce, notifyUser, history, members } = app.parley;
    await putRoom({ roomId: "team" });
    await setMembership({ roomId: "team", userId: "alice", role: "member" });
    const alice = await connect(app, "alice");
    await alice.request("join_room", "team");
    await sendMessage({ roomId: "team", userId: "bob", text: "from the app" });
    await publish("team", "deployed", { version: 3 });
    await announce("maintenance at noon");
    const first = await notifyUser("alice", "invoice_paid", { number: 7 }, { key: "invoice-7" });
    const again = await notifyUser("alice", "invoice_paid", { number: 7 }, { key: "invoice-7" });
    expect(again).toEqual({ ...first, repeat: true });
    await alice.got("deployed", (data) => JSON.stringify(data) === '{"version":3}');
    await alice.got("announcement", (message) => message === "maintenance at noon");
    await alice.got("invoice_paid");
    await alice.settle();
    expect(alice.all("invoice_paid")).toHaveLength(1);
    expect(await history({ roomId: "team" })).toMatchObject({ messages: [{ userId: "bob", text: "from the app" }] });
    expect(await members({ roomId: "team" })).toEqual([{ userId: "alice", role: "member" }]);
    await expect(publish("no-such-room", "deployed", 1)).rejects.toMatchObject({ code: "not_found" });
    await expect(publish("team", "new_message", 1)).rejects.toMatchObject({ code: "reserved_event" });
  });

  test("opens the internal port on request, and closes it with the rest", async () => {
    const { parley } = await startApp({ internal: { port: 0 }, api: { keys: ["an-api-key-3mK9x2Qp"] } });
    const { url } = await parley.openInternal();
    expect((await fetch(`${url}/health/ready`)).status).toBe(200);
    const headers = { authorization: "Bearer an-api-key-3mK9x2Qp", "content-type": "application/json" };
    const body = JSON.stringify({ access: "public" });
    expect((await fetch(`${url}/api/v1/rooms/r1`, { method: "PUT", headers, body })).status).toBeLessThan(300);
    expect(await parley.room({ roomId: "r1" })).toMatchObject({ access: "public" });
    const again = await parley.openInternal();
    await again[Symbol.asyncDispose]();
    await expect(fetch(`${again.url}/health/ready`)).rejects.toThrow("fetch failed");
    await parley.close();
    await expect(fetch(`${url}/health/ready`)).rejects.toThrow("fetch failed");
  });

  test("takes the app's own authentication, which may admit guests", async () => {
    const app = await startApp({
      secret: undefined,
      authenticate: ({ auth }) =>
        typeof auth["name"] === "string" ? { id: `guest-${auth["name"]}`, roles: ["guest"] } : null,
      access: ({ user, roomId }) => user.roles.includes("guest") && roomId === "lobby",
    });
    const guest = cleanup.use(await UserClient.connect(app.url, { name: "Zoe" }));
    expect(await guest.request("join_room", "lobby")).toMatchObject({ ok: true });
    expect(await guest.request("join_room", "office")).toMatchObject({ error: { code: "forbidden" } });
    const refused = cleanup.use(new UserClient(app.url, {}));
    const [, data] = (await refused.got("connect_error")).args;
    expect(data).toMatchObject({ code: "unauthorized" });
  });

  test("shows the app's own authentication the cookies for a namespace that is joined later, too", async () => {
    const app = await startApp({
      secret: undefined,
      authenticate: ({ headers }) => (headers.cookie === "session=ann" ? { id: "ann", roles: ["admin"] } : null),
    });
    const manager = new Manager(app.url, { reconnection: false, extraHeaders: { cookie: "session=ann" } });
    cleanup.defer(() => void manager.engine.close());
    for (const namespace of ["/", "/admin"]) {
      const socket = manager.socket(namespace);
      const outcome = await new Promise<string>((resolve) => {
        socket.on("connect", () => resolve("connected")).on("connect_error", ({ message }) => resolve(message));
      });
      expect(outcome).toBe("connected");
    }
  });

  test("takes the app's own access function, whose rooms need no record", async () => {
    const app = await startApp({ access: ({ roomId }) => roomId.startsWith("order-") });
    const alice = await connect(app, "alice");
    expect(await alice.request("join_room", "order-7")).toMatchObject({ ok: true });
    await app.parley.publish("order-7", "shipped", { by: "mail" });
    await alice.got("shipped");
    await app.parley.sendMessage({ roomId: "order-8", userId: "shop", text: "before anyone was here" });
    expect(await app.parley.history({ roomId: "order-8" })).toMatchObject({ messages: [{ userId: "shop" }] });
    await alice.request("join_room", "order-8");
    expect(
      (await alice.got("room_history", (messages) => JSON.stringify(messages).includes("before"))).args,
    ).toHaveLength(2);
    expect(await alice.request("join_room", "office")).toMatchObject({ error: { code: "forbidden" } });
  });

  test("tells of each connection; a listener that fails harms nobody", async () => {
    const lines: string[] = [];
    const app = await startApp();
    const off = app.parley.on("connection", () => {
      throw new Error("the app's own mistake");
    });
    app.parley.on("connection", () => Promise.reject(new Error("another one")));
    app.parley.on("connection", (client) => {
      lines.push(client.user.id);
      client.emit("greeting", `hello ${client.user.id}`);
    });
    const alice = await connect(app, "alice");
    expect((await alice.got("greeting")).args[0]).toBe("hello alice");
    off();
    const bob = await connect(app, "bob");
    await bob.got("greeting");
    expect(lines).toEqual(["alice", "bob"]);
  });
});

describe("parley.on", () => {
  test("gives the handler what has passed the schema, and acknowledges what it gives", async () => {
    const app = await startApp();
    app.parley.on("add", z.strictObject({ a: z.number(), b: z.coerce.number() }), ({ a, b }, { user }) => ({
      sum: a + b,
      by: user.id,
    }));
    app.parley.on("nothing", z.undefined(), async () => {});
    const alice = await connect(app, "alice");
    expect(await alice.request("add", { a: 1, b: "2" })).toEqual({ ok: true, result: { sum: 3, by: "alice" } });
    expect(await alice.request("nothing")).toEqual({ ok: true });
    expect(await alice.request("add", { a: "1" })).toMatchObject({ error: { code: "bad_request" } });
    expect(await alice.request("subtract", {})).toMatchObject({ error: { code: "unknown_event" } });
  });

  test("[IN-1] a handler that fails, or gives what has no form on the wire, is answered with `internal`", async () => {
    const app = await startApp();
    const circle: { self?: object } = {};
    circle.self = circle;
    const failures: Readonly<Record<string, () => unknown>> = {
      throws: () => {
        throw new Error("the app's own mistake");
      },
      rejects: () => Promise.reject(new Error("the app's own mistake")),
      big: () => 1n,
      circle: async () => circle,
    };
    for (const [event, handler] of Object.entries(failures)) app.parley.on(event, z.unknown(), handler);
    app.parley.on("refuses", z.unknown(), () => {
      throw new RefusalError("conflict", "taken already");
    });
    const alice = await connect(app, "alice");
    for (const event of Object.keys(failures)) {
      expect(await alice.request(event, {})).toMatchObject({ ok: false, error: { code: "internal" } });
    }
    alice.socket.emit("throws", {});
    expect((await alice.got("error")).args[0]).toMatchObject({ code: "internal", event: "throws" });
    expect(await alice.request("refuses", {})).toEqual({
      ok: false,
      error: { code: "conflict", message: "taken already" },
    });
  });

  test("refuses names that are taken, and takes one back", async () => {
    const { parley } = await startApp();
    const handler = () => 1;
    for (const name of ["send_message", "new_message", "connect", "disconnect", "newListener", "parley:position"]) {
      expect(() => parley.on(name, z.unknown(), handler)).toThrow(expect.objectContaining({ code: "reserved_event" }));
    }
    for (const name of ["", "x".repeat(65), "line\nbreak"]) {
      expect(() => parley.on(name, z.unknown(), handler)).toThrow(expect.objectContaining({ code: "bad_request" }));
    }
    const off = parley.on("mine", z.unknown(), handler);
    expect(() => parley.on("mine", z.unknown(), handler)).toThrow(expect.objectContaining({ code: "already_exists" }));
    off();
    parley.on("mine", z.unknown(), handler);
    off();
    expect(() => parley.on("mine", z.unknown(), handler)).toThrow(RefusalError);
  });

  test("a client is sent no event of Parley's own, and no text that it would take for its place", async () => {
    const app = await startApp();
    const refusals: unknown[] = [];
    app.parley.on("connection", (client) => {
      for (const name of ["new_message", "disconnect"]) {
        try {
          client.emit(name, {});
        } catch (error) {
          refusals.push(error instanceof RefusalError ? error.code : error);
        }
      }
      client.emit("greeting", "default:x:1");
    });
    const alice = await connect(app, "alice");
    await alice.got("greeting");
    expect(refusals).toEqual(["reserved_event", "reserved_event"]);
    expect((await alice.got("greeting")).args.at(-1)).not.toBeTypeOf("string");
  });
});

describe("parley.io", () => {
  test("serves the app's own namespaces on the same connection, and leaves `/` alone", async () => {
    const app = await startApp();
    app.parley.io.of("/games").on("connection", (socket) => socket.on("move", (move, done) => done(`moved ${move}`)));
    expect(() => app.parley.io.emit("hello")).toThrow(/parley\.on/);
    expect(() => app.parley.io.on("connection", () => {})).toThrow(/parley\.on/);
    const alice = await connect(app, "alice");
    const games = alice.socket.io.socket("/games");
    games.connect();
    expect(await games.timeout(20_000).emitWithAck("move", "e4")).toBe("moved e4");
  });
});

describe("closing", () => {
  test("twice is once; connections end, and nothing is taken any more", async () => {
    const app = await startApp();
    await app.parley.putRoom({ roomId: "lobby", access: "public" });
    const alice = await connect(app, "alice");
    const sent = alice.request("send_message", { roomId: "lobby", text: "just in time" });
    expect(await sent).toMatchObject({ ok: true });
    const one = app.parley.close();
    const two = app.parley.close();
    await Promise.all([one, two]);
    await app.parley.close();
    await alice.got("disconnect");
    await expect(app.parley.announce("too late")).rejects.toMatchObject({ code: "shutting_down" });
    expect(() => app.parley.attach(createServer())).toThrow(expect.objectContaining({ code: "shutting_down" }));
    await expect(app.parley.openInternal()).rejects.toMatchObject({ code: "shutting_down" });
  });

  test.each(["the server first", "Parley first"])("the app's server closes, too: %s", async (order) => {
    const app = await startApp();
    const alice = await connect(app, "alice");
    const polling = cleanup.use(
      await UserClient.connect(app.url, { token: await app.parley.createToken("bob") }, { transports: ["polling"] }),
    );
    const closeServer = () => new Promise<void>((resolve) => app.server.close(() => resolve()));
    if (order === "Parley first") {
      await app.parley.close();
      await closeServer();
    } else {
      const closed = closeServer();
      await app.parley.close();
      await closed;
    }
    for (const client of [alice, polling]) await client.got("disconnect");
    expect(app.server.listening).toBe(false);
  });

  test("the server serves the app's pages afterwards, and another Parley", async () => {
    const app = await startApp();
    await app.parley.close();
    expect(await (await fetch(app.url)).text()).toBe("the app's own page");
    const folder = cleanup.use(await createTemporaryFolder());
    const next = cleanup.use(await createParley({ secret, store: { path: folder.path }, log: { level: "silent" } }));
    next.attach(app.server);
    const alice = await connect({ ...app, parley: next }, "alice");
    expect(alice.socket.connected).toBe(true);
  });
});

describe("several in one process", () => {
  test("with folders of their own they know nothing of each other", async () => {
    const [one, two] = [await startApp(), await startApp()];
    await one.parley.putRoom({ roomId: "lobby", access: "public" });
    await expect(two.parley.room({ roomId: "lobby" })).rejects.toMatchObject({ code: "not_found" });
    const alice = await connect(one, "alice");
    const bob = await connect(two, "bob");
    await one.parley.announce("to one");
    await two.parley.announce("to two");
    expect((await alice.got("announcement")).args[0]).toBe("to one");
    expect((await bob.got("announcement")).args[0]).toBe("to two");
    await one.parley.close();
    expect(await bob.request("join_room", "lobby")).toMatchObject({ error: { code: "forbidden" } });
  });

  test("a second one on the same folder is refused, and says which setting to change", async () => {
    const folder = cleanup.use(await createTemporaryFolder());
    const options = { secret, store: { path: folder.path }, log: { level: "silent" } } as const;
    const first = await createParley(options);
    await expect(createParley(options)).rejects.toThrow(StoreLocked);
    await expect(createParley(options)).rejects.toThrow(/store\.path|PARLEY_STORE_PATH/);
    await first.close();
    const next = await createParley(options);
    await next.close();
  });
});

describe("options", () => {
  test("what is unsafe or unknown is refused with the setting's name", async () => {
    const store = { path: cleanup.use(await createTemporaryFolder()).path };
    await expect(createParley({ store })).rejects.toThrow(/auth\.secret is not set/);
    await expect(createParley({ store, secret: "short" })).rejects.toThrow(ConfigError);
    await expect(createParley({ store, secret, limits: { windowBytes: 1 } })).rejects.toThrow(/limits\.windowBytes/);
    const misspelt = { store, secret, limit: { windowBytes: 65_536 } };
    await expect(createParley(misspelt)).rejects.toThrow(/limit/);
  });

  test("development mode keeps a secret, and opens the demo room", async () => {
    const app = await startApp({ mode: "development", secret: undefined });
    const alice = await connect(app, "alice");
    expect(await alice.request("join_room", "room-123")).toMatchObject({ ok: true });
  });

  test("`access` takes its settings with the function, `log` a logger of the app's", async () => {
    const events: string[] = [];
    const log = createLog({ level: "info", format: "json" }, (line) => events.push(line));
    let asked = 0;
    const check = () => {
      asked += 1;
      return { read: true };
    };
    const app = await startApp({ log, access: { check, accessTtlMs: 0 } });
    const alice = await connect(app, "alice");
    for (let round = 1; round <= 3; round += 1) {
      expect(await alice.request("room_history", { roomId: "any" })).toMatchObject({ ok: true });
      expect(asked).toBe(round);
    }
    expect(await alice.request("send_message", { roomId: "any", text: "hi" })).toMatchObject({
      error: { code: "forbidden" },
    });
    expect(events.some((line) => line.includes('"event":"connected"') && line.includes("alice"))).toBe(true);
  });
});
