import { errorCodes, RefusalError, userIdSchema } from "@parley/protocol";
import { z } from "zod";
import type { Config } from "../config.ts";
import type { Clock } from "../core/clock.ts";
import { defaultTenant } from "../core/log.ts";
import type { AdminSessions } from "./admin-session.ts";
import type { Handshake } from "./handshake.ts";
import {
  type AuthenticationRefusal,
  type AuthenticationResult,
  refused,
  rolesSchema,
  tenantSchema,
} from "./token-claims.ts";
import type { TokenVerifier } from "./token-verifier.ts";

export type { AuthenticationResult } from "./token-claims.ts";
export { createTokenVerifier, type TokenVerifier } from "./token-verifier.ts";
export { mintToken } from "./token-mint.ts";

/** What a client presents as it connects to a namespace. */
export interface ClientHandshake extends Handshake {
  /** `/`, `/admin`, or one of the app's own. */
  readonly namespace: string;
  /** The `auth` of the client; `auth.token` is the token. Unchecked: as the client sent it. */
  readonly auth: Readonly<Record<string, unknown>>;
}

/** A user as the app's own `authenticate` gives it. */
export interface AuthenticatedUser {
  readonly id: string;
  readonly tenant?: string | undefined;
  readonly roles?: readonly string[] | undefined;
  /** Milliseconds since 1970; then the connection ends. Null or left out: never. */
  readonly expiresAt?: number | null | undefined;
  /** Seconds since 1970; a revocation ends what was issued before it. Left out: now. */
  readonly issuedAt?: number | undefined;
}

/**
 * The app's own authentication, in the place of tokens. May admit guests: as users with an id of the app's making.
 * Null refuses for good. So does a `RefusalError` that is never to be repeated: `token_expired` and `forbidden` with their
 * codes, others as `unauthorized`. Any other error, and no answer in time, refuses for now: clients return by themselves.
 * `signal` ends with the time for an answer.
 */
export type AuthenticateFunction = (
  handshake: ClientHandshake,
  signal: AbortSignal,
) => AuthenticatedUser | null | Promise<AuthenticatedUser | null>;

export interface AuthenticatorOptions {
  readonly auth: Config["auth"];
  readonly clock: Clock;
  readonly verifier: TokenVerifier;
  readonly adminSessions?: AdminSessions;
  readonly authenticate?: AuthenticateFunction;
  /** The app's function failed or took too long; for the log. */
  readonly onFailure?: (error: unknown) => void;
}

/** What a client presents, as it lies at hand. */
export interface Presented extends Pick<ClientHandshake, "namespace" | "auth"> {
  readonly handshake: Handshake;
}

/** Who a client is, by what it presents. Never rejects. */
export type Authenticator = (presented: Presented) => Promise<AuthenticationResult>;

const userSchema = z.object({
  id: userIdSchema,
  tenant: tenantSchema.default(defaultTenant),
  roles: rolesSchema.default([]),
  expiresAt: z.number().min(0).nullable().default(null),
  issuedAt: z.number().min(0).optional(),
});

/**
 * A session token of the administrator counts for `/admin` whatever the app's function says: it comes from the link that
 * this server printed. All else is the app's function's where there is one, and the token's where not.
 */
export function createAuthenticator(options: AuthenticatorOptions): Authenticator {
  const { verifier, adminSessions, authenticate } = options;
  return async (presented) => {
    const token = tokenOf(presented);
    if (presented.namespace === "/admin") {
      const administrator = await adminSessions?.verify(token);
      if (administrator !== undefined) return administrator;
    }
    return authenticate === undefined ? verifier.verify(token) : askApp(options, authenticate, toldApp(presented));
  };
}

// Why the header, too: clients in other languages set headers more easily than `auth`. Browsers cannot set it here.
function tokenOf({ auth, handshake }: Presented): unknown {
  if (Object.hasOwn(auth, "token")) return auth["token"];
  return /^bearer +(.+)$/i.exec(handshake.headers.authorization ?? "")?.[1];
}

function toldApp({ handshake, namespace, auth }: Presented): ClientHandshake {
  const { url, headers, secure, at } = handshake;
  return {
    get address() {
      return handshake.address;
    },
    ...{ url, headers, secure, at, namespace, auth },
  };
}

async function askApp(
  options: AuthenticatorOptions,
  authenticate: AuthenticateFunction,
  handshake: ClientHandshake,
): Promise<AuthenticationResult> {
  const { auth, clock, onFailure } = options;
  const abort = new AbortController();
  const late = Promise.withResolvers<never>();
  const cancel = clock.after(auth.authenticateTimeoutMs, () => {
    const error = new Error(`authenticate did not answer within ${auth.authenticateTimeoutMs} ms`);
    abort.abort(error);
    late.reject(error);
  });
  try {
    const answer = await Promise.race([callApp(authenticate, handshake, abort.signal), late.promise]);
    return answer === null
      ? refused("unauthorized", "refused by the app's own authentication")
      : readUser(answer, clock);
  } catch (error) {
    if (error instanceof RefusalError) return mapRefusal(error);
    onFailure?.(error);
    return refused("access_unavailable", "who you are cannot be checked at the moment");
  } finally {
    cancel();
  }
}

async function callApp(authenticate: AuthenticateFunction, handshake: ClientHandshake, signal: AbortSignal) {
  return authenticate(handshake, signal);
}

function readUser(answer: AuthenticatedUser, clock: Clock): AuthenticationResult {
  const { id, tenant, roles, expiresAt, issuedAt } = userSchema.parse(answer);
  if (expiresAt !== null && expiresAt <= clock.now()) return refused("token_expired", "the session has expired");
  return { ok: true, user: { id, tenant, roles, expiresAt, issuedAt: issuedAt ?? Math.floor(clock.now() / 1_000) } };
}

function mapRefusal({ code, message }: RefusalError): AuthenticationRefusal {
  if (code === "token_expired" || code === "forbidden") return refused(code, message);
  return refused(errorCodes[code].retry === "never" ? "unauthorized" : "access_unavailable", message);
}
