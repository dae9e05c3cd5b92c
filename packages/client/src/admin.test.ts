import { expect, test } from "vitest";
import { startFakeConsole } from "../test/fake-console.ts";
import { recordStates } from "../test/recorder.ts";
import { connectAdmin } from "./admin.ts";

test("an administrator announces and reads the node's figures", async () => {
  await using server = await startFakeConsole();
  const admin = connectAdmin({ url: server.url, token: "admin" });
  await recordStates(admin).first(({ state }) => state === "connected");
  expect(await admin.statistics()).toEqual({ users: 2 });
  await admin.announce({ text: "maintenance at noon" });
  expect(server.announced).toEqual([{ text: "maintenance at noon" }]);
  admin.close();
  await expect(admin.statistics()).rejects.toMatchObject({ code: "disconnected" });
});

test("anyone else is refused for good", async () => {
  await using server = await startFakeConsole();
  const admin = connectAdmin({ url: server.url, token: "user" });
  const closed = await recordStates(admin).first(({ state }) => state === "closed");
  expect(closed).toMatchObject({ verdict: { code: "forbidden" } });
});
