import * as fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { resolveConfig } from "../packages/server/src/config.ts";
import { createTokenVerifier } from "../packages/server/src/gateway/token-verifier.ts";
import { type HttpNode, startHttpNode } from "./support/http-node.ts";
import { SimulatedClock } from "./support/simulated-clock.ts";

let node: HttpNode;

beforeAll(async () => {
  node = await startHttpNode();
});

afterAll(() => node[Symbol.asyncDispose]());

const hostile = fc.constantFrom(
  "__proto__",
  "constructor",
  "toString",
  "@user:42",
  "\u0000",
  "\ud800",
  "../..",
  "a\nb",
  "",
);
const word = fc.oneof(hostile, fc.string({ maxLength: 200 }));
const routes = fc.oneof(
  fc.record({
    method: fc.constant("POST"),
    parts: fc.tuple(fc.constant("rooms"), word, fc.constantFrom("publish", "messages")),
  }),
  fc.record({
    method: fc.constant("POST"),
    parts: fc.tuple(fc.constant("users"), word, fc.constantFrom("notify", "revoke", "disconnect", "access-changed")),
  }),
  fc.record({
    method: fc.constantFrom("PUT", "GET", "DELETE"),
    parts: fc.tuple(fc.constant("rooms"), word, fc.constant("members"), word),
  }),
  fc.record({ method: fc.constantFrom("PUT", "GET", "DELETE", "POST"), parts: fc.array(word, { maxLength: 5 }) }),
);
const fields = fc.constantFrom(
  "event",
  "data",
  "userId",
  "text",
  "message",
  "role",
  "access",
  "retainEntriesMax",
  "banned",
  "roomId",
);
const bodies = fc.oneof(
  fc.json(),
  fc.dictionary(fc.oneof(fields, word), fc.jsonValue()).map((body) => JSON.stringify(body)),
  fc.string(),
);

test("[IN-1] whatever is sent to the API, the answer is a success or a coded refusal", async () => {
  const request = fc.record({ route: routes, body: bodies, query: fc.oneof(fc.constant(""), word) });
  await fc.assert(
    fc.asyncProperty(request, async ({ route: { method, parts }, body, query }) => {
      const path = parts.map((part) => encodeURIComponent(part.toWellFormed())).join("/");
      const search =
        query === "" ? "" : `?${encodeURIComponent(query.toWellFormed())}=${encodeURIComponent(query.toWellFormed())}`;
      const sent = method === "GET" ? { method } : { method, body };
      const { status, json } = await node.call(`/api/v1/${path}${search}`, sent);
      const refused = { error: { code: expect.stringMatching(/^[a-z_]+$/), message: expect.any(String) } };
      expect(status).toBeLessThan(500);
      expect(status < 300 ? {} : json).toEqual(status < 300 ? {} : refused);
    }),
    { numRuns: 500 },
  );
  expect(node.lines).toEqual([]);
  expect((await node.call("/health/live")).status).toBe(200);
});

test("[IN-1] whatever a token looks like, it is refused with a code and nothing is thrown", async () => {
  const secret = "kP3vX9qLw7Zr2TnB8sYd5Gh1JmC6fAe4";
  const { auth } = resolveConfig({ mode: "development", overrides: { auth: { secret } } });
  const verifier = createTokenVerifier(auth, new SimulatedClock());
  const part = fc.oneof(
    fc.string(),
    fc.json().map((json) => Buffer.from(json).toString("base64url")),
    fc.base64String(),
  );
  const token = fc.oneof(
    fc.anything(),
    fc.string(),
    fc.array(part, { minLength: 2, maxLength: 5 }).map((parts) => parts.join(".")),
  );
  await fc.assert(
    fc.asyncProperty(token, async (value) => {
      const result = await verifier.verify(value);
      expect(result).toEqual({ ok: false, code: "unauthorized", message: expect.any(String) });
    }),
    { numRuns: 1_000 },
  );
});
