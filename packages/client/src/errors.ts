import type { ErrorCode, errorCodes, Refusal } from "@parley/protocol";

type RetriedCode = {
  [Code in ErrorCode]: (typeof errorCodes)[Code]["retry"] extends "never" ? never : Code;
}[ErrorCode];

// Why not the contract's own table: its module brings the schemas, and the schema library with them, into the browser.
// Invariant: the compiler refuses this table when it names other codes than the contract retries.
const retriedCodes: { readonly [Code in RetriedCode]: true } = {
  too_many_connections: true,
  rate_limited: true,
  overloaded: true,
  access_unavailable: true,
  store_unavailable: true,
  outcome_unknown: true,
  shutting_down: true,
  internal: true,
};

const retriedHere = {
  /** There is no connection at this moment. */
  disconnected: true,
  /** No server could be reached. */
  unreachable: true,
  /** The server did not answer in time; whether it did what was asked is not known. */
  timed_out: true,
  /** `getToken` failed. */
  token_unavailable: true,
} as const;

/** Failures that no server stated. `closed`: the client was closed, or the room left. `refused`: by a server that gave no code. */
export type LocalCode = keyof typeof retriedHere | "closed" | "refused" | "outbox_full" | "storage_failed";

/** Open, because a newer server may know more codes. */
export type ParleyErrorCode = ErrorCode | LocalCode | (string & {});

/** `later`: the same request may succeed. A code that this version does not know is `never`. */
function retryOf(code: string): "never" | "later" {
  return Object.hasOwn(retriedCodes, code) || Object.hasOwn(retriedHere, code) ? "later" : "never";
}

/** A refusal or failure by its stable code; `message` is for people and names what to change. */
export class ParleyError extends Error {
  override readonly name = "ParleyError";
  readonly code: ParleyErrorCode;
  readonly retry: "never" | "later";
  /** Milliseconds after which a repeat is worth it, where the server knows. */
  readonly retryAfterMs: number | undefined;

  constructor(code: ParleyErrorCode, message: string, retryAfterMs?: number) {
    super(message);
    this.code = code;
    this.retry = retryOf(code);
    this.retryAfterMs = retryAfterMs;
  }
}

export function refusalError(refusal: Refusal): ParleyError {
  return new ParleyError(refusal.code, refusal.message, refusal.retryAfterMs);
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A refusal out of anything: an acknowledgement's error, the data of a CONNECT_ERROR. Undefined when it is none. */
export function readRefusal(value: unknown): ParleyError | undefined {
  if (!isRecord(value) || typeof value["code"] !== "string") return undefined;
  const { code, message, retryAfterMs } = value;
  return new ParleyError(
    code,
    typeof message === "string" ? message : code,
    typeof retryAfterMs === "number" ? retryAfterMs : undefined,
  );
}
