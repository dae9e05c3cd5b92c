import { rename } from "node:fs/promises";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { raisedRates } from "./chaos/slow-readers.ts";
import { eventually } from "./support/eventually.ts";
import { message, Sender, type Sent } from "./support/sender.ts";
import { spawnServer, tokenFor } from "./support/server.ts";
import { startOnSmallDisk } from "./support/small-disk.ts";
import { StockClient, transportOptions } from "./support/stock-client.ts";
import { createTemporaryFolder } from "./support/temporary-folder.ts";
import { noFaults } from "./support/transcript.ts";
import { startWrappedServer, type WrappedServer } from "./support/wrapped-server.ts";

const historySchema = z.object({
  messages: z.array(z.object({ seq: z.number(), text: z.string(), clientId: z.string().optional() })),
  more: z.boolean(),
});

type Api = Pick<WrappedServer, "api">;

/** All messages of a room, over the API, oldest first. */
async function readRoom(server: Api, room: string) {
  const all: z.infer<typeof historySchema>["messages"] = [];
  for (let more = true; more; ) {
    const page = historySchema.parse(
      await server.api("GET", `/rooms/${room}/history?after=${all.at(-1)?.seq ?? 0}&limit=100`),
    );
    all.push(...page.messages);
    more = page.more;
  }
  return all;
}

async function expectExactly(server: Api, sent: readonly Sent[], acknowledged: ReadonlyMap<string, number>) {
  const kept = await readRoom(server, "a");
  expect(kept.map(({ clientId = "" }) => clientId).toSorted()).toEqual(sent.map(({ clientId }) => clientId).toSorted());
  expect(kept.map(({ seq }) => seq)).toEqual(kept.map((_, index) => index + 1));
  for (const { clientId = "", seq } of kept) expect(acknowledged.get(clientId)).toBe(seq);
}

async function clientOf(server: Pick<WrappedServer, "url" | "config">, userId: string): Promise<StockClient> {
  const token = await tokenFor(server, userId);
  return new StockClient(server.url, { ...transportOptions.websocket, auth: { token } });
}

test("[LOG-1] a full disk: sends are refused and never acknowledged, rooms can be read, and it heals without a restart", async () => {
  await using folder = await createTemporaryFolder();
  await using cramped = await startOnSmallDisk({ folder: folder.path, environment: raisedRates });
  const { server } = cramped;
  await server.api("PUT", "/rooms/a", { access: "public" });
  using alice = await clientOf(server, "alice");
  using bob = await clientOf(server, "bob");
  for (const client of [alice, bob]) await client.join("a");
  const sender = new Sender(alice, "a");
  const sent: Sent[] = [];
  const sendSome = async (count: number): Promise<number> => {
    const before = sender.acknowledged.size;
    const some = Array.from({ length: count }, (_, index) => message(`${sent.length + index} ${"x".repeat(16_000)}`));
    sent.push(...some);
    await Promise.all(some.map((one) => sender.send(one)));
    return sender.acknowledged.size - before;
  };
  while ((await sendSome(20)) > 0);
  // Then one by one, for what is left may be room for one: until twenty in a row were refused.
  for (let refused = 0; refused < 20; ) refused = (await sendSome(1)) === 0 ? refused + 1 : 0;
  const acknowledgedBefore = sender.acknowledged.size;
  expect(acknowledgedBefore).toBeGreaterThan(50);
  const waiting = sent.filter(({ clientId }) => !sender.acknowledged.has(clientId));
  for (const one of waiting) expect(await sender.send(one)).toBe(false);
  expect([...new Set(sender.refusals)].toSorted()).toEqual(cramped.refusals);
  const readable = cramped.isReadable ? (await readRoom(server, "a")).length : acknowledgedBefore;
  expect(readable).toBe(acknowledgedBefore);
  await cramped.relieve();
  for (const one of waiting) await sender.sendUntilAcknowledged(one);
  // One whose outcome was unknown may have been committed: what was sent again has told.
  await expectExactly(server, sent, sender.acknowledged);
  await bob.until("all", () => bob.textsOf("a").length === sent.length);
  expect(bob.transcript("a").faults).toEqual(noFaults);
  expect(await server.stop()).toBe(0);
}, 120_000);

describe("a store's thread that dies under load", () => {
  test("[LOG-1] [LOG-3] says that the outcome is unknown; what is sent again is committed once; readers miss nothing", async () => {
    await using folder = await createTemporaryFolder();
    await using server = await startWrappedServer({
      folder: folder.path,
      preloaded: ["server-controls.ts"],
      environment: raisedRates,
    });
    await server.api("PUT", "/rooms/a", { access: "public" });
    using alice = await clientOf(server, "alice");
    using bob = await clientOf(server, "bob");
    for (const client of [alice, bob]) await client.join("a");
    const sender = new Sender(alice, "a");
    const sent: Sent[] = [];
    const sending: Promise<void>[] = [];
    for (let death = 1; death <= 3; death += 1) {
      for (let index = 0; index < 400; index += 1) {
        const one = message(`${death} ${index}`);
        sent.push(one);
        sending.push(sender.sendUntilAcknowledged(one));
      }
      await eventually("some of them", () => sender.acknowledged.size > (death - 1) * 400 + 20 || undefined);
      server.child.writeInput("end-store-thread\n");
      await Promise.all(sending);
    }
    expect(sender.refusals.filter((code) => !["outcome_unknown", "store_unavailable"].includes(code))).toEqual([]);
    expect(sender.refusals).toContain("outcome_unknown");
    await eventually("the store", () => readRoom(server, "a"));
    await expectExactly(server, sent, sender.acknowledged);
    await bob.until("all", () => bob.textsOf("a").length === sent.length);
    expect(bob.transcript("a").faults).toEqual(noFaults);
    expect(await server.stop()).toBe(0);
  }, 120_000);
});

test("[LOG-1] a store that does not come back: sends are refused, and the node ends when it is told to", async () => {
  await using folder = await createTemporaryFolder();
  const file = path.join(folder.path, "parley.db");
  const acknowledged = new Map<string, number>();
  {
    await using server = await startWrappedServer({
      folder: folder.path,
      preloaded: ["server-controls.ts"],
      environment: raisedRates,
    });
    await server.api("PUT", "/rooms/a", { access: "public" });
    using alice = await clientOf(server, "alice");
    const sender = new Sender(alice, "a");
    const talk = async (): Promise<void> => {
      while (await sender.send(message("on and on")));
    };
    const talking = Array.from({ length: 16 }, talk);
    await eventually("some of them", () => sender.acknowledged.size > 20 || undefined);
    await rename(file, `${file}.away`);
    server.child.writeInput("end-store-thread\n");
    await Promise.all(talking);
    expect(sender.refusals.filter((code) => !["outcome_unknown", "store_unavailable"].includes(code))).toEqual([]);
    // The batch that was under way is still asked for: nothing else may wait behind it for ever.
    expect(await sender.send(message("refused"))).toBe(false);
    expect(sender.refusals.at(-1)).toBe("store_unavailable");
    for (const [clientId, seq] of sender.acknowledged) acknowledged.set(clientId, seq);
    expect(await server.stop()).toBe(0);
  }
  await rename(`${file}.away`, file);
  await using again = await startWrappedServer({ folder: folder.path });
  const kept = new Map((await readRoom(again, "a")).map(({ clientId = "", seq }) => [clientId, seq]));
  for (const [clientId, seq] of acknowledged) expect(kept.get(clientId)).toBe(seq);
}, 60_000);

test.each(["SIGTERM", "SIGINT"] as const)(
  "[LOG-1] on %s under load it finishes what it took and exits with 0; every acknowledged message is there again",
  async (signal) => {
    await using server = await spawnServer({ environment: raisedRates });
    await server.api("PUT", "/rooms/a", { access: "public" });
    using clients = new DisposableStack();
    const acknowledged = new Map<string, number>();
    let sendAgain = true;
    for (const transport of ["websocket", "polling", "upgrade"] as const) {
      const auth = { token: await tokenFor(server, transport) };
      const client = clients.use(new StockClient(server.url, { ...transportOptions[transport], auth }));
      await client.join("a");
      const send = (): void => {
        const { clientId, text } = message(`from ${transport}`);
        client.socket.emit("send_message", { roomId: "a", text, clientId }, (answer: { ok: boolean; seq: number }) => {
          if (answer.ok) acknowledged.set(clientId, answer.seq);
          if (sendAgain && client.socket.connected) send();
        });
      };
      for (let inFlight = 0; inFlight < 16; inFlight += 1) send();
      await eventually("deliveries", () => client.textsOf("a").length > 10 || undefined);
    }
    const beganAt = performance.now();
    expect(await server.child.stop(signal)).toEqual({ code: 0, signal: null });
    expect(performance.now() - beganAt).toBeLessThan(5_000);
    sendAgain = false;
    await server.start();
    const kept = new Map((await readRoom(server, "a")).map(({ clientId = "", seq }) => [clientId, seq]));
    expect(acknowledged.size).toBeGreaterThan(20);
    for (const [clientId, seq] of acknowledged) expect(kept.get(clientId)).toBe(seq);
  },
  60_000,
);
