import { bounds, type ErrorCode, userIdSchema } from "@parley/protocol";
import { z } from "zod";
import type { Config } from "../config.ts";
import { defaultTenant } from "../core/log.ts";
import type { User } from "./connection.ts";

/** Why nobody is let in by what was presented. `message` names what to change. */
export interface AuthenticationRefusal {
  readonly ok: false;
  /** `access_unavailable` may pass; the others are verdicts. */
  readonly code: Extract<ErrorCode, "unauthorized" | "token_expired" | "forbidden" | "access_unavailable">;
  readonly message: string;
}

export type AuthenticationResult = { readonly ok: true; readonly user: User } | AuthenticationRefusal;

export const tenantSchema = z
  .string()
  .min(1)
  .max(64)
  .regex(
    /^[^/@\p{Cc}\p{Cs}][^/\p{Cc}\p{Cs}]*$/u,
    "a tenant has no slash and no control character, and does not begin with @",
  );

export const rolesSchema = z.array(z.string().min(1).max(bounds.userIdLength)).max(100);

// The last second of the year 9999: dates after it have no ISO 8601 form of four digits.
const latestSeconds = 253_402_300_799;

const dateSchema = z.number().min(0).max(latestSeconds);

export function refused(code: AuthenticationRefusal["code"], message: string): AuthenticationRefusal {
  return { ok: false, code, message };
}

/**
 * The user that verified claims speak of. `expiresAt` includes the clock tolerance: until then the same token would be
 * accepted again. `exp` and `nbf` were compared with the clock before, where they exist; here they must be sane.
 */
export function userOfClaims(auth: Config["auth"], claims: object, nowSeconds: number): AuthenticationResult {
  const dates = readDates(auth, claims, nowSeconds);
  if (!dates.ok) return dates;
  const id = userIdSchema.safeParse(claimAt(claims, auth.userIdClaim));
  if (!id.success) {
    return refused(
      "unauthorized",
      `the token's ${auth.userIdClaim} is no user id: ${firstIssue(id.error)} (PARLEY_AUTH_USER_ID_CLAIM)`,
    );
  }
  const roles = readRoles(auth.rolesClaim, claims);
  if (roles === undefined) {
    return refused(
      "unauthorized",
      `the token's roles are neither a text nor a list of texts (PARLEY_AUTH_ROLES_CLAIM)`,
    );
  }
  const tenant = auth.tenantClaim === undefined ? defaultTenant : claimAt(claims, auth.tenantClaim);
  const checkedTenant = tenantSchema.safeParse(tenant);
  if (!checkedTenant.success) {
    return refused(
      "unauthorized",
      `the token's ${auth.tenantClaim} is no tenant: ${firstIssue(checkedTenant.error)} (PARLEY_AUTH_TENANT_CLAIM)`,
    );
  }
  const { expiresAt, issuedAt } = dates;
  return { ok: true, user: { id: id.data, tenant: checkedTenant.data, roles, expiresAt, issuedAt } };
}

type Dates =
  | { readonly ok: true; readonly expiresAt: number | null; readonly issuedAt: number }
  | AuthenticationRefusal;

function readDates(auth: Config["auth"], claims: object, nowSeconds: number): Dates {
  const expires = dateOf(claims, "exp");
  const notBefore = dateOf(claims, "nbf");
  const issued = dateOf(claims, "iat");
  if (expires === null || notBefore === null || issued === null) {
    const name = expires === null ? "exp" : notBefore === null ? "nbf" : "iat";
    return refused(
      "unauthorized",
      `the token's ${name} is no date: it must be a number of seconds since 1970, before the year 10000`,
    );
  }
  if (expires === undefined && auth.expiryRequired) {
    return refused(
      "unauthorized",
      "the token has no exp: give it one (or allow it by PARLEY_AUTH_EXPIRY_REQUIRED=false)",
    );
  }
  // Why: a token dated ahead would outlive the revocation of all tokens issued until now.
  if (issued !== undefined && issued > nowSeconds + auth.clockToleranceSeconds) {
    return refused(
      "unauthorized",
      "the token's iat lies in the future: compare the clocks (PARLEY_AUTH_CLOCK_TOLERANCE_SECONDS)",
    );
  }
  const expiresAt = expires === undefined ? null : (expires + auth.clockToleranceSeconds) * 1_000;
  return { ok: true, expiresAt, issuedAt: Math.floor(issued ?? 0) };
}

/** Undefined: there is none. Null: it is no date. */
function dateOf(claims: object, name: string): number | null | undefined {
  const value = claimAt(claims, name);
  if (value === undefined) return undefined;
  const date = dateSchema.safeParse(value);
  return date.success ? date.data : null;
}

/** Most users' roles: one list for all of them. */
const noRoles: readonly string[] = [];

function readRoles(names: readonly string[], claims: object): readonly string[] | undefined {
  const roles = new Set<string>();
  for (const name of names) {
    const value = claimAt(claims, name);
    if (value === undefined || value === null) continue;
    const parsed = rolesSchema.safeParse(typeof value === "string" ? [value] : value);
    if (!parsed.success) return undefined;
    for (const role of parsed.data) roles.add(role);
  }
  return roles.size === 0 ? noRoles : [...roles];
}

/** `name` as a whole first (names such as `https://app.example/roles` have dots), then as a path into objects. */
function claimAt(claims: object, name: string): unknown {
  if (Object.hasOwn(claims, name)) return ownValue(claims, name);
  let value: unknown = claims;
  for (const part of name.split(".")) value = ownValue(value, part);
  return value;
}

function ownValue(holder: unknown, key: string): unknown {
  if (typeof holder !== "object" || holder === null) return undefined;
  return Object.getOwnPropertyDescriptor(holder, key)?.value;
}

function firstIssue(error: z.ZodError): string {
  return error.issues[0]?.message ?? "not of the form expected";
}
