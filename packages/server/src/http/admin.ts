import { RefusalError } from "@parley/protocol";
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import type { AdminSessions } from "../gateway/admin-session.ts";
import { refuseInvalid } from "./refusals.ts";

const ticketSchema = z.strictObject({ ticket: z.string().min(1).max(2_048) });

/** `POST /admin/session {ticket}` → `{token, expiresAt}`: the one-time link's ticket for a session; `expiresAt` ISO 8601. */
export function registerAdminSession(app: FastifyInstance, adminSessions: AdminSessions): void {
  app.post("/admin/session", { schema: { hide: true } }, async (request, reply) => {
    const body = ticketSchema.safeParse(request.body);
    if (!body.success) throw refuseInvalid("body", body.error);
    const session = await adminSessions.redeem(body.data.ticket);
    if (!session.ok) throw new RefusalError(session.code, session.message);
    reply.header("cache-control", "no-store");
    return { token: session.token, expiresAt: new Date(session.expiresAt).toISOString() };
  });
}
