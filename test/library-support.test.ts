import { expect, test } from "vitest";
import { spawnServer, startServer, tokenFor } from "./support/server.ts";

test("a server in this process answers, and stops", async () => {
  await using server = await startServer();
  expect((await fetch(`${server.internalUrl}/health/ready`)).status).toBe(200);
  expect(await tokenFor(server, "alice")).toContain(".");
  await server.stop();
  await server.stop();
});

test("a server of its own process is killed and comes back where it was", async () => {
  await using server = await spawnServer();
  await server.api("PUT", "/rooms/r1", { access: "public" });
  await server.api("POST", "/rooms/r1/messages", { userId: "alice", text: "hello" });
  const { url } = server;
  await server.kill();
  await server.start();
  expect(server.url).toBe(url);
  expect(await server.api("GET", "/rooms/r1/history")).toMatchObject({ messages: [{ text: "hello" }] });
  expect(await server.stop()).toBe(0);
});
