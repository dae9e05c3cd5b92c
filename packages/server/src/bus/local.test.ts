import { expect, test } from "vitest";
import { hintOf, Recorder, room } from "./bus.contract.ts";
import { localBus } from "./local.ts";

test("a node that is alone hears nothing, whatever it says", async () => {
  const received = new Recorder();
  const bus = localBus();
  expect(bus.alone).toBe(true);
  await bus.start(received);
  bus.follow(room);
  bus.hint(hintOf(room, 1));
  bus.digest({ node: "node-1", after: 0, n: 1, heads: [] });
  bus.send("node-1", { kind: "session_claimed", from: "node-1", pid: "secret", generation: 1 });
  bus.unfollow(room);
  await bus[Symbol.asyncDispose]();
  expect(received).toEqual(new Recorder());
});
