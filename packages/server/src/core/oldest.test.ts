import { expect, test } from "vitest";
import { dropOldest } from "./oldest.ts";

test("nothing goes up to the bound; beyond it the oldest, down to a hundredth below", () => {
  const keys = Array.from({ length: 301 }, (_, index) => index);
  const dropped: number[] = [];
  const held = new Set(keys.slice(0, 300));
  const drop = (key: number): void => {
    held.delete(key);
    dropped.push(key);
  };
  dropOldest(held, 300, drop);
  expect(dropped).toEqual([]);
  held.add(300);
  dropOldest(held, 300, drop);
  expect(dropped).toEqual([0, 1, 2, 3]);
});
