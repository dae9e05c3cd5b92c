import { adminEvents, parse, RefusalError } from "@parley/protocol";
import { newSecret } from "../core/ids.ts";
import type { ParleyNode } from "../core/node.ts";
import type { Operations } from "../core/operations.ts";
import type { RequestRates, TokenBucket } from "../core/rate-limit.ts";
import type { Authenticator } from "./authenticate.ts";
import type { User } from "./connection.ts";
import { authenticated, refusalOf, refuseRevoked, verdictOf } from "./admission.ts";
import type {
  ConnectRequest,
  ConnectVerdict,
  Log,
  NamespaceClient,
  NamespaceHandler,
  NamespaceSocket,
  Reply,
} from "./namespace.ts";

/** This node in or out of service, while its process stays. Both are harmless when repeated. */
export interface Service {
  /** Takes no more clients, and moves those there are elsewhere. */
  drain(): void;
  undrain(): void;
}

export interface AdminOptions {
  readonly node: ParleyNode;
  readonly operations: Operations;
  readonly service: Service;
  readonly authenticate: Authenticator;
  readonly rates: RequestRates;
  readonly log: Log;
}

const adminRole = "admin";

/** Namespace `/admin`: for users with the role `admin`, who prove it to this namespace itself. */
export function adminNamespace(options: AdminOptions): NamespaceHandler {
  return {
    async connect(request: ConnectRequest): Promise<ConnectVerdict> {
      const { node, authenticate, log } = options;
      try {
        const { revocations } = node.lostRights;
        const user = await authenticated(authenticate, node, request);
        // A revocation that came meanwhile would not find this connection.
        if (node.lostRights.revocations !== revocations) await refuseRevoked(node, user);
        if (!user.roles.includes(adminRole)) {
          throw new RefusalError(
            "forbidden",
            "the namespace /admin takes the role admin in the token (auth.rolesClaim)",
          );
        }
        const sid = newSecret();
        log("admin_connected", { socket: sid, user: user.id });
        return { kind: "accepted", sid, pid: null, socket: new AdminSocket(options, user, request.client) };
      } catch (error) {
        return verdictOf(error, request, log);
      }
    },
  };
}

class AdminSocket implements NamespaceSocket {
  readonly #options: AdminOptions;
  readonly #user: User;
  readonly #client: NamespaceClient;
  readonly #bucket: TokenBucket;
  readonly #leave: () => void;

  constructor(options: AdminOptions, user: User, client: NamespaceClient) {
    this.#options = options;
    this.#user = user;
    this.#client = client;
    const { clock } = options.node;
    this.#bucket = options.rates.bucket();
    // Bound: what a timer can wait; an administrator who stays longer connects anew.
    const leftMs = user.expiresAt === null ? 2_147_483_647 : Math.min(user.expiresAt - clock.now(), 2_147_483_647);
    const cancelExpiry = clock.after(leftMs, () => client.connection.close("token_expired"));
    const unattend = options.node.lostRights.attend(user, client.connection);
    this.#leave = () => {
      cancelExpiry();
      unattend();
    };
  }

  opened(): void {}
  onPinged(): void {}
  onAnswered(): void {}

  onDisconnected(): void {
    this.#leave();
    this.#options.log("admin_disconnected", { user: this.#user.id });
  }

  async onEvent([name, ...args]: unknown[], reply: Reply | null): Promise<void> {
    const event = String(name);
    try {
      this.#options.rates.take(this.#bucket, this.#user);
      const answer = await this.#handle(event, args[0]);
      reply?.(answer);
    } catch (thrown) {
      const error = refusalOf(thrown, this.#options.log);
      if (reply === null) this.#client.emit("error", { ...error, event: event.slice(0, 64) });
      else reply({ ok: false, error });
    }
  }

  async #handle(event: string, payload: unknown): Promise<object> {
    const { operations, service } = this.#options;
    const { tenant } = this.#user;
    switch (event) {
      case "broadcast_announcement": {
        const message = parse(adminEvents.broadcast_announcement, payload, event);
        const { id, seq } = await operations.announce({ tenant, message, by: this.#user.id });
        return { ok: true, id, seq };
      }
      case "statistics":
        parse(adminEvents.statistics, payload, event);
        return { ok: true, statistics: operations.statistics() };
      case "kick":
        return {
          ok: true,
          connections: await operations.disconnectUser({ tenant, userId: this.#userIn(event, payload) }),
        };
      case "ban": {
        const ban = { tenant, userId: this.#userIn(event, payload), banned: true };
        return { ok: true, connections: await operations.revokeUser(ban) };
      }
      case "unban":
        await operations.unbanUser({ tenant, userId: this.#userIn(event, payload) });
        return { ok: true };
      case "drain":
      case "undrain":
        parse(adminEvents[event], payload, event);
        this.#options.log("admin_order", { order: event, by: this.#user.id });
        service[event]();
        return { ok: true, draining: event === "drain" };
      default:
        throw new RefusalError("unknown_event", `/admin has no event ${JSON.stringify(event.slice(0, 64))}`);
    }
  }

  /** Whom an order is about; the log says who gave it. */
  #userIn(order: "kick" | "ban" | "unban", payload: unknown): string {
    const { userId } = parse(adminEvents[order], payload, order);
    this.#options.log("admin_order", { order, user: userId, by: this.#user.id });
    return userId;
  }
}
