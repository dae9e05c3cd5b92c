import { describe, expect, test } from "vitest";
import { Cluster } from "./support/cluster.ts";
import { eventually } from "./support/eventually.ts";
import { proxyKinds } from "./support/proxies.ts";
import { StockClient, transportOptions } from "./support/stock-client.ts";

const room = "town";
const transports = ["polling", "websocket"] as const;
const clientsOfEach = 4;
const messagesOfEach = 20;

/** Sends one after the other, as the stock client does that is told to try again, under a client id. */
async function sendAll({ socket }: StockClient, name: string, onSent: () => void): Promise<void> {
  for (let number = 1; number <= messagesOfEach; number += 1) {
    const text = `${name} ${number}`;
    const answer: { ok: boolean } = await socket.emitWithAck("send_message", { roomId: room, text, clientId: text });
    expect(answer).toMatchObject({ ok: true });
    onSent();
  }
}

/** What is stored of the sessions says that their clients have got their first pages. */
async function pagesAreStored({ postgres, storeUrl }: Cluster): Promise<void> {
  const schema = new URL(storeUrl).searchParams.get("schema");
  await eventually("what has arrived to be stored", async () => {
    const [waiting] = await postgres.sql(`SELECT count(*) FROM ${schema}.session WHERE cursors LIKE '%,-1,%'`);
    return waiting === "0" || undefined;
  });
}

describe.each(proxyKinds)("three nodes behind %s", (balancer) => {
  test("[WIRE-1] [REC-2] [LOG-3] polling alone and WebSocket alone: all send and get everything, while a node is killed", async () => {
    await using cluster = await Cluster.start({ nodes: 3, balancer });
    await cluster.makeRoom(room);
    using opened = new DisposableStack();
    const clients: { readonly name: string; readonly client: StockClient }[] = [];
    for (const transport of transports) {
      for (let index = 0; index < clientsOfEach; index += 1) {
        const name = `${transport}-${index}`;
        const client = new StockClient(cluster.url, {
          ...transportOptions[transport],
          ...{ query: { key: name }, auth: { token: await cluster.tokenFor(name) } },
          ...{ retries: 20, ackTimeout: 2_000 },
        });
        clients.push({ name, client: opened.use(client) });
      }
    }
    await Promise.all(clients.map(({ client }) => client.join(room)));
    await pagesAreStored(cluster);
    let sent = 0;
    const count = (): void => {
      sent += 1;
    };
    const sending = Promise.all(clients.map(({ client, name }) => sendAll(client, name, count)));
    await eventually("a part of the messages", () => sent > (clients.length * messagesOfEach) / 4 || undefined);
    await cluster.node(0).server.kill();
    await sending;
    const all = clients.flatMap(({ name }) => Array.from({ length: messagesOfEach }, (_, at) => `${name} ${at + 1}`));
    for (const { client } of clients) {
      await client.until("all", () => client.transcript(room).reached === all.length);
      // A repeat is possible of what a killed node had delivered.
      expect([...new Set(client.textsOf(room))].toSorted()).toEqual(all.toSorted());
      expect(client.transcript(room).faults).toMatchObject({ missing: 0, outOfOrder: 0, unexplained: 0 });
      const { welcomes } = client;
      expect(welcomes.slice(1).every(({ id, recovered }) => recovered && id === welcomes[0]?.id)).toBe(true);
    }
    for (const transport of transports) {
      const lost = clients.filter(({ name, client }) => name.startsWith(transport) && client.losses > 0);
      console.log(
        `${lost.length} of ${clientsOfEach} over ${transport} behind ${balancer} lost their node, and recovered`,
      );
    }
    expect(clients.some(({ client }) => client.losses > 0)).toBe(true);
    expect(clients.some(({ client }) => client.losses === 0)).toBe(true);
  }, 120_000);
});
