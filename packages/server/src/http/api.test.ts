import { errorCodes, RefusalError } from "@parley/protocol";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  type Call,
  committed,
  description,
  type HttpNode,
  key,
  startHttpNode,
  statistics,
} from "../../../../test/support/http-node.ts";
import { OutcomeUnknown, StoreUnavailable } from "../store/store.ts";

let node: HttpNode;

beforeEach(async () => {
  node = await startHttpNode();
});

afterEach(() => node[Symbol.asyncDispose]());

const refusal = (code: string, message: string) => ({
  error: expect.objectContaining({ code, message: expect.stringContaining(message) }),
});

describe("each route of the API calls its operation:", () => {
  test.each<[string, string, unknown, string, unknown]>([
    [
      "POST",
      "/rooms/room-1/publish",
      { event: "e", data: { a: 1 } },
      "publish",
      { roomId: "room-1", event: "e", data: { a: 1 } },
    ],
    [
      "POST",
      "/rooms/room-1/messages",
      { userId: "ann", text: "hi" },
      "sendMessage",
      { roomId: "room-1", userId: "ann", text: "hi" },
    ],
    [
      "POST",
      "/rooms/r/messages?tenant=acme",
      { userId: "ann", text: "hi", data: null },
      "sendMessage",
      { tenant: "acme", roomId: "r", userId: "ann", text: "hi", data: null },
    ],
    [
      "POST",
      "/users/42/notify",
      { event: "invoice_paid", data: [1] },
      "notifyUser",
      { userId: "42", event: "invoice_paid", data: [1] },
    ],
    ["POST", "/announce", { message: "noon" }, "announce", { message: "noon" }],
    ["PUT", "/rooms/r", { access: "public" }, "putRoom", { roomId: "r", access: "public" }],
    ["PUT", "/rooms/r", undefined, "putRoom", { roomId: "r" }],
    ["GET", "/rooms/a%2Fb%20%E2%82%AC", undefined, "room", { roomId: "a/b €" }],
    ["GET", "/rooms?after=a&limit=2", undefined, "rooms", { after: "a", limit: 2 }],
    ["DELETE", "/rooms/r", undefined, "deleteRoom", { roomId: "r" }],
    [
      "PUT",
      "/rooms/r/members/ann",
      { role: "reader" },
      "setMembership",
      { roomId: "r", userId: "ann", role: "reader" },
    ],
    ["DELETE", "/rooms/r/members/ann", undefined, "setMembership", { roomId: "r", userId: "ann", role: null }],
    ["GET", "/rooms/r/members", undefined, "members", { roomId: "r", limit: 100 }],
    ["GET", "/rooms/r/history?before=9&limit=3", undefined, "history", { roomId: "r", before: 9, limit: 3 }],
    ["GET", "/rooms/r/presence?tenant=acme", undefined, "presence", { roomId: "r", tenant: "acme" }],
    ["POST", "/users/ann/disconnect", undefined, "disconnectUser", { userId: "ann" }],
    ["POST", "/users/ann/revoke", { banned: true }, "revokeUser", { userId: "ann", banned: true }],
    ["POST", "/users/ann/unban", undefined, "unbanUser", { userId: "ann" }],
    ["POST", "/users/ann/access-changed", { roomId: "r" }, "accessChanged", { userId: "ann", roomId: "r" }],
  ])("%s %s", async (method, route, body, operation, argument) => {
    const { status } = await node.call(`/api/v1${route}`, { method, ...(body === undefined ? {} : { body }) });
    expect([200, 204]).toContain(status);
    expect(node.calls).toEqual([[operation, argument]]);
  });

  test("and answers with its result", async () => {
    expect(await node.call("/api/v1/announce", { method: "POST", body: { message: 1 } })).toMatchObject({
      status: 200,
      json: committed,
    });
    expect(await node.call("/api/v1/rooms/r", { method: "DELETE" })).toMatchObject({ status: 204, json: undefined });
    expect(await node.call("/api/v1/rooms")).toMatchObject({ json: { rooms: [description], next: null } });
    expect(await node.call("/api/v1/rooms?limit=1")).toMatchObject({ json: { next: "r" } });
    expect(await node.call("/api/v1/rooms/r/members?limit=1")).toMatchObject({
      json: { members: [{ userId: "ann" }], next: "ann" },
    });
    expect(await node.call("/api/v1/rooms/r/members")).toMatchObject({ json: { next: null } });
    expect(await node.call("/api/v1/users/ann/disconnect", { method: "POST" })).toMatchObject({
      json: { connections: 2 },
    });
    expect(await node.call("/api/v1/statistics")).toMatchObject({ json: statistics });
  });
});

describe("[IN-1] bad input is refused with a code, and calls nothing:", () => {
  const post = (body: unknown, route = "/rooms/r/publish") => node.call(`/api/v1${route}`, { method: "POST", body });

  test("bodies, queries and names", async () => {
    const cases: [ReturnType<HttpNode["call"]>, string][] = [
      [post({ event: "e" }), "body.data: is missing"],
      [post({ event: "e" }, "/users/ann/notify"), "body.data: is missing"],
      [post({}, "/announce"), "body.message: is missing"],
      [post({ event: "", data: 1 }), "body.event"],
      [post({ event: "e", data: 1, more: 1 }), "body"],
      [post({ event: "e\n", data: 1 }), "control character"],
      [post("[1, 2"), "no JSON"],
      [post('{"event": "e", "data": {"__proto__": {}}}'), ""],
      [post(`{"event": "e", "data": ${"[".repeat(100)}${"]".repeat(100)}}`), "levels"],
      [post('{"event": "e", "data": "\\ud800"}'), "body.data"],
      [post({ event: "e", data: 1 }, "/rooms/@user:42/publish"), "kept for the server"],
      [post({ event: "e", data: 1 }, `/rooms/${"x".repeat(129)}/publish`), "longer than"],
      [post({ event: "e", data: 1 }, "/rooms/r/publish?tenant=a%2Fb"), "query.tenant"],
      [post({ event: "e", data: 1 }, "/rooms/r/publish?what=1"), "query"],
      [post({ event: "e", data: 1 }, "/rooms/%/publish"), "path"],
      [post({ event: "e", data: 1 }, "/rooms/%0a/publish"), "control character"],
      [node.call("/api/v1/rooms/r/history?limit=1000"), "query.limit"],
      [node.call("/api/v1/rooms/r/history?before=1&after=2"), "not both"],
      [
        node.call("/api/v1/announce", {
          method: "POST",
          body: "message=1",
          headers: { "content-type": "application/x-www-form-urlencoded" },
        }),
        "Content-Type",
      ],
      [node.call("/api/v1/announce", { method: "POST" }), "body"],
    ];
    for (const [answer, message] of cases)
      expect(await answer).toMatchObject({ status: 400, json: refusal("bad_request", message) });
    expect(node.calls).toEqual([]);
  });

  test("a body that is too large", async () => {
    const body = { event: "e", data: "x".repeat(1_000_001) };
    expect(await post(body)).toMatchObject({
      status: 413,
      json: refusal("payload_too_large", "PARLEY_LIMITS_PAYLOAD_BYTES_MAX"),
    });
  });

  test("a route that does not exist", async () => {
    for (const route of ["/api/v1/nothing", "/api/v1/__proto__", "/constructor", "/admin/session"]) {
      expect(await node.call(route)).toMatchObject({ status: 404, json: refusal("not_found", "") });
    }
  });
});

describe("the key", () => {
  test("may be sent as a bearer token or as X-API-Key", async () => {
    expect((await node.call("/api/v1/rooms/r", { key: "another-key-0123456789" })).status).toBe(200);
    expect((await node.call("/api/v1/rooms/r", { key: null, headers: { "x-api-key": key } })).status).toBe(200);
  });

  test.each([
    [null, "Authorization: Bearer"],
    ["wrong-key-0123456789", "PARLEY_API_KEYS"],
    [`${key}x`, "PARLEY_API_KEYS"],
  ])("is needed: %s is refused before anything is read", async (wrong, message) => {
    const answer = await node.call("/api/v1/announce", { method: "POST", body: "no JSON", key: wrong });
    expect(answer).toMatchObject({ status: 401, json: refusal("unauthorized", message) });
    expect(node.calls).toEqual([]);
  });

  test("is refused by a server that has none, which says how to set one", async () => {
    await using keyless = await startHttpNode({ overrides: { api: { keys: [] } } });
    expect(await keyless.call("/api/v1/rooms/r")).toMatchObject({
      status: 401,
      json: refusal("unauthorized", "set PARLEY_API_KEYS"),
    });
  });

  test("may be an administrator's session token, not a ticket", async () => {
    const ticket = await node.adminSessions.createTicket();
    expect((await node.call("/api/v1/rooms/r", { key: ticket })).status).toBe(401);
    const { json } = await node.call("/admin/session", { method: "POST", body: { ticket }, key: null });
    expect(json).toMatchObject({ token: expect.any(String), expiresAt: expect.stringMatching(/Z$/) });
    const { token } = Object.assign({ token: "" }, json);
    expect((await node.call("/api/v1/rooms/r", { key: token })).status).toBe(200);
    expect((await node.call("/admin/session", { method: "POST", body: { ticket }, key: null })).status).toBe(401);
  });
});

describe("[LOG-3] Idempotency-Key", () => {
  async function keyOf(options: Call): Promise<unknown> {
    await node.call("/api/v1/rooms/r/publish", { method: "POST", body: { event: "e", data: 1 }, ...options });
    const argument = node.calls.at(-1)?.[1];
    return Object.assign({ key: undefined }, argument).key;
  }

  test("names the same write for the same caller, and another for another", async () => {
    const first = await keyOf({ headers: { "idempotency-key": "order-1" } });
    expect(first).toMatch(/^[\w-]{43}$/);
    expect(await keyOf({ headers: { "idempotency-key": "order-1" } })).toBe(first);
    expect(await keyOf({ headers: { "idempotency-key": "order-2" } })).not.toBe(first);
    expect(await keyOf({ headers: { "idempotency-key": "order-1" }, key: "another-key-0123456789" })).not.toBe(first);
    expect(await keyOf({})).toBeUndefined();
  });

  test.each([
    ["POST", "/rooms/r/publish", { event: "e", data: 1 }],
    ["POST", "/rooms/r/messages", { userId: "ann", text: "hello" }],
    ["POST", "/users/ann/notify", { event: "e", data: 1 }],
    ["PUT", "/rooms/r/members/ann", { role: "reader" }],
    ["DELETE", "/rooms/r/members/ann", undefined],
  ])("[LOG-3] reaches %s %s, too", async (method, route, body) => {
    const headers = { "idempotency-key": "order-1" };
    await node.call(`/api/v1${route}`, { method, headers, ...(body === undefined ? {} : { body }) });
    expect(node.calls.at(-1)?.[1]).toHaveProperty("key", await keyOf({ headers }));
  });

  test.each(["", "x".repeat(65), "with space"])("of another form is refused: %j", async (bad) => {
    const answer = await node.call("/api/v1/announce", {
      method: "POST",
      body: { message: 1 },
      headers: { "idempotency-key": bad },
    });
    expect(answer).toMatchObject({ status: 400, json: refusal("bad_request", "Idempotency-Key") });
  });
});

describe("refusals", () => {
  test.each(Object.entries(errorCodes))("%s has its status", async (code, { http }) => {
    node.fail(Object.assign(new RefusalError("bad_request", "why", 1_500), { code }));
    const answer = await node.call("/api/v1/rooms/r");
    expect(answer).toMatchObject({ status: http, json: { error: { code, message: "why", retryAfterMs: 1_500 } } });
    expect(answer.headers.get("retry-after")).toBe("2");
  });

  test("a lost store is retryable", async () => {
    node.fail(new StoreUnavailable("disk full"));
    expect(await node.call("/api/v1/rooms/r")).toMatchObject({ status: 503, json: refusal("store_unavailable", "") });
    node.fail(new OutcomeUnknown("worker died"));
    expect(await node.call("/api/v1/rooms/r")).toMatchObject({
      status: 503,
      json: refusal("outcome_unknown", "Idempotency-Key"),
    });
  });

  test("[IN-1] what nobody expected is logged without the body, and told to nobody", async () => {
    node.fail(Object.assign(new Error("cannot read hunter2"), { code: "ENOENT" }));
    const body = { event: "e", data: "a private text" };
    const answer = await node.call("/api/v1/rooms/r/publish", { method: "POST", body });
    expect(answer).toMatchObject({ status: 500, json: refusal("internal", "") });
    expect(JSON.stringify(answer.json)).not.toContain("hunter2");
    expect(node.lines).toHaveLength(1);
    expect(node.lines[0]).toContain("http_internal_error");
    expect(node.lines[0]).not.toContain("a private text");
    expect(node.lines[0]).not.toContain(key);
  });
});

test("OpenAPI describes every route", async () => {
  const { json } = await node.call("/api/openapi.json", { key: null });
  const { openapi, paths } = Object.assign({ openapi: "", paths: {} }, json);
  expect(openapi).toBe("3.1.0");
  expect(Object.keys(paths).toSorted()).toEqual([
    "/api/v1/announce",
    "/api/v1/rooms",
    "/api/v1/rooms/{room}",
    "/api/v1/rooms/{room}/history",
    "/api/v1/rooms/{room}/members",
    "/api/v1/rooms/{room}/members/{user}",
    "/api/v1/rooms/{room}/messages",
    "/api/v1/rooms/{room}/presence",
    "/api/v1/rooms/{room}/publish",
    "/api/v1/statistics",
    "/api/v1/users/{user}/access-changed",
    "/api/v1/users/{user}/disconnect",
    "/api/v1/users/{user}/notify",
    "/api/v1/users/{user}/revoke",
    "/api/v1/users/{user}/unban",
  ]);
  expect(paths).toMatchObject({
    "/api/v1/rooms/{room}/publish": {
      post: {
        requestBody: { content: { "application/json": { schema: { required: ["event", "data"] } } } },
        parameters: expect.arrayContaining([
          expect.objectContaining({
            name: "idempotency-key",
            schema: expect.objectContaining({ minLength: 1, maxLength: 64, pattern: "^[\\x21-\\x7e]+$" }),
          }),
        ]),
      },
    },
  });
});
