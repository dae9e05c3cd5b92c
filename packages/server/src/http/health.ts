import type { FastifyInstance } from "fastify";

export type Readiness = { readonly ready: true } | { readonly ready: false; readonly reason: string };

/** `/health/live`: the process answers. `/health/ready`: clients may be sent here; 503 with the reason when not. */
export function registerHealth(app: FastifyInstance, readiness: () => Readiness | Promise<Readiness>): void {
  app.get("/health/live", { schema: { hide: true } }, () => ({ status: "ok" }));
  app.get("/health/ready", { schema: { hide: true } }, async (_request, reply) => {
    const state = await readiness();
    return state.ready ? { status: "ok" } : reply.code(503).send({ status: "unavailable", reason: state.reason });
  });
}
