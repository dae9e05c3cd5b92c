import { RefusalError } from "@parley/protocol";
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { Config } from "../config.ts";
import { isLoopback } from "../config-rules.ts";
import type { Clock } from "../core/clock.ts";
import { mintToken } from "../gateway/token-mint.ts";

/** The room that development mode opens to every user, and the two users of its page. */
export const developmentRoom = "room-123";
const developmentUsers = ["alice", "bob"] as const;

const tokenLifetimeSeconds = 7 * 86_400;

export interface DevelopmentSession {
  readonly roomId: string;
  readonly users: readonly { readonly userId: string; readonly token: string }[];
}

export async function createDevelopmentSession(auth: Config["auth"], clock: Clock): Promise<DevelopmentSession> {
  const users = developmentUsers.map(async (userId) => ({
    userId,
    token: await mintToken(auth, clock, { userId, lifetimeSeconds: tokenLifetimeSeconds }),
  }));
  return { roomId: developmentRoom, users: await Promise.all(users) };
}

/** `GET /dev/session`: tokens for the page, without a login. Registered in development mode alone. */
export function registerDevelopmentSession(app: FastifyInstance, auth: Config["auth"], clock: Clock): void {
  app.get("/dev/session", { schema: { hide: true } }, async (request, reply) => {
    if (!comesFromThisMachine(request)) {
      throw new RefusalError("forbidden", "development tokens are for browsers on this machine: open http://127.0.0.1");
    }
    reply.header("cache-control", "no-store");
    return createDevelopmentSession(auth, clock);
  });
}

// Why the host: a name of someone else's that points to 127.0.0.1, or a tunnel, must not read tokens through this page.
function comesFromThisMachine(request: FastifyRequest): boolean {
  const address = (request.socket.remoteAddress ?? "").replace(/^::ffff:/, "");
  return isLoopback(address) && isLoopback(request.hostname) && request.headers["x-forwarded-for"] === undefined;
}
