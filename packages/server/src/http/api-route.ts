import { idempotencyKeySchema } from "@parley/protocol";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { type CallerCheck, idempotencyOf } from "./api-key.ts";
import { refuseInvalid } from "./refusals.ts";

/** One route of the API. `serve` takes what was sent, unchecked, and gives the answer. */
export interface ApiRoute {
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  /** Below `/api/v1`. */
  readonly path: string;
  /** JSON Schemas for OpenAPI. */
  readonly schema: Readonly<Record<string, unknown>>;
  serve(sent: Sent): Promise<unknown>;
}

interface Sent {
  readonly params: unknown;
  readonly query: unknown;
  readonly body: unknown;
  readonly key: string | undefined;
}

interface RouteDefinition<Params extends z.ZodType, Query extends z.ZodType, Body extends z.ZodType> {
  readonly method: ApiRoute["method"];
  readonly path: string;
  readonly summary: string;
  readonly tag: string;
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
  /** Writes that take `Idempotency-Key`. */
  readonly idempotent?: boolean;
  /** Of a success; null answers 204. */
  readonly answer: z.ZodType | null;
  readonly handle: (request: {
    params: z.output<Params>;
    query: z.output<Query>;
    body: z.output<Body>;
    /** `{key}` or nothing, to be spread into the operation. */
    idempotency: { key?: string };
  }) => unknown;
}

const refusalSchema = z.object({
  error: z.object({ code: z.string(), message: z.string(), retryAfterMs: z.number().optional() }),
});

export const noBody = z.unknown();

/** A route whose handler gets checked values. Errors: `serve` rejects with `bad_request` for others. */
export function defineRoute<Params extends z.ZodType, Query extends z.ZodType, Body extends z.ZodType>(
  definition: RouteDefinition<Params, Query, Body>,
): ApiRoute {
  const { method, path, params, query, body, handle } = definition;
  return {
    method,
    path,
    schema: describeRoute(definition),
    async serve(sent) {
      return handle({
        params: check("path", params, sent.params),
        query: check("query", query, sent.query),
        body: check("body", body, sent.body),
        idempotency: sent.key === undefined ? {} : { key: sent.key },
      });
    },
  };
}

function check<Schema extends z.ZodType>(where: string, schema: Schema, value: unknown): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw refuseInvalid(where, parsed.error);
  return parsed.data;
}

function describeRoute(definition: RouteDefinition<z.ZodType, z.ZodType, z.ZodType>): Record<string, unknown> {
  const { body, answer, idempotent } = definition;
  const headers = {
    type: "object",
    properties: {
      "idempotency-key": {
        ...jsonSchemaOf(idempotencyKeySchema),
        description: "A repeat under the same key is done once",
      },
    },
  };
  return {
    summary: definition.summary,
    tags: [definition.tag],
    params: jsonSchemaOf(definition.params),
    querystring: jsonSchemaOf(definition.query),
    ...(body === noBody ? {} : { body: jsonSchemaOf(body) }),
    ...(idempotent === true ? { headers } : {}),
    response: {
      ...(answer === null ? { 204: { type: "null", description: "Done" } } : { 200: jsonSchemaOf(answer) }),
      default: jsonSchemaOf(refusalSchema),
    },
  };
}

function jsonSchemaOf(schema: z.ZodType): Record<string, unknown> {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" });
  return rest;
}

/** Registers routes below `/api/v1`, each for callers with a key only. */
export function registerRoutes(app: FastifyInstance, routes: readonly ApiRoute[], checkCaller: CallerCheck): void {
  for (const route of routes) {
    app.route({
      method: route.method,
      url: `/api/v1${route.path}`,
      schema: route.schema,
      // Before the body is read: who may not call sends nothing.
      onRequest: async (request) => {
        request.caller = await checkCaller(request.headers);
      },
      handler: async (request, reply) => {
        const answer = await route.serve(sentOf(request));
        return answer === undefined ? reply.code(204).send() : answer;
      },
    });
  }
}

function sentOf(request: FastifyRequest): Sent {
  const { params, query, body, headers, caller } = request;
  return { params, query, body, key: idempotencyOf(headers, caller) };
}

declare module "fastify" {
  interface FastifyRequest {
    /** Set before an API route is served; empty elsewhere. */
    caller: string;
  }
}
