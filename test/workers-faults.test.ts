import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { eventually } from "./support/eventually.ts";
import { spawnNode } from "./support/process.ts";
import { type SpawnedServer, spawnServer, tokenFor } from "./support/server.ts";
import { StockClient, type StockTransport, transportOptions } from "./support/stock-client.ts";
import { noFaults } from "./support/transcript.ts";
import { haveEnded, isRunning, startWorkers, workerOfConnection, workersOf } from "./support/workers.ts";

const room = "busy";
const transports: readonly StockTransport[] = ["websocket", "polling", "upgrade"];
const limitMs = 180_000;
const startLimitMs = 60_000;

/** A client in the room that comes back when it is cut, and joins again if it did not recover. */
async function memberOf(server: SpawnedServer, user: string, transport: StockTransport): Promise<StockClient> {
  const client = new StockClient(server.url, {
    ...transportOptions[transport],
    auth: { token: await tokenFor(server, user) },
  });
  await client.welcomed(1);
  await client.join(room);
  return client;
}

/** A user in the room at this worker alone, who does not come back when the connection is lost. */
async function leaveAt(server: SpawnedServer, worker: number, clients: DisposableStack): Promise<void> {
  for (;;) {
    const auth = { token: await tokenFor(server, "leaver") };
    const client = new StockClient(server.url, { ...transportOptions.websocket, auth, reconnection: false });
    await client.welcomed(1);
    if (workerOfConnection(client.socket.io.engine.id) === worker) {
      clients.use(client);
      await client.join(room);
      return;
    }
    client.socket.disconnect();
  }
}

/** Resolves when it is connected, however long a start takes, or all is over. */
function connection({ socket }: StockClient, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (socket.connected || stop.aborted) return resolve();
    socket.once("connect", resolve);
    stop.addEventListener("abort", () => resolve());
  });
}

/** Sends under one client id until it is acknowledged. Gives its seq. */
async function sendSurely(client: StockClient, text: string, stop: AbortSignal): Promise<number | undefined> {
  const clientId = randomUUID();
  while (!stop.aborted) {
    try {
      return await client.send(room, text, clientId);
    } catch {
      // The connection was lost, or the server has no answer now: again.
      await connection(client, stop);
    }
  }
  return undefined;
}

/** Sends one after the other until it is stopped. Gives what was acknowledged, by seq. */
async function sendOn(client: StockClient, name: string, stop: AbortSignal): Promise<ReadonlyMap<number, string>> {
  const acknowledged = new Map<number, string>();
  for (let number = 0; !stop.aborted; number += 1) {
    const text = `${name} ${number}`;
    const seq = await sendSurely(client, text, stop);
    if (seq !== undefined) acknowledged.set(seq, text);
  }
  return acknowledged;
}

async function readLog(server: SpawnedServer): Promise<readonly { readonly seq: number; readonly text: string }[]> {
  const messages: { seq: number; text: string }[] = [];
  for (;;) {
    const after = messages.at(-1)?.seq ?? 0;
    const page = await server.api("GET", `/rooms/${room}/history?after=${after}&limit=100`);
    const { messages: found } = Object(page);
    if (!Array.isArray(found) || found.length === 0) return messages;
    messages.push(...found.map(({ seq, text }) => ({ seq: Number(seq), text: String(text) })));
  }
}

test(
  "[LOG-1] [FEED-1] [REC-2] [PRES-1] a worker is killed under load: nothing acknowledged is lost, its clients go on at the others, and it is replaced",
  async () => {
    await using server = await startWorkers();
    await server.api("PUT", `/rooms/${room}`, { access: "public" });
    using clients = new DisposableStack();
    const members: StockClient[] = [];
    for (let index = 0; index < 18; index += 1) {
      members.push(clients.use(await memberOf(server, `user-${index}`, transports[index % 3] ?? "websocket")));
    }
    const victim = workerOfConnection(members[1]?.socket.io.engine.id);
    await leaveAt(server, victim, clients);
    const stop = new AbortController();
    const sending = members.slice(0, 6).map((member, index) => sendOn(member, `sender-${index}`, stop.signal));
    const [observer] = members;
    if (observer === undefined) throw new Error("somebody must watch");
    await observer.until("a load", () => observer.textsOf(room).length > 60);
    const pid = workersOf(server).get(victim) ?? 0;
    process.kill(pid, "SIGKILL");
    await server.child.waitForLine(new RegExp(`"worker":${victim},"pid":(?!${pid}\\b)`), startLimitMs);
    const before = observer.textsOf(room).length;
    await observer.until("a load with it", () => observer.textsOf(room).length > before + 60);
    stop.abort();
    const acknowledged = new Map((await Promise.all(sending)).flatMap((sent) => [...sent]));
    const log = await readLog(server);
    const head = log.at(-1)?.seq ?? 0;
    expect(log.map(({ seq }) => seq)).toEqual(Array.from({ length: head }, (_, index) => index + 1));
    expect(new Set(log.map(({ text }) => text)).size).toBe(log.length);
    for (const [seq, text] of acknowledged) expect(log[seq - 1]).toEqual({ seq, text });
    for (const member of members) await member.until("the whole log", () => member.transcript(room).has(head));
    for (const member of members) {
      const { faults } = member.transcript(room);
      // Only whose worker was killed may get something again: nobody knows how far it had come.
      expect(member.losses === 0 ? faults : { ...faults, repeated: 0 }).toEqual(noFaults);
      expect(member.welcomes.slice(1).map(({ recovered }) => recovered)).not.toContain(false);
    }
    expect(members.filter(({ losses }) => losses > 0).length).toBeGreaterThan(0);
    const present = await eventually("presence without who did not return", async () => {
      const { users } = Object(await server.api("GET", `/rooms/${room}/presence`));
      return users.includes("leaver") ? undefined : users;
    });
    expect(present.toSorted()).toEqual(members.map((_, index) => `user-${index}`).toSorted());
    expect(server.child.stdout).toMatch(/"event":"worker_lost"/);
    expect((await fetch(`${server.internalUrl}/health/ready`)).status).toBe(200);
  },
  limitMs,
);

test(
  "[LOG-1] the primary is killed under load: no process is left, and what was acknowledged is there after a start on the same port",
  async () => {
    await using server = await startWorkers();
    await server.api("PUT", `/rooms/${room}`, { access: "public" });
    const url = server.url;
    const stop = new AbortController();
    using clients = new DisposableStack();
    const members: StockClient[] = [];
    for (let index = 0; index < 6; index += 1)
      members.push(clients.use(await memberOf(server, `user-${index}`, "websocket")));
    const sending = members.map((member, index) => sendOn(member, `sender-${index}`, stop.signal));
    const [observer] = members;
    await observer?.until("a load", () => observer.textsOf(room).length > 60);
    const workers = [...workersOf(server).values()];
    expect(workers.filter(isRunning)).toHaveLength(3);
    await server.kill();
    await haveEnded(workers);
    await server.start();
    expect(server.url).toBe(url);
    for (const member of members) await member.until("its return", () => member.socket.connected);
    stop.abort();
    const acknowledged = (await Promise.all(sending)).flatMap((sent) => [...sent]);
    const log = await readLog(server);
    expect(acknowledged.length).toBeGreaterThan(60);
    for (const [seq, text] of acknowledged) expect(log[seq - 1]).toEqual({ seq, text });
  },
  limitMs,
);

test.each(["SIGTERM", "SIGINT"] as const)(
  "[LOG-1] [OUT-1] on %s, also when all processes get it, the workers finish, no process is left, and the exit code is 0",
  async (signal) => {
    await using server = await startWorkers();
    await server.api("PUT", `/rooms/${room}`, { access: "public" });
    using client = await memberOf(server, "anna", "upgrade");
    const stop = new AbortController();
    const sending = sendOn(client, "anna", stop.signal);
    await client.until("a load", () => client.textsOf(room).length > 20);
    const workers = [...workersOf(server).values()];
    process.kill(-server.child.pid, signal);
    expect(await server.child.waitForExit()).toEqual({ code: 0, signal: null });
    expect(workers.filter(isRunning)).toEqual([]);
    client.socket.disconnect();
    stop.abort();
    const acknowledged = await sending;
    await server.start();
    const log = await readLog(server);
    for (const [seq, text] of acknowledged) expect(log[seq - 1]).toEqual({ seq, text });
  },
  limitMs,
);

test("a port that others share already is in use, and a start says so and leaves nothing", async () => {
  await using server = await startWorkers();
  const environment = { PARLEY_SERVER_WORKERS: "2", PARLEY_SERVER_PORT: new URL(server.url).port };
  await expect(spawnServer({ environment })).rejects.toThrow(/PARLEY_SERVER_PORT/);
  await using started = await spawnNode(["packages/server/src/main.ts", "config", "print", "--workers", "2"]);
  await started.waitForExit();
  expect(started.stdout).toMatch(/server\.workers.*2/);
}, 60_000);
