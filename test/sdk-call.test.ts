import { createServer } from "node:http";
import { type Client, connect } from "@parley/client";
import { expect, test } from "vitest";
import { z } from "zod";
import { createParley, RefusalError } from "../packages/server/src/index.ts";
import { createTemporaryFolder } from "./support/temporary-folder.ts";

const secret = "kP3vX9qLw7Zr2TnB8sYd5Gh1JmC6fAe4";

/** An app with events of its own, and a client of it that has connected. */
async function startApp() {
  await using opened = new AsyncDisposableStack();
  const folder = opened.use(await createTemporaryFolder());
  const parley = opened.use(await createParley({ secret, store: { path: folder.path }, log: { level: "silent" } }));
  parley.on("double", z.object({ number: z.number() }), ({ number }, { user }) => ({
    doubled: 2 * number,
    by: user.id,
  }));
  parley.on("forget", z.null(), () => undefined);
  parley.on("order_pizza", z.string(), (size) => {
    throw new RefusalError("not_found", `no ${size} pizza is left`);
  });
  parley.on("break", z.null(), () => {
    throw new Error("a secret of the server");
  });
  parley.on("wait", z.null(), () => new Promise<undefined>(() => {}));
  const server = createServer();
  parley.attach(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  opened.defer(() => {
    server.close();
    server.closeAllConnections();
  });
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const client = connect({
    url: `http://127.0.0.1:${port}`,
    token: await parley.createToken("alice"),
    requestTimeoutMs: 5_000,
  });
  opened.defer(() => client.close());
  await connected(client);
  const kept = opened.move();
  return { client, parley, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

async function connected(client: Client): Promise<void> {
  await expect.poll(() => client.state.state).toBe("connected");
}

test("a call of the app's own event resolves with what its handler returned", async () => {
  await using app = await startApp();
  const { doubled, by } = await app.client.call<{ doubled: number; by: string }>("double", { number: 21 });
  expect([doubled, by]).toEqual([42, "alice"]);
  expect(await app.client.call("forget", null)).toBeUndefined();
});

test("[IN-1] a call that is refused rejects with the code: the handler's own, and the server's", async () => {
  await using app = await startApp();
  const { client } = app;
  await expect(client.call("order_pizza", "large")).rejects.toMatchObject({
    name: "ParleyError",
    code: "not_found",
    message: "no large pizza is left",
    retry: "never",
  });
  await expect(client.call("double", { number: "21" })).rejects.toMatchObject({ code: "bad_request" });
  await expect(client.call("no_such_event", null)).rejects.toMatchObject({ code: "unknown_event" });
  const broken = await client.call("break", null).catch((error: unknown) => error);
  expect(broken).toMatchObject({ code: "internal", retry: "later" });
  expect(String(broken)).not.toContain("secret");
});

test("a call ends with its connection, and without one it is not sent", async () => {
  await using app = await startApp();
  const waiting = app.client.call("wait", null).catch((error: unknown) => error);
  await app.parley.disconnectUser({ userId: "alice" });
  expect(await waiting).toMatchObject({ code: "disconnected", retry: "later" });
  app.client.close();
  await expect(app.client.call("double", { number: 1 })).rejects.toMatchObject({ code: "disconnected" });
});
