import { createHash, createHmac, createSecretKey, type KeyObject, timingSafeEqual } from "node:crypto";
import {
  decodeProtectedHeader,
  errors,
  type JWTHeaderParameters,
  type JWTPayload,
  jwtVerify,
  UnsecuredJWT,
} from "jose";
import type { Config } from "../config.ts";
import type { Clock } from "../core/clock.ts";
import type { User } from "./connection.ts";
import { type AuthenticationRefusal, type AuthenticationResult, refused, userOfClaims } from "./token-claims.ts";
import { createRemoteKeys, KeysUnavailable, type RemoteKeys } from "./token-keys.ts";

export interface TokenVerifier {
  /**
   * The user that a token (JWT) speaks for. Never rejects. `access_unavailable`: the identity provider cannot be asked
   * at the moment; every other refusal is a verdict on this token.
   */
  verify(token: unknown): Promise<AuthenticationResult>;
}

export interface TokenVerifierOptions {
  /** A fetch of the JWKS failed; for the log. */
  readonly onKeysFailure?: (error: unknown) => void;
}

const tokenLengthMax = 16_384;
const rememberedMsMax = 5 * 60_000;

/** Verifies by the shared secret (HS algorithms) and by the JWKS (all others), as `auth` says. */
export function createTokenVerifier(
  auth: Config["auth"],
  clock: Clock,
  options: TokenVerifierOptions = {},
): TokenVerifier {
  const remembered = createMemory(auth.verifiedTokensMax, clock);
  // Why a key object: it is imported once, raw bytes at each verification.
  const secret = auth.secret === undefined ? undefined : createSecretKey(Buffer.from(auth.secret));
  const findKey = createKeyFinder(auth, clock, secret, options);
  const settings = {
    algorithms: [...auth.algorithms],
    clockTolerance: auth.clockToleranceSeconds,
    ...(auth.issuer === undefined ? {} : { issuer: auth.issuer }),
    ...(auth.audience === undefined ? {} : { audience: auth.audience }),
  };

  async function verifySignature(token: string): Promise<AuthenticationResult> {
    const now = clock.now();
    try {
      const checks = { ...settings, currentDate: new Date(now) };
      const claims = isSigned(token, secret, auth.algorithms) ? claimsOf(token, checks) : undefined;
      const payload = claims ?? (await jwtVerify(token, findKey, checks)).payload;
      return userOfClaims(auth, payload, Math.floor(now / 1_000));
    } catch (error) {
      return explainFailure(auth, error);
    }
  }

  return {
    async verify(token) {
      const misshapen = findMisshape(token);
      if (misshapen !== undefined || typeof token !== "string") return misshapen ?? refused("unauthorized", "no token");
      const digest = digestOf(token);
      const known = remembered.get(digest);
      if (known !== undefined) return { ok: true, user: known };
      const result = await verifySignature(token);
      if (result.ok) remembered.set(digest, result.user);
      return result;
    },
  };
}

/** 128 bits, so that nobody finds a token with the digest of another's. One byte a character, which is the least memory. */
function digestOf(token: string): string {
  return createHash("sha256").update(token).digest().toString("latin1", 0, 16);
}

function findMisshape(token: unknown): AuthenticationRefusal | undefined {
  if (token === undefined || token === null || token === "") {
    return refused("unauthorized", "no token: connect with auth: {token}; `parley token create` makes one");
  }
  if (typeof token !== "string") return refused("unauthorized", "the token is no text");
  if (token.length > tokenLengthMax)
    return refused("unauthorized", `the token is longer than ${tokenLengthMax} characters`);
  if (/^bearer\s/i.test(token)) return refused("unauthorized", "the token begins with Bearer: send the token alone");
  return undefined;
}

const hmacDigests: Readonly<Record<string, string>> = { HS256: "sha256", HS384: "sha384", HS512: "sha512" };

/**
 * Whether the token is of the plain kind (an HS algorithm, no extensions) and the secret signed it. Any other is jose's
 * to judge. Why not all: jose's HMAC is asynchronous, and in a storm of reconnects its detour through other threads was
 * a sixth of what a connection cost.
 */
function isSigned(token: string, secret: KeyObject | undefined, algorithms: readonly string[]): boolean {
  const { alg = "", crit, b64 } = decodeProtectedHeader(token);
  const digest = algorithms.includes(alg) && Object.hasOwn(hmacDigests, alg) ? hmacDigests[alg] : undefined;
  if (secret === undefined || digest === undefined || crit !== undefined || b64 !== undefined) return false;
  const end = token.lastIndexOf(".");
  // Why compared as text: decoding would ignore what does not belong there.
  const expected = Buffer.from(createHmac(digest, secret).update(token.slice(0, end)).digest("base64url"));
  const given = Buffer.from(token.slice(end + 1));
  return given.length === expected.length && timingSafeEqual(given, expected);
}

/** jose's checks of the claims alone, on a token whose signature was verified. Throws as `jwtVerify` does. */
function claimsOf(token: string, checks: Parameters<typeof UnsecuredJWT.decode>[1]): JWTPayload {
  const [, claims = ""] = token.split(".");
  return UnsecuredJWT.decode(`${unsecuredHeader}.${claims}.`, checks).payload;
}

const unsecuredHeader = Buffer.from('{"alg":"none"}').toString("base64url");

function createKeyFinder(
  auth: Config["auth"],
  clock: Clock,
  secret: KeyObject | undefined,
  { onKeysFailure }: TokenVerifierOptions,
) {
  const remote: RemoteKeys | undefined =
    auth.jwksUrl === undefined
      ? undefined
      : createRemoteKeys({
          url: auth.jwksUrl,
          timeoutMs: auth.authenticateTimeoutMs,
          clock,
          ...(onKeysFailure === undefined ? {} : { onFailure: onKeysFailure }),
        });
  // Invariant: the secret verifies HS algorithms alone, and a public key never does (HS/RS confusion).
  return async (header: JWTHeaderParameters) => {
    if (header.alg.startsWith("HS")) {
      if (secret !== undefined) return secret;
      throw new errors.JOSEAlgNotAllowed("no secret");
    }
    if (remote !== undefined) return remote.find(header);
    throw new errors.JOSEAlgNotAllowed("no JWKS");
  };
}

const failures: Readonly<Record<string, string>> = {
  ERR_JWS_SIGNATURE_VERIFICATION_FAILED:
    "the token's signature is not by the server's secret or keys (PARLEY_AUTH_SECRET, PARLEY_AUTH_JWKS_URL)",
  ERR_JWKS_NO_MATCHING_KEY:
    "the token is signed with a key that the identity provider does not have (PARLEY_AUTH_JWKS_URL)",
  ERR_JWKS_MULTIPLE_MATCHING_KEYS: "the token names no key (kid), and the identity provider has several",
};

function explainFailure(auth: Config["auth"], error: unknown): AuthenticationRefusal {
  if (error instanceof KeysUnavailable)
    return refused("access_unavailable", "tokens cannot be verified at the moment (PARLEY_AUTH_JWKS_URL)");
  if (error instanceof errors.JWTExpired) return refused("token_expired", "the token has expired: get a new one");
  if (error instanceof errors.JOSEAlgNotAllowed) {
    return refused(
      "unauthorized",
      `the token's algorithm is not accepted here (PARLEY_AUTH_ALGORITHMS=${usable(auth).join(",")})`,
    );
  }
  if (error instanceof errors.JWTClaimValidationFailed) return explainClaim(error.claim, error.reason);
  const message = error instanceof errors.JOSEError ? failures[error.code] : undefined;
  return refused("unauthorized", message ?? "the token is no JWT that can be read");
}

function usable({ algorithms, secret, jwksUrl }: Config["auth"]): readonly string[] {
  return algorithms.filter((name) => (name.startsWith("HS") ? secret : jwksUrl) !== undefined);
}

function explainClaim(claim: string, reason: string): AuthenticationRefusal {
  if (claim === "iss" || claim === "aud") {
    const setting = claim === "iss" ? "PARLEY_AUTH_ISSUER" : "PARLEY_AUTH_AUDIENCE";
    return refused(
      "unauthorized",
      `the token's ${claim} is ${reason === "missing" ? "missing" : "not the one required"} (${setting})`,
    );
  }
  if (claim === "nbf" && reason === "check_failed") {
    return refused(
      "unauthorized",
      "the token is not valid yet (nbf): compare the clocks (PARLEY_AUTH_CLOCK_TOLERANCE_SECONDS)",
    );
  }
  return refused("unauthorized", `the token's ${claim} is no date: it must be a number of seconds since 1970`);
}

interface Memory {
  get(digest: string): User | undefined;
  set(digest: string, user: User): void;
}

/**
 * Users by their tokens' digests, in two generations, the older of which goes: an entry lives for half of
 * `rememberedMsMax` at least, unless half of `countMax` come sooner, and no longer than all of it, after which a key that was
 * withdrawn is noticed.
 * Why no time beside each: with ten thousand clients that is most of what it holds. Bound: `countMax` entries.
 */
function createMemory(countMax: number, clock: Clock): Memory {
  let young = new Map<string, User>();
  let old = new Map<string, User>();
  let begunAt = clock.monotonic();
  const turn = (): void => {
    const age = clock.monotonic() - begunAt;
    if (age < rememberedMsMax / 2 && young.size < countMax / 2) return;
    old = age < rememberedMsMax ? young : new Map();
    young = new Map();
    begunAt = clock.monotonic();
  };
  return {
    get(digest) {
      turn();
      const user = young.get(digest) ?? old.get(digest);
      return user !== undefined && clock.now() < (user.expiresAt ?? Infinity) ? user : undefined;
    },
    set(digest, user) {
      turn();
      young.set(digest, user);
    },
  };
}
