import { ParleyError } from "@parley/client";
import { expect, test } from "vitest";
import { failureOf } from "./failure.ts";

test("what was refused was not done; without an answer that is not known", () => {
  expect(failureOf(new ParleyError("forbidden", "no"))).toEqual({ kind: "failed", reason: "no", unclear: false });
  for (const code of ["timed_out", "disconnected", "outcome_unknown"])
    expect(failureOf(new ParleyError(code, "late"))).toEqual({ kind: "failed", reason: "late", unclear: true });
});
