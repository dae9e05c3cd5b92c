import { afterAll, beforeAll, expect, test } from "vitest";
import { PostgresServer } from "./support/postgres.ts";
import { RedisServer } from "./support/redis.ts";
import { tokenFor } from "./support/server.ts";
import { StockClient, transportOptions } from "./support/stock-client.ts";
import { noFaults } from "./support/transcript.ts";
import { startWorkers, workerOfConnection, workersOf, isRunning } from "./support/workers.ts";

const services = new AsyncDisposableStack();
let postgres: PostgresServer;
let redis: RedisServer;
beforeAll(async () => {
  postgres = services.use(await PostgresServer.start({ fsync: true }));
  redis = services.use(await RedisServer.start());
}, 120_000);
afterAll(() => services.disposeAsync());

test.each(["none", "redis"] as const)(
  "[FEED-1] [OUT-1] workers on Postgres, bus between machines: %s: what is sent at one reaches all, and a stop leaves nothing",
  async (bus) => {
    await using server = await startWorkers({
      PARLEY_SERVER_WORKERS: "2",
      PARLEY_STORE_URL: postgres.url(`workers_${bus}`),
      PARLEY_DRAIN_DRAIN_MS: "100",
      PARLEY_DRAIN_MOVE_MS: "100",
      ...(bus === "none"
        ? {}
        : {
            PARLEY_BUS_URL: redis.url.replace("http://", "redis://"),
            PARLEY_BUS_SECRET: "m4Yw8Zt1Qx6Lr3Vn9Kc5Jd7Hb2Gf0Ps8",
          }),
    });
    await server.api("PUT", "/rooms/shared", { access: "public" });
    using clients = new DisposableStack();
    const all: StockClient[] = [];
    while (new Set(all.map(({ socket }) => workerOfConnection(socket.io.engine.id))).size < 2) {
      const auth = { token: await tokenFor(server, `user-${all.length}`) };
      const client = clients.use(
        new StockClient(server.url, { ...transportOptions.websocket, auth, reconnection: false }),
      );
      await client.welcomed(1);
      await client.join("shared");
      all.push(client);
    }
    for (const client of all) await client.send("shared", "hello");
    await server.api("POST", "/rooms/shared/messages", { userId: "backend", text: "from the primary" });
    for (const client of all) {
      await client.until("all", () => client.textsOf("shared").length === all.length + 1);
      expect(client.transcript("shared").faults).toEqual(noFaults);
    }
    const workers = [...workersOf(server).values()];
    expect(await server.stop()).toBe(0);
    expect(workers.filter(isRunning)).toEqual([]);
  },
  120_000,
);
