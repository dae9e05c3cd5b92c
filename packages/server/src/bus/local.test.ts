import { expect, test } from "vitest";
import { hintOf, Recorder, room } from "./bus.contract.ts";
import { absentBus, localBus } from "./local.ts";

test("[FEED-2] nodes that share a store without a bus are told that it is down, and so ask the store", async () => {
  const received = new Recorder();
  const bus = absentBus();
  expect(bus.alone).toBe(false);
  await bus.start(received);
  expect(received.states).toEqual(["down"]);
});

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
