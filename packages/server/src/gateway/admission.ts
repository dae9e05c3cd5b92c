import { type Refusal, RefusalError } from "@parley/protocol";
import type { Connected, ParleyNode } from "../core/node.ts";
import { OutcomeUnknown, StoreUnavailable } from "../store/store.ts";
import type { Authenticator } from "./authenticate.ts";
import type { Connection, User } from "./connection.ts";
import type { ConnectRequest, ConnectVerdict, Log } from "./namespace.ts";

/** Clients on their way in at once: more than a store answers in one go, fewer than would fill its queue. */
export const arrivalsMax = 1_000;

/**
 * The way in: so many at once, all others wait for a place, first come first served.
 *
 * Why: when thousands come back at once they make a queue here, where waiting costs nothing, and not in the store, where
 * calls are given up after a while, and those of who is here already wait behind them. Bounded by the connections.
 */
export class Admission {
  #inside = 0;
  readonly #waiting: (() => void)[] = [];

  /** Rejects as `enter` does, and with `overloaded` when the client left while it waited. */
  async pass<Value>(request: Pick<ConnectRequest, "signal">, enter: () => Promise<Value>): Promise<Value> {
    const waited = this.#inside >= arrivalsMax;
    if (waited) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#inside += 1;
    try {
      if (waited && request.signal.aborted) throw new RefusalError("overloaded", "the client left while it waited");
      return await enter();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#inside -= 1;
      else next();
    }
  }
}

/** Who asks, with revocations and bans asked too. Errors: throws `RefusalError`. */
export async function authenticated(
  authenticate: Authenticator,
  node: ParleyNode,
  request: ConnectRequest,
): Promise<User> {
  const result = await authenticate(request);
  if (!result.ok) throw new RefusalError(result.code, result.message);
  await refuseRevoked(node, result.user);
  return result.user;
}

/** A revocation that came while this client was let in did not find its session: asked again. */
export async function refuseLate(
  node: ParleyNode,
  { session, result }: Connected,
  connection: Connection,
): Promise<void> {
  try {
    await refuseRevoked(node, session.user);
  } catch (error) {
    // Why not for good when the store is away: the client comes back to the session that it had.
    node.disconnected(session, connection, result !== "session" || error instanceof RefusalError);
    throw error;
  }
}

export async function refuseRevoked(node: ParleyNode, user: User): Promise<void> {
  const revocation = await node.lostRights.revocation(user);
  if (revocation?.banned === true) throw new RefusalError("banned", "this user is banned");
  if (revocation !== undefined && user.issuedAt < revocation.issuedBefore) {
    throw new RefusalError("token_revoked", "this token was revoked; get a new one");
  }
}

/**
 * A verdict is for good; what may pass closes the transport, after which stock clients return by themselves. Logged here,
 * since the client may be gone, and nobody hears of it then.
 */
export function verdictOf(error: unknown, { namespace }: Pick<ConnectRequest, "namespace">, log: Log): ConnectVerdict {
  const refusal = refusalOf(error, log);
  const { code, message } = refusal;
  const mayPass = code === "access_unavailable" || refusal.retryAfterMs !== undefined || laterCodes.has(code);
  log("connect_refused", { namespace, code, forGood: !mayPass });
  return mayPass ? { kind: "later", reason: "overloaded" } : { kind: "refused", message, data: refusal };
}

const laterCodes: ReadonlySet<string> = new Set([
  "too_many_connections",
  "overloaded",
  "store_unavailable",
  "outcome_unknown",
  "shutting_down",
  "internal",
]);

/** Maps what was thrown, once, at the edge. What nobody expected is logged and becomes `internal`. */
export function refusalOf(error: unknown, log: Log): Refusal {
  if (error instanceof RefusalError) return error.toRefusal();
  if (error instanceof StoreUnavailable)
    return { code: "store_unavailable", message: "the store is away; try again", retryAfterMs: 1_000 };
  if (error instanceof OutcomeUnknown)
    return { code: "outcome_unknown", message: "the store was lost meanwhile; try again", retryAfterMs: 1_000 };
  log("request_failed", { error: error instanceof Error ? `${error.name}: ${error.message}` : "not an Error" });
  return { code: "internal", message: "the server failed to handle this; it was logged" };
}
