import { createHmac, randomUUID } from "node:crypto";
import { jwtVerify, SignJWT } from "jose";
import { z } from "zod";
import type { Clock } from "../core/clock.ts";
import { defaultTenant } from "../core/log.ts";
import { type AuthenticationRefusal, type AuthenticationResult, refused } from "./token-claims.ts";

/**
 * The administrator's way in without an account. A ticket (in the one-time link) is exchanged for a session token,
 * which the namespace `/admin` and the HTTP API accept. Both are signed with keys derived from the secret, so
 * that neither is ever taken for a user's token.
 */
export interface AdminSessions {
  /** A ticket for ten minutes. */
  createTicket(): Promise<string>;
  /** Exchanges a ticket, once. `expiresAt`: milliseconds since 1970. */
  redeem(
    ticket: string,
  ): Promise<{ readonly ok: true; readonly token: string; readonly expiresAt: number } | AuthenticationRefusal>;
  /** The administrator whom a session token speaks for; undefined when it is no session token. */
  verify(token: unknown): Promise<AuthenticationResult | undefined>;
}

const ticketLifetimeSeconds = 600;
const sessionLifetimeSeconds = 3_600;
const usedTicketsMax = 10_000;
const tokenLengthMax = 2_048;
const sessionType = "parley-admin+jwt";

const ticketSchema = z.object({ jti: z.string().max(64), issuedAtMs: z.number(), exp: z.number() });
const sessionSchema = z.object({ iat: z.number(), exp: z.number() });

/** The part that needs no server: the command line makes tickets, too. */
export async function createAdminTicket(secret: string, clock: Clock): Promise<string> {
  const now = clock.now();
  return new SignJWT({ issuedAtMs: now, jti: randomUUID() })
    .setProtectedHeader({ alg: "HS256", typ: "parley-ticket+jwt" })
    .setExpirationTime(Math.floor(now / 1_000) + ticketLifetimeSeconds)
    .sign(deriveKey(secret, "ticket"));
}

/** `secret`: the server's. Used tickets are remembered by this object alone; it takes none made before it. */
export function createAdminSessions(secret: string, clock: Clock): AdminSessions {
  const used = new Map<string, number>();
  const startedAt = clock.now();
  const sessionKey = deriveKey(secret, "session");

  // Why `startedAt`: what was used before a restart is forgotten, so nothing from before it counts.
  async function takeTicket(ticket: string): Promise<AuthenticationRefusal | undefined> {
    const claims = ticketSchema.safeParse(
      await readClaims(ticket, deriveKey(secret, "ticket"), "parley-ticket+jwt", clock),
    );
    for (const [id, expiresAt] of used) if (expiresAt <= clock.now()) used.delete(id);
    if (
      !claims.success ||
      claims.data.issuedAtMs < startedAt ||
      used.has(claims.data.jti) ||
      used.size >= usedTicketsMax
    ) {
      return refused(
        "unauthorized",
        "this link was used, is older than ten minutes, or the server restarted: `parley token --admin` makes another",
      );
    }
    used.set(claims.data.jti, claims.data.exp * 1_000);
    return undefined;
  }

  return {
    createTicket: () => createAdminTicket(secret, clock),
    async redeem(ticket) {
      const refusal = await takeTicket(ticket);
      if (refusal !== undefined) return refusal;
      const now = Math.floor(clock.now() / 1_000);
      const token = await new SignJWT({})
        .setProtectedHeader({ alg: "HS256", typ: sessionType })
        .setIssuedAt(now)
        .setExpirationTime(now + sessionLifetimeSeconds)
        .sign(sessionKey);
      return { ok: true, token, expiresAt: (now + sessionLifetimeSeconds) * 1_000 };
    },
    async verify(token) {
      if (typeof token !== "string") return undefined;
      const claims = sessionSchema.safeParse(await readClaims(token, sessionKey, sessionType, clock));
      if (!claims.success) return undefined;
      const { iat, exp } = claims.data;
      return {
        ok: true,
        user: { id: "@admin", tenant: defaultTenant, roles: ["admin"], expiresAt: exp * 1_000, issuedAt: iat },
      };
    },
  };
}

async function readClaims(token: string, key: Uint8Array, typ: string, clock: Clock): Promise<unknown> {
  if (token.length > tokenLengthMax) return undefined;
  try {
    const options = { algorithms: ["HS256"], typ, currentDate: new Date(clock.now()) };
    const { payload } = await jwtVerify(token, key, options);
    return payload;
  } catch {
    return undefined;
  }
}

function deriveKey(secret: string, purpose: "ticket" | "session"): Uint8Array {
  return createHmac("sha256", secret).update(`parley admin ${purpose}`).digest();
}
