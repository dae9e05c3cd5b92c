import { createServer, request as httpRequest } from "node:http";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type HttpNode, startHttpNode } from "../../../../test/support/http-node.ts";
import { ConfigError } from "../config.ts";
import { systemClock } from "../core/clock.ts";
import { createTokenVerifier } from "../gateway/token-verifier.ts";

let node: HttpNode;

beforeEach(async () => {
  node = await startHttpNode();
});

afterEach(() => node[Symbol.asyncDispose]());

const refusal = (code: string, message: string) => ({
  error: expect.objectContaining({ code, message: expect.stringContaining(message) }),
});

test("health says whether the node lives, and whether clients may come", async () => {
  expect(await node.call("/health/live", { key: null })).toMatchObject({ status: 200, json: { status: "ok" } });
  expect(await node.call("/health/ready", { key: null })).toMatchObject({ status: 200, json: { status: "ok" } });
  node.setUnready("store_unavailable");
  expect(await node.call("/health/ready", { key: null })).toMatchObject({
    status: 503,
    json: { status: "unavailable", reason: "store_unavailable" },
  });
  expect(await node.call("/health/live", { key: null })).toMatchObject({ status: 200 });
});

test("a client that offers HTTP/2 beside its request is answered all the same", async () => {
  // As the gateway does.
  for (const server of node.attached) server.on("upgrade", (_request, wire) => wire.destroy());
  const headers = { connection: "Upgrade, HTTP2-Settings", upgrade: "h2c", "http2-settings": "AAMAAABkAAQAoAAA" };
  expect(await fetchAs(`${node.internalUrl}/health/live`, headers)).toEqual({ status: 200, body: '{"status":"ok"}' });
  expect(await fetchAs(`${node.publicUrl}/`, headers)).toEqual({ status: 200, body: "content of index.html" });
});

test("metrics show what was reported and what the node counts", async () => {
  node.metrics.storeCommitted(0.0012, 5);
  node.metrics.disconnected("ping_timeout");
  node.metrics.recovered("session");
  node.metrics.requested("send_message", "ok");
  await node.call("/health/live");
  const response = await fetch(`${node.internalUrl}/metrics`);
  const text = await response.text();
  expect(response.headers.get("content-type")).toContain("text/plain");
  for (const line of [
    'parley_store_commit_seconds_bucket{le="0.001"} 0',
    'parley_store_commit_seconds_bucket{le="0.0015"} 1',
    "parley_store_appended_total 5",
    'parley_disconnects_total{reason="ping_timeout"} 1',
    'parley_recovery_total{result="session"} 1',
    'parley_requests_total{event="send_message",outcome="ok"} 1',
    'parley_http_requests_total{route="/health/live",status="200"} 1',
    "parley_connections 3",
    "parley_sockets 4",
    "parley_feeds 1",
    "parley_subscribers 5",
    "parley_entries_delivered_total 21",
    'parley_build_info{version="1.2.3"',
    'parley_event_loop_delay_seconds{quantile="0.99"}',
    "parley_process_resident_memory_bytes ",
  ]) {
    expect(text).toContain(line);
  }
  const names = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = "", type = ""]) => ({ name, type }));
  expect(names.filter(({ name }) => !name.startsWith("parley_"))).toEqual([]);
  expect(names.filter(({ name, type }) => name.endsWith("_total") !== (type === "counter"))).toEqual([]);
});

describe("pages", () => {
  test("each port serves its own page and the shared assets, with headers that protect them", async () => {
    const { publicUrl, internalUrl } = node;
    const chat = await fetch(`${publicUrl}/`);
    expect(await chat.text()).toBe("content of index.html");
    expect(chat.headers.get("content-security-policy")).toContain("default-src 'self'");
    expect(chat.headers.get("cache-control")).toBe("no-cache");
    expect(await (await fetch(`${internalUrl}/admin`)).text()).toBe("content of admin.html");
    for (const route of ["/", "/admin/"])
      expect((await fetch(`${internalUrl}${route}`)).url).toBe(`${internalUrl}/admin`);
    const asset = await fetch(`${internalUrl}/assets/app-1234.js`);
    expect(asset.headers.get("cache-control")).toContain("immutable");
    expect((await fetch(`${publicUrl}/icon.svg`)).headers.get("content-type")).toContain("svg");
  });

  test("[IN-1] nothing else is served", async () => {
    const { publicUrl, internalUrl } = node;
    for (const url of [
      `${publicUrl}/admin.html`,
      `${publicUrl}/admin`,
      `${publicUrl}/api/v1/rooms`,
      `${publicUrl}/metrics`,
      `${publicUrl}/health/live`,
      `${publicUrl}/..%2f..%2fetc%2fpasswd`,
      `${publicUrl}/assets/`,
      `${publicUrl}/%00`,
      `${internalUrl}/index.html`,
      `${internalUrl}/dev/session`,
    ]) {
      const response = await fetch(url);
      expect([400, 404]).toContain(response.status);
      expect(await response.text()).not.toContain("content of");
    }
  });

  test("the gateway is put on both servers before they listen", () => {
    expect(node.attached).toHaveLength(2);
  });
});

function fetchAs(url: string, headers: Record<string, string>): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { headers }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    });
    request.on("error", reject).end();
  });
}

describe("development tokens", () => {
  test("are given to the page, and are good", async () => {
    const response = await fetch(`${node.publicUrl}/dev/session`);
    const session = Object.assign({ roomId: "", users: [{ userId: "", token: "" }] }, await response.json());
    expect(session.roomId).toBe("room-123");
    const verifier = createTokenVerifier(node.config.auth, systemClock);
    const users = await Promise.all(session.users.map((user: { token: string }) => verifier.verify(user.token)));
    expect(users).toMatchObject([
      { ok: true, user: { id: "alice" } },
      { ok: true, user: { id: "bob" } },
    ]);
    expect(response.headers.get("cache-control")).toBe("no-store");
  });

  test("are refused to a page under another name, and behind a proxy", async () => {
    const url = `${node.publicUrl}/dev/session`;
    for (const headers of [
      { host: "evil.example" },
      { host: "chat.example:3000" },
      { "x-forwarded-for": "10.0.0.1" },
    ]) {
      const { status, body } = await fetchAs(url, headers);
      expect(status).toBe(403);
      expect(JSON.parse(body)).toEqual(refusal("forbidden", "127.0.0.1"));
    }
    expect((await fetchAs(url, { host: "localhost:3000" })).status).toBe(200);
  });

  test("do not exist in production mode", async () => {
    await using production = await startHttpNode({ mode: "production" });
    expect((await fetch(`${production.publicUrl}/dev/session`)).status).toBe(404);
  });
});

test("a busy port names its setting, and leaves nothing open", async () => {
  const busy = createServer();
  await new Promise<void>((resolve) => busy.listen(0, "127.0.0.1", resolve));
  const address = busy.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const problem = await startHttpNode({ overrides: { server: { port } } }).catch((error: unknown) => error);
  expect(problem).toBeInstanceOf(ConfigError);
  expect(String(problem)).toContain(`port ${port} on 127.0.0.1 is in use; set PARLEY_SERVER_PORT`);
  const host = await startHttpNode({ overrides: { server: { host: "192.0.2.1" } }, mode: "production" }).catch(
    (error: unknown) => error,
  );
  expect(String(host)).toContain("PARLEY_SERVER_HOST");
  await new Promise((resolve) => busy.close(resolve));
});
