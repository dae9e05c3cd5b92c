import { expect, test } from "vitest";
import { belongsToComposition } from "./composing.ts";

test("the key that ends a composition belongs to it, also where the browser says so by its code alone", () => {
  expect(belongsToComposition({ isComposing: true, keyCode: 13 })).toBe(true);
  expect(belongsToComposition({ isComposing: false, keyCode: 229 })).toBe(true);
  expect(belongsToComposition({ isComposing: false, keyCode: 13 })).toBe(false);
});
