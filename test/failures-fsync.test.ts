import { readFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { tokenFor } from "./support/server.ts";
import { StockClient, transportOptions } from "./support/stock-client.ts";
import { straceCommand, unsyncedAcknowledgements } from "./support/strace.ts";
import { createTemporaryFolder } from "./support/temporary-folder.ts";
import { startWrappedServer } from "./support/wrapped-server.ts";

const texts = Array.from({ length: 60 }, (_, index) => `mark-${String(index).padStart(4, "0")}`);

/** Of a whole server: what strace saw while a client sent, one alone and many at once, and another one listened. */
async function traceServer(folder: string, preloaded: readonly string[]) {
  const traceFile = path.join(folder, "trace");
  const store = path.join(folder, "data");
  await using server = await startWrappedServer({ folder: store, wrapper: straceCommand(traceFile, []), preloaded });
  await server.api("PUT", "/rooms/a", { access: "public" });
  const connectAs = async (userId: string): Promise<StockClient> =>
    new StockClient(server.url, { ...transportOptions.websocket, auth: { token: await tokenFor(server, userId) } });
  using alice = await connectAs("alice");
  using bob = await connectAs("bob");
  for (const client of [alice, bob]) await client.join("a");
  const seqs = new Map<string, number>();
  for (let sent = 0, batch = 1; sent < texts.length; sent += batch, batch = 1 + (batch % 7)) {
    const some = texts.slice(sent, sent + batch);
    await Promise.all(some.map(async (text) => seqs.set(text, await alice.send("a", text))));
  }
  await bob.until("all", () => bob.textsOf("a").length === texts.length);
  await server.stop();
  return {
    trace: await readFile(traceFile, "utf8"),
    acknowledgements: texts.map((text) => ({ written: text, acknowledged: `"seq":${seqs.get(text)}}]` })),
    deliveries: texts.map((text) => ({ written: text, acknowledged: `"text":"${text}"` })),
  };
}

describe("the whole server, and what is on disk by the time that it says so", { timeout: 180_000 }, () => {
  test("[LOG-1] no acknowledgement and no delivery leaves before the fsync of its commit returned", async () => {
    await using folder = await createTemporaryFolder();
    const { trace, acknowledgements, deliveries } = await traceServer(folder.path, []);
    expect(unsyncedAcknowledgements(trace, acknowledgements)).toEqual([]);
    expect(unsyncedAcknowledgements(trace, deliveries)).toEqual([]);
  });

  test("[LOG-1] the same check fails for a server whose store does not sync", async () => {
    await using folder = await createTemporaryFolder();
    const { trace, acknowledgements, deliveries } = await traceServer(folder.path, ["unsynced.ts"]);
    for (const expected of [acknowledgements, deliveries]) {
      expect(unsyncedAcknowledgements(trace, expected)).toEqual(expected.map(({ acknowledged }) => acknowledged));
    }
  });
});
