import { afterAll, beforeAll, expect, test } from "vitest";
import { systemClock } from "../packages/server/src/core/clock.ts";
import { logId } from "../packages/server/src/core/log.ts";
import { openPostgresStore } from "../packages/server/src/store/postgres.ts";
import type { AppendEffect, Store } from "../packages/server/src/store/store.ts";
import { PostgresServer } from "./support/postgres.ts";
import { startServer, tokenFor, type TestServer } from "./support/server.ts";
import { type Position, StockClient, transportOptions } from "./support/stock-client.ts";

const room = "town";

let postgres: PostgresServer;
beforeAll(async () => {
  postgres = await PostgresServer.start();
}, 120_000);
afterAll(() => postgres[Symbol.asyncDispose]());

/** A client, and all that it was ever sent, as text. */
class Reader implements Disposable {
  readonly client: StockClient;
  said = "";

  private constructor(client: StockClient) {
    this.client = client;
    client.socket.onAny((...packet: unknown[]) => {
      this.said += JSON.stringify(packet);
    });
  }

  static async at(server: TestServer, resume?: Readonly<Record<string, Position>>): Promise<Reader> {
    const token = await tokenFor(server, "reader");
    const auth = resume === undefined ? { token } : { token, resume };
    const reader = new Reader(new StockClient(server.url, { ...transportOptions.websocket, auth }));
    await reader.client.welcomed(1);
    return reader;
  }

  async hears(text: string): Promise<void> {
    await this.client.until(text, () => this.said.includes(text));
  }

  [Symbol.dispose](): void {
    this.client[Symbol.dispose]();
  }
}

/** A change of the first message, by a node that tells nobody: the others find it in the journal. */
async function change(store: Store, n: number, type: string, effect: AppendEffect, data: object): Promise<void> {
  const entry = { log: logId("default", room), id: `change-${n}`, type, actor: "writer", at: Date.now(), v: 1 };
  const append = { ...entry, data: JSON.stringify({ target: 1, ...data }), clientId: null, effect };
  expect(await store.append({ node: "silent", n, appends: [append] })).toMatchObject([{ ok: true }]);
}

test.each([
  { type: "erasure", effect: { kind: "erase", target: 1 }, event: "entry_erased", name: "erased" },
  {
    type: "deletion",
    effect: { kind: "delete", target: 1, byModerator: true },
    event: "message_deleted",
    name: "deleted",
  },
] as const)(
  "[LOG-2] what was $name, and the edits of it, no node sends from memory",
  async ({ type, effect, event, name }) => {
    const url = postgres.url(name);
    await using here = await startServer({ overrides: { store: { url } } });
    await using there = await startServer({ overrides: { store: { url } } });
    await using store = await openPostgresStore({ url, clock: systemClock });
    await here.operations.putRoom({ roomId: room, access: "public" });
    using clients = new DisposableStack();
    const readers: Reader[] = [];
    for (const server of [here, there]) readers.push(clients.use(await Reader.at(server)));
    for (const { client } of readers) await client.join(room);
    const [writer] = readers;
    await writer?.client.send(room, "the first secret");
    await change(
      store,
      1,
      "edit",
      { kind: "edit", target: 1, text: "the second secret", byModerator: true },
      { text: "the second secret" },
    );
    for (const reader of readers) await reader.hears("second");
    await change(store, 2, type, effect, {});
    for (const reader of readers) await reader.hears(event);
    await writer?.client.send(room, "at last");
    for (const reader of readers) await reader.hears("at last");

    const epoch = writer?.client.positions[room]?.epoch ?? "";
    for (const server of [here, there]) {
      const late = clients.use(await Reader.at(server, { [room]: { epoch, seq: 0 } }));
      await late.hears("at last");
      expect(late.said).toContain(event);
      expect(late.said).not.toContain("secret");
    }
  },
  120_000,
);
