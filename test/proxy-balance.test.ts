import { describe, expect, test } from "vitest";
import { eventually } from "./support/eventually.ts";
import { RawPolling, rawRequest } from "./support/raw-client.ts";
import { proxyKinds, startProxy } from "./support/proxies.ts";
import { spawnServer, startServer, tokenFor } from "./support/server.ts";
import { StockClient, transportOptions } from "./support/stock-client.ts";

/** Six clients over each transport, with six keys; they are let in. */
async function startClients(url: string, token: string, clients: DisposableStack): Promise<readonly StockClient[]> {
  const started = Object.values(transportOptions).flatMap((options) =>
    Array.from({ length: 6 }, (_, index) =>
      clients.use(new StockClient(url, { ...options, query: { key: `key-${index}` }, auth: { token } })),
    ),
  );
  await Promise.all(started.map((client) => client.welcomed(1)));
  return started;
}

describe.each(proxyKinds)("[WIRE-1] behind a real %s", (kind) => {
  test("clients of all transports get in, stay on their node, and are spread over the nodes", async () => {
    await using one = await startServer();
    await using two = await startServer();
    await using proxy = await startProxy(kind, [one.url, two.url]);
    using clients = new DisposableStack();
    const started = await startClients(proxy.url, await tokenFor(one, "alice"), clients);
    await Promise.all(started.slice(-6).map((client) => client.upgraded()));
    // Many requests each: a polling client whose requests went elsewhere would have been refused.
    for (let time = 0; time < 5; time += 1)
      await Promise.all(started.map((client) => client.request("presence", { roomId: "nowhere" })));
    expect(started.map(({ losses }) => losses)).toEqual(started.map(() => 0));
    const counts = [one, two].map(({ operations }) => operations.statistics().connections);
    expect(counts.reduce((sum, count) => sum + count)).toBe(18);
    for (const count of counts) expect(count).toBeGreaterThan(2);
  });

  test("[OUT-1] what has come to another node than the connection's is asked of that one", async () => {
    await using one = await startServer();
    await using two = await startServer();
    await using proxy = await startProxy(kind, [one.url, two.url]);
    const port = Number(new URL(proxy.url).port);
    const token = await tokenFor(one, "alice");
    for (let index = 0; index < 6; index += 1) {
      const { query } = await RawPolling.start(Number(new URL(one.url).port));
      const keyed = `${query}&key=key-${index}`;
      const posted = await rawRequest(port, keyed, { method: "POST", body: `40${JSON.stringify({ token })}` });
      expect(posted).toMatchObject({ status: 200, body: "ok" });
      expect((await rawRequest(port, keyed)).status).toBe(200);
    }
    expect((await rawRequest(port, "EIO=4&transport=polling&sid=nobodys")).status).toBe(404);
  });

  test("a node that is killed costs its clients one reconnect", async () => {
    await using one = await spawnServer();
    await using two = await spawnServer();
    await using proxy = await startProxy(kind, [one.url, two.url]);
    using clients = new DisposableStack();
    const started = await startClients(proxy.url, await tokenFor(one, "alice"), clients);
    // Why: a stock client that is just moving to its WebSocket does not notice that it lost it.
    await Promise.all(started.slice(-6).map((client) => client.upgraded()));
    await two.kill();
    // Whoever was on the node that lives was not disturbed; all are there now.
    for (const client of started) {
      const answer = await eventually("an answer", () => client.request("presence", { roomId: "nowhere" }));
      expect(answer.error?.code).toBe("forbidden");
      expect(client.losses).toBeLessThanOrEqual(1);
    }
    expect(started.some(({ losses }) => losses === 1)).toBe(true);
  });
});
