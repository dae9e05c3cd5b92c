import { errorCodes, type Refusal, RefusalError } from "@parley/protocol";
import type { FastifyError, FastifyInstance, FastifyReply } from "fastify";
import { z } from "zod";
import type { Log } from "../log.ts";
import { OutcomeUnknown, StoreUnavailable } from "../store/store.ts";

const fastifyErrorSchema = z.object({
  code: z.string().default(""),
  statusCode: z.number().optional(),
  status: z.number().optional(),
  message: z.string(),
});

const messages: Readonly<Record<string, Refusal>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: {
    code: "payload_too_large",
    message: "the body is larger than PARLEY_LIMITS_PAYLOAD_BYTES_MAX",
  },
  FST_ERR_CTP_INVALID_MEDIA_TYPE: {
    code: "bad_request",
    message: "send JSON, with the header Content-Type: application/json",
  },
  FST_ERR_CTP_INVALID_JSON_BODY: { code: "bad_request", message: "the body is no JSON" },
};

const nothingHere: Refusal = { code: "not_found", message: "there is nothing here" };

/** The refusal that an error stands for; undefined for one that nobody expected. */
function refusalOf(error: unknown): Refusal | undefined {
  if (error instanceof RefusalError) return error.toRefusal();
  if (error instanceof StoreUnavailable)
    return { code: "store_unavailable", message: "the store is away; repeat the request later" };
  if (error instanceof OutcomeUnknown) {
    return {
      code: "outcome_unknown",
      message: "it may have been committed or not; repeat it under the same Idempotency-Key",
    };
  }
  const framework = fastifyErrorSchema.safeParse(error);
  if (!framework.success) return undefined;
  const known = Object.hasOwn(messages, framework.data.code) ? messages[framework.data.code] : undefined;
  if (known !== undefined) return known;
  const status = framework.data.statusCode ?? framework.data.status ?? 500;
  // What the static files answer for folders and paths that lead out of them: there is nothing to see either way.
  if (status === 403 || status === 404) return nothingHere;
  return status >= 400 && status < 500 ? { code: "bad_request", message: framework.data.message } : undefined;
}

/** What was given does not satisfy its schema. `where`: `body`, `query`, … */
export function refuseInvalid(where: string, error: z.ZodError): RefusalError {
  const [issue] = error.issues;
  const path = [where, ...(issue?.path ?? []).map(String)].join(".");
  return new RefusalError("bad_request", `${path}: ${issue?.message ?? "not of the form expected"}`);
}

export function sendRefusal(reply: FastifyReply, refusal: Refusal): FastifyReply {
  if (refusal.retryAfterMs !== undefined) reply.header("retry-after", Math.ceil(refusal.retryAfterMs / 1_000));
  return reply.code(errorCodes[refusal.code].http).type("application/json").send({ error: refusal });
}

/** Every refusal leaves as `{error: {code, message}}`; an unexpected error is logged, without what was sent. */
export function mapErrors(app: FastifyInstance, log: Log): void {
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const refusal = refusalOf(error);
    if (refusal === undefined) {
      log.error({ method: request.method, route: request.routeOptions.url ?? "", error }, "http_internal_error");
    }
    return sendRefusal(reply, refusal ?? { code: "internal", message: "the server failed; its log says more" });
  });
  app.setNotFoundHandler((_request, reply) => sendRefusal(reply, nothingHere));
}
