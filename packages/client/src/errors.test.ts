import { errorCodes } from "@parley/protocol";
import { expect, test } from "vitest";
import { ParleyError, readRefusal } from "./errors.ts";

test("every code is retried as the contract says", () => {
  const known = Object.keys(errorCodes).map((code) => [code, { retry: new ParleyError(code, "").retry }]);
  expect(errorCodes).toMatchObject(Object.fromEntries(known));
});

test("an unknown code, also one with a name of Object.prototype, is not retried", () => {
  expect(new ParleyError("toString", "").retry).toBe("never");
  expect(new ParleyError("from_tomorrow", "").retry).toBe("never");
});

test("a refusal is read from anything", () => {
  expect(readRefusal({ code: "rate_limited", message: "m", retryAfterMs: 5 })).toMatchObject({
    code: "rate_limited",
    message: "m",
    retryAfterMs: 5,
  });
  expect(readRefusal({ code: "banned" })).toMatchObject({ code: "banned", message: "banned", retryAfterMs: undefined });
  for (const value of [undefined, null, "banned", ["banned"], {}, { code: 5 }])
    expect(readRefusal(value)).toBeUndefined();
});
