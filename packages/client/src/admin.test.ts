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

test("an administrator kicks, bans and unbans users, and takes the node out of service and back", async () => {
  await using server = await startFakeConsole();
  const admin = connectAdmin({ url: server.url, token: "admin" });
  await recordStates(admin).first(({ state }) => state === "connected");
  expect(await admin.kick("ann")).toBe(3);
  expect(await admin.ban("ann")).toBe(3);
  await admin.unban("ann");
  await admin.drain();
  await admin.undrain();
  const ann = { userId: "ann" };
  expect(server.orders).toEqual([
    ["kick", ann],
    ["ban", ann],
    ["unban", ann],
    ["drain", {}],
    ["undrain", {}],
  ]);
  admin.close();
});

test("anyone else is refused for good", async () => {
  await using server = await startFakeConsole();
  const admin = connectAdmin({ url: server.url, token: "user" });
  const closed = await recordStates(admin).first(({ state }) => state === "closed");
  expect(closed).toMatchObject({ verdict: { code: "forbidden" } });
});
