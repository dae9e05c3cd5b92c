import { SignJWT } from "jose";
import type { Config } from "../config.ts";
import type { Clock } from "../core/clock.ts";

export interface TokenRequest {
  readonly userId: string;
  readonly roles?: readonly string[];
  readonly tenant?: string;
  readonly lifetimeSeconds: number;
}

/**
 * A token that this configuration accepts, signed with `auth.secret`.
 * Errors: rejects when there is no secret, or a tenant is asked for without `auth.tenantClaim`.
 */
export async function mintToken(auth: Config["auth"], clock: Clock, request: TokenRequest): Promise<string> {
  if (auth.secret === undefined) {
    throw new Error("there is no secret to sign with: set PARLEY_AUTH_SECRET");
  }
  if (request.tenant !== undefined && auth.tenantClaim === undefined) {
    throw new Error("tenants are off: set PARLEY_AUTH_TENANT_CLAIM");
  }
  const algorithm = auth.algorithms.find((name) => name.startsWith("HS"));
  if (algorithm === undefined) throw new Error("no HS algorithm is accepted: add HS256 to PARLEY_AUTH_ALGORITHMS");
  const now = Math.floor(clock.now() / 1_000);
  const roles = request.roles ?? [];
  const claims: Record<string, unknown> = { [auth.userIdClaim]: request.userId };
  const [rolesClaim] = auth.rolesClaim;
  if (rolesClaim !== undefined && roles.length > 0) claims[rolesClaim] = roles.length === 1 ? roles[0] : roles;
  if (auth.tenantClaim !== undefined && request.tenant !== undefined) claims[auth.tenantClaim] = request.tenant;
  const token = new SignJWT(claims)
    .setProtectedHeader({ alg: algorithm, typ: "JWT" })
    .setIssuedAt(now)
    .setExpirationTime(now + request.lifetimeSeconds);
  if (auth.issuer !== undefined) token.setIssuer(auth.issuer);
  if (auth.audience !== undefined) token.setAudience(auth.audience);
  return token.sign(Buffer.from(auth.secret));
}
