import { ParleyError } from "@parley/client";

/** Why an order was not carried out; `unclear`: it may have been all the same. */
export interface Failure {
  readonly kind: "failed";
  readonly reason: string;
  readonly unclear: boolean;
}

// No answer came, or the answer does not say.
const unclearCodes: ReadonlySet<string> = new Set(["timed_out", "disconnected", "outcome_unknown", "internal"]);

export function failureOf(error: unknown): Failure {
  const isStated = error instanceof ParleyError;
  return {
    kind: "failed",
    reason: isStated ? error.message : String(error),
    unclear: !isStated || unclearCodes.has(error.code),
  };
}
