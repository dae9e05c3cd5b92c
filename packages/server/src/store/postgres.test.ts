import { randomBytes } from "node:crypto";
import { afterAll, beforeAll } from "vitest";
import { PostgresServer } from "../../../../test/support/postgres.ts";
import { systemClock } from "../core/clock.ts";
import { openPostgresStore, restoredPostgres } from "./postgres.ts";
import { storeContract, type StoreHarness } from "./store.contract.ts";

let server: PostgresServer;

beforeAll(async () => {
  server = await PostgresServer.start();
}, 120_000);

afterAll(() => server[Symbol.asyncDispose]());

async function open(): Promise<StoreHarness> {
  const resources = new AsyncDisposableStack();
  const schema = `store_${randomBytes(6).toString("hex")}`;
  resources.defer(async () => void (await server.sql(`DROP SCHEMA ${schema} CASCADE`)));
  let aheadMs = 0;
  const clock = { ...systemClock, now: () => systemClock.now() + aheadMs };
  const url = server.url(schema);
  const store = resources.use(await openPostgresStore({ url, clock }));
  return {
    store,
    // Its sessions and leases end by the server's clock, which nobody moves: so what was written is older.
    async advance(ms) {
      aheadMs += ms;
      await server.sql(
        `UPDATE ${schema}.session SET ends_at = ends_at - ${ms}; UPDATE ${schema}.lease SET ends_at = ends_at - ${ms}`,
      );
    },
    async restored() {
      await restoredPostgres(url);
      return resources.use(await openPostgresStore({ url, clock }));
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

storeContract("postgres", open);
