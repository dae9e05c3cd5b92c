import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { idempotencyKeySchema, RefusalError } from "@parley/protocol";
import type { AdminSessions } from "../gateway/admin-session.ts";
import { refuseInvalid } from "./refusals.ts";

/** Who calls the API: a digest of the key, never the key. */
export type Caller = string & {};

export type CallerCheck = (headers: IncomingHttpHeaders) => Promise<Caller>;

/**
 * Reads `Authorization: Bearer` or `X-API-Key`. An administrator's session token counts as a key.
 * Errors: the check rejects with `unauthorized`.
 */
export function createCallerCheck(keys: readonly string[], adminSessions: AdminSessions): CallerCheck {
  const digests = keys.map(digest);
  return async (headers) => {
    const given = givenKey(headers);
    if (given === undefined) {
      throw new RefusalError("unauthorized", "no API key: send the header Authorization: Bearer <key>");
    }
    const presented = digest(given);
    // Why all are compared: the time that it takes says nothing about which one was close.
    const matches = digests.filter((known) => timingSafeEqual(known, presented));
    if (matches.length > 0) return presented.toString("base64url");
    const administrator = await adminSessions.verify(given);
    if (administrator?.ok === true) return administrator.user.id;
    throw new RefusalError(
      "unauthorized",
      keys.length === 0 ? "the API has no key: set PARLEY_API_KEYS" : "this API key is not among PARLEY_API_KEYS",
    );
  };
}

function givenKey(headers: IncomingHttpHeaders): string | undefined {
  const bearer = /^bearer +(\S+)$/i.exec(headers.authorization ?? "")?.[1];
  const plain = headers["x-api-key"];
  return bearer ?? (typeof plain === "string" && plain !== "" ? plain : undefined);
}

/**
 * The `clientId` that a write under `Idempotency-Key` is committed with; undefined without the header. Each caller has
 * its own keys, and no user's `clientId` is among them.
 */
export function idempotencyOf(headers: IncomingHttpHeaders, caller: Caller): string | undefined {
  const given = headers["idempotency-key"];
  if (given === undefined) return undefined;
  const key = idempotencyKeySchema.safeParse(given);
  if (!key.success) throw refuseInvalid("Idempotency-Key", key.error);
  return digest(JSON.stringify([caller, key.data])).toString("base64url");
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
