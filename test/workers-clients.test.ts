import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "./support/eventually.ts";
import { rawRequest } from "./support/raw-client.ts";
import { type SpawnedServer, tokenFor } from "./support/server.ts";
import { StockClient, type StockTransport, transportOptions } from "./support/stock-client.ts";
import { noFaults } from "./support/transcript.ts";
import { startWorkers, workerOfConnection, workersOf } from "./support/workers.ts";

// Three workers on one port for all: each test has rooms and users of its own.
let server: SpawnedServer;
beforeAll(async () => {
  server = await startWorkers({ PARLEY_DRAIN_DRAIN_MS: "100", PARLEY_DRAIN_MOVE_MS: "100" });
}, 120_000);
afterAll(() => server[Symbol.asyncDispose]());

async function connectAs(user: string, transport: StockTransport): Promise<StockClient> {
  return new StockClient(server.url, {
    ...transportOptions[transport],
    auth: { token: await tokenFor(server, user) },
    reconnection: false,
  });
}

const makeRoom = (room: string) => server.api("PUT", `/rooms/${room}`, { access: "public" });
const workerOf = ({ socket }: StockClient): number => workerOfConnection(socket.io.engine.id);
const transports: readonly StockTransport[] = ["polling", "upgrade", "websocket"];

test.each(transports)(
  "[WIRE-1] [FEED-1] 50 stock clients over %s live on three workers without a proxy: none is lost, each gets everything once and in order",
  async (transport) => {
    const room = `all-${transport}`;
    await makeRoom(room);
    using clients = new DisposableStack();
    const all: StockClient[] = [];
    for (let index = 0; index < 50; index += 1)
      all.push(clients.use(await connectAs(`${transport}-${index}`, transport)));
    await Promise.all(all.map((client) => client.welcomed(1)));
    if (transport === "upgrade") await Promise.all(all.map((client) => client.upgraded()));
    await Promise.all(all.map((client) => client.join(room)));
    const seqs = await Promise.all(all.map((client, index) => client.send(room, `from ${index}`)));
    expect(seqs.toSorted((one, other) => one - other)).toEqual(all.map((_, index) => index + 1));
    await Promise.all(all.map((client) => client.until("all", () => client.textsOf(room).length === 50)));
    for (const client of all) {
      expect(client.textsOf(room)).toEqual(all[0]?.textsOf(room));
      expect(client.transcript(room).faults).toEqual(noFaults);
      expect(client.losses).toBe(0);
    }
    expect(new Set(all.map(workerOf))).toEqual(new Set([1, 2, 3]));
  },
  60_000,
);

test("[WIRE-1] what a client sends as soon as it is answered arrives, also when its connection has just been given away", async () => {
  for (let round = 0; round < 5; round += 1) {
    using clients = new DisposableStack();
    const all: StockClient[] = [];
    for (let index = 0; index < 40; index += 1)
      all.push(clients.use(await connectAs(`probing-${round}-${index}`, "upgrade")));
    await Promise.all(all.map((client) => client.welcomed(1)));
    await Promise.all(all.map((client) => client.upgraded()));
    expect(all.map(({ losses }) => losses)).not.toContain(1);
  }
}, 60_000);

test("[REC-2] a stock client whose next connection is another worker's comes back as itself, with what it missed", async () => {
  await makeRoom("wandering");
  using client = new StockClient(server.url, {
    ...transportOptions.websocket,
    auth: { token: await tokenFor(server, "wanderer") },
  });
  await client.welcomed(1);
  await client.join("wandering");
  const visited = [workerOf(client)];
  for (let time = 1; new Set(visited).size < 3; time += 1) {
    client.socket.io.engine.close();
    await server.api("POST", "/rooms/wandering/messages", { userId: "somebody", text: `missed ${time}` });
    await client.welcomed(time + 1);
    visited.push(workerOf(client));
    await client.until("what it missed", () => client.textsOf("wandering").length === time);
  }
  expect(client.welcomes.slice(1).map(({ recovered }) => recovered)).not.toContain(false);
  expect(new Set(client.welcomes.map(({ id }) => id)).size).toBe(1);
  expect(client.transcript("wandering").faults).toEqual(noFaults);
});

test("a user's events, typing and presence pass between workers", async () => {
  await makeRoom("together");
  using clients = new DisposableStack();
  const all: StockClient[] = [];
  while (new Set(all.map(workerOf)).size < 3) {
    const client = clients.use(await connectAs(`together-${all.length}`, "websocket"));
    await client.welcomed(1);
    await client.join("together");
    all.push(client);
  }
  all[0]?.socket.emit("typing", { roomId: "together" });
  for (const client of all.slice(1)) await client.until("typing", () => client.events.includes("user_typing"));
  await server.api("POST", "/users/together-0/notify", { event: "invoice_paid", data: 7 });
  await all[0]?.until("the notice", () => all[0]?.events.includes("invoice_paid") === true);
  const presence = () => server.api("GET", "/rooms/together/presence");
  await eventually("presence of all", async () => Object(await presence()).count === all.length || undefined);
  const users = all.map((_, index) => `together-${index}`);
  expect(Object(await presence()).users.toSorted()).toEqual(users.toSorted());
});

describe("a connection of another worker", () => {
  const port = () => Number(new URL(server.url).port);

  /** Ids of polling connections, one of each worker. */
  async function openOnAll(): Promise<readonly string[]> {
    const byWorker = new Map<number, string>();
    while (byWorker.size < 3) {
      const { body } = await rawRequest(port(), "EIO=4&transport=polling");
      const [, sid = ""] = /"sid":"([^"]+)"/.exec(body) ?? [];
      byWorker.set(workerOfConnection(sid), sid);
    }
    return [...byWorker.values()];
  }

  /** Writes on one TCP connection, and gives what came until it matched, or the connection was closed. */
  function talk(): { write(text: string): void; until(pattern: RegExp): Promise<string> } & Disposable {
    const socket = connect(port(), "127.0.0.1");
    let got = "";
    let closed = false;
    socket.on("data", (chunk) => (got += chunk.toString("latin1")));
    socket.on("error", () => {});
    socket.on("close", () => (closed = true));
    return {
      write: (text) => void socket.write(text, "latin1"),
      until: (pattern) => eventually(String(pattern), () => (closed || pattern.test(got) ? got : undefined)),
      [Symbol.dispose]: () => void socket.destroy(),
    };
  }

  const post = (sid: string, headers: string, body: string): string =>
    `POST /socket.io/?EIO=4&transport=polling&sid=${sid} HTTP/1.1\r\nHost: x\r\n${headers}\r\n\r\n${body}`;

  test("[WIRE-1] is reached over one TCP connection kept alive, request after request, whatever the form of its body", async () => {
    const sids = await openOnAll();
    using line = talk();
    let answers = 0;
    for (const [index, sid] of [...sids, ...sids, ...sids].entries()) {
      const chunked = index % 2 === 0;
      const headers = chunked ? "Transfer-Encoding: chunked" : "Content-Length: 3\r\nExpect: 100-continue";
      // Two packets that carry nothing.
      line.write(post(sid, headers, chunked ? "2\r\n6\x1e\r\n1\r\n6\r\n0\r\n\r\n" : "6\x1e6"));
      answers += 1;
      const answered = new RegExp(`^(?:[^]*?HTTP/1\\.1 200 OK[^]*?\r\n\r\nok){${answers}}`);
      expect(await line.until(answered)).toMatch(answered);
    }
  });

  test("[IN-1] [WIRE-1] what breaks the rules is refused or cut: an unknown id, a body too large, requests before an answer", async () => {
    const [first = "", second = ""] = await openOnAll();
    for (const mark of ["A", "B", "C", "_", "*"]) {
      const { status, body } = await rawRequest(port(), `EIO=4&transport=polling&sid=${mark}unknown`);
      expect({ status, body }).toEqual({ status: 400, body: '{"code":1,"message":"Session ID unknown"}' });
    }
    for (const sid of [first, second]) {
      using large = talk();
      large.write(post(sid, "Content-Length: 2000000", "4"));
      expect(await large.until(/HTTP\/1\.1 413/)).toMatch(/413/);
    }
    const ids = await openOnAll();
    for (const sid of ids) {
      using hasty = talk();
      // Its own worker answers both; another one answers the first, or cuts the connection.
      hasty.write(post(sid, "Content-Length: 1", "6") + post(sid, "Content-Length: 1", "6"));
      expect(await hasty.until(/HTTP\/1\.1 200 OK/)).toMatch(/^$|HTTP\/1\.1 200 OK/);
    }
    const after = await rawRequest(port(), "EIO=4&transport=polling");
    expect(after.status).toBe(200);
  });
});

test("[IN-1] connections that end while they wait for a worker hold up none that come after them", async () => {
  const port = Number(new URL(server.url).port);
  const pid = workersOf(server).get(2) ?? 0;
  process.kill(pid, "SIGSTOP");
  try {
    const sockets = Array.from({ length: 60 }, () => connect(port, "127.0.0.1"));
    const request = "GET /socket.io/?EIO=4&transport=polling&sid=Bunknown HTTP/1.1\r\nHost: x\r\n\r\n";
    await Promise.all(sockets.map((socket) => new Promise<void>((resolve) => socket.write(request, () => resolve()))));
    // An answer comes after the workers that run, and the primary, have read all that came before.
    for (const _ of [1, 2]) await (await fetch(`${server.internalUrl}/metrics`)).text();
    for (const socket of sockets) socket.destroy();
    await (await fetch(`${server.internalUrl}/metrics`)).text();
  } finally {
    process.kill(pid, "SIGCONT");
  }
  for (let time = 0; time < 10; time += 1) {
    const { status } = await rawRequest(port, "EIO=4&transport=polling&sid=Bunknown");
    expect(status).toBe(400);
  }
});

test("an administrator takes all workers out of service, and puts them back", async () => {
  using client = await connectAs("drained", "websocket");
  await client.welcomed(1);
  using admin = new StockClient(`${server.internalUrl}/admin`, {
    ...transportOptions.websocket,
    auth: { token: await tokenFor(server, "boss", { roles: ["admin"] }) },
  });
  await admin.welcomed(1);
  const port = Number(new URL(server.url).port);
  const statuses = async (): Promise<ReadonlySet<number>> => {
    const answers = await Promise.all(Array.from({ length: 30 }, () => rawRequest(port, "EIO=4&transport=polling")));
    return new Set(answers.map(({ status }) => status));
  };
  expect(await admin.request("drain", {})).toEqual({ ok: true, draining: true });
  await eventually("no worker that takes clients", async () => !(await statuses()).has(200) || undefined);
  await client.until("its move", () => client.losses === 1);
  expect((await fetch(`${server.internalUrl}/health/ready`)).status).toBe(503);
  expect(await admin.request("undrain", {})).toEqual({ ok: true, draining: false });
  await eventually("workers that take clients", async () => !(await statuses()).has(503) || undefined);
  expect((await fetch(`${server.internalUrl}/health/ready`)).status).toBe(200);
});

test("metrics name their worker, statistics are of all, and readiness too", async () => {
  using client = await connectAs("counted", "websocket");
  await client.welcomed(1);
  const read = async (route: string): Promise<string> => (await fetch(`${server.internalUrl}${route}`)).text();
  const metrics = await read("/metrics");
  for (const worker of ["primary", "1", "2", "3"]) {
    expect(metrics).toMatch(new RegExp(`^parley_connections\\{worker="${worker}"\\} \\d+$`, "m"));
  }
  expect(metrics.match(/^# TYPE parley_connections /gm)).toHaveLength(1);
  expect(metrics).toMatch(/^parley_store_commit_seconds_bucket\{le="[^"]+",worker="primary"\} \d+$/m);
  expect(await read("/health/ready")).toBe('{"status":"ok"}');
});
