import { expect, test } from "vitest";
import { PacketQueue } from "./packet-queue.ts";

test("[FEED-4] packets leave in the order they came, and make room for others", () => {
  const queue = new PacketQueue({ pendingRequestsMax: 3, pendingRequestBytesMax: 100 });
  for (let round = 0; round < 50; round += 1) {
    expect(queue.push(`${round}a`, 60)).toBe(true);
    expect(queue.push(`${round}b`, 40)).toBe(true);
    expect(queue.push("too large", 1)).toBe(false);
    expect([queue.shift(), queue.shift(), queue.shift()]).toEqual([`${round}a`, `${round}b`, undefined]);
  }
});

test("[FEED-4] so many packets wait, and one alone whatever its size", () => {
  const queue = new PacketQueue({ pendingRequestsMax: 2, pendingRequestBytesMax: 100 });
  expect(queue.push("large", 1_000)).toBe(true);
  expect(queue.push("small", 0)).toBe(false);
  expect(queue.shift()).toBe("large");
  expect([queue.push("one", 0), queue.push("two", 0), queue.push("three", 0)]).toEqual([true, true, false]);
});
