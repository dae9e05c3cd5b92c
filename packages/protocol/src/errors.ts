/**
 * Every refusal that Parley gives, by its stable code. `retry` says what a client does with it: `never` (change the
 * request first), `later` (the same request may succeed; a send keeps its `clientId`).
 * `http` is the status of the same refusal over HTTP.
 */
export const errorCodes = {
  bad_request: { http: 400, retry: "never" },
  unknown_event: { http: 404, retry: "never" },
  reserved_event: { http: 400, retry: "never" },
  payload_too_large: { http: 413, retry: "never" },
  unauthorized: { http: 401, retry: "never" },
  token_expired: { http: 401, retry: "never" },
  token_revoked: { http: 401, retry: "never" },
  forbidden: { http: 403, retry: "never" },
  banned: { http: 403, retry: "never" },
  not_found: { http: 404, retry: "never" },
  not_joined: { http: 409, retry: "never" },
  conflict: { http: 409, retry: "never" },
  already_exists: { http: 409, retry: "never" },
  too_many_rooms: { http: 409, retry: "never" },
  too_many_connections: { http: 429, retry: "later" },
  rate_limited: { http: 429, retry: "later" },
  overloaded: { http: 503, retry: "later" },
  access_unavailable: { http: 503, retry: "later" },
  store_unavailable: { http: 503, retry: "later" },
  outcome_unknown: { http: 503, retry: "later" },
  shutting_down: { http: 503, retry: "later" },
  internal: { http: 500, retry: "later" },
} as const satisfies Record<string, { http: number; retry: "never" | "later" }>;

export type ErrorCode = keyof typeof errorCodes;

/** What a refused request gets, as acknowledgement, as `error` event and as HTTP body. `message` names what to change. */
export interface Refusal {
  readonly code: ErrorCode;
  readonly message: string;
  /** Milliseconds after which a `retry: "later"` request is worth repeating, where the server knows. */
  readonly retryAfterMs?: number;
}

/** An expected refusal on its way to the edge that maps it. Anything else that is thrown there becomes `internal`. */
export class RefusalError extends Error {
  override readonly name = "RefusalError";
  readonly code: ErrorCode;
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message: string, retryAfterMs?: number) {
    super(message);
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }

  toRefusal(): Refusal {
    const { code, message, retryAfterMs } = this;
    return retryAfterMs === undefined ? { code, message } : { code, message, retryAfterMs };
  }
}
