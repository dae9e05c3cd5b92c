import { once } from "node:events";
import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import { type EchoServer, startEchoServer } from "./support/echo-gateway.ts";
import { type RawFrame, RawPolling, rawFrame, rawRequest, RawWebSocket } from "./support/raw-client.ts";
import { SimulatedTimers } from "./support/simulated-clock.ts";

// Bad input on the wire: a coded end for who sent it, and nothing for anybody else.

/** A well-behaved neighbour, who must not notice. */
async function neighbourWorks(server: EchoServer): Promise<boolean> {
  await using neighbour = await RawWebSocket.join(server.port);
  neighbour.send('427["ask","hello"]');
  expect(await neighbour.text()).toBe('437["hello"]');
  return true;
}

/** Waits until the server has cut the client off: why, and with which close code. Nobody else was harmed. */
async function cut(server: EchoServer, client: RawWebSocket): Promise<{ reason: string; code: number | null }> {
  const code = await client.closed;
  expect(server.closed).toHaveLength(1);
  expect(server.main.disconnected).toEqual(server.closed);
  await neighbourWorks(server);
  return { reason: server.closed.join(), code };
}

describe("binary packets", () => {
  test.each([
    '451-["a",{"_placeholder":true,"num":5}]',
    '451-["a",{"_placeholder":true,"num":-1}]',
    '451-["a",{"_placeholder":true,"num":"0"}]',
    '451-["a",{"_placeholder":true}]',
    '451-{"_placeholder":true,"num":0}',
    "451-",
    '451-["a"',
    '451-["disconnect",{"_placeholder":true,"num":0}]',
    '461-["no id"]',
    '4511["dash"]',
    '450-["a"]',
    '45-["a"]',
    '4599-["a"]',
    '451e1-["a"]',
    '45-1-["a"]',
    "45",
  ])("[IN-1] placeholders and counts that lie: %s", async (packet) => {
    await using server = await startEchoServer();
    await using client = await RawWebSocket.join(server.port);
    client.send(packet);
    client.send(Buffer.from([1]));
    expect(await cut(server, client)).toEqual({ reason: "parse_error", code: 1008 });
    expect(server.main.events).toEqual([["ask", "hello"]]);
  });

  test("[IN-1] an attachment that nobody announced", async () => {
    await using server = await startEchoServer();
    await using client = await RawWebSocket.join(server.port);
    client.send(Buffer.from([1]));
    expect(await cut(server, client)).toMatchObject({ reason: "parse_error" });
  });

  test("[IN-1] a text before the attachments are complete", async () => {
    await using server = await startEchoServer();
    await using client = await RawWebSocket.join(server.port);
    client.send('452-["a",{"_placeholder":true,"num":0}]');
    client.send(Buffer.from([1]));
    client.send('42["b"]');
    expect(await cut(server, client)).toMatchObject({ reason: "parse_error" });
  });

  test("[IN-1] attachments that are never finished end with the connection, which a missed ping ends", async () => {
    const clock = new SimulatedTimers();
    await using server = await startEchoServer({ clock });
    await using client = await RawWebSocket.join(server.port, { manual: true });
    client.send('459-["a",{"_placeholder":true,"num":0}]');
    client.send(Buffer.from([1]));
    await clock.advance(48_000);
    expect(await cut(server, client)).toMatchObject({ reason: "ping_timeout" });
  });

  test("[IN-1] attachments that are too much together", async () => {
    await using server = await startEchoServer({ settings: { attachmentBytesMax: 10_000 } });
    await using client = await RawWebSocket.join(server.port);
    client.send('459-["a",{"_placeholder":true,"num":0}]');
    for (let at = 0; at < 3; at++) client.send(Buffer.alloc(4_000));
    expect(await cut(server, client)).toMatchObject({ reason: "payload_too_large" });
  });
});

describe("frames", () => {
  const frames: [string, RawFrame, number][] = [
    ["RSV1", { opcode: 1, reserved: 4, payload: "6" }, 1002],
    ["RSV2", { opcode: 1, reserved: 2, payload: "6" }, 1002],
    ["RSV3", { opcode: 1, reserved: 1, payload: "6" }, 1002],
    ["a reserved opcode", { opcode: 3, payload: "6" }, 1002],
    ["a reserved control opcode", { opcode: 11, payload: "6" }, 1002],
    ["a continuation of nothing", { opcode: 0, payload: "6" }, 1002],
    ["an unmasked frame", { opcode: 1, payload: "6", masked: false }, 1002],
    ["a fragmented ping", { opcode: 9, fin: false, payload: "6" }, 1002],
    ["a long ping", { opcode: 9, payload: "x".repeat(126) }, 1002],
    ["a close frame of one byte", { opcode: 8, payload: "x" }, 1002],
    ["a close code that must not be sent", { opcode: 8, payload: Buffer.from([0x03, 0xed]) }, 1002],
    ["invalid UTF-8", { opcode: 1, payload: Buffer.from([0x34, 0xc3, 0x28]) }, 1007],
  ];
  test.each(frames)("[IN-1] %s", async (_what, frame, code) => {
    await using server = await startEchoServer();
    await using client = await RawWebSocket.join(server.port);
    client.sendFrame(frame);
    expect(await cut(server, client)).toEqual({ reason: "parse_error", code });
  });

  test("[IN-1] a message that is too large, by its declared size", async () => {
    await using server = await startEchoServer();
    await using client = await RawWebSocket.join(server.port);
    client.sendFrame({ opcode: 1, payload: "x", declaredLength: 1_000_001 });
    expect(await cut(server, client)).toEqual({ reason: "payload_too_large", code: 1009 });
  });

  test("[IN-1] a declared size of 2^53 and more", async () => {
    await using server = await startEchoServer();
    await using client = await RawWebSocket.join(server.port);
    client.socket.write(Buffer.from([0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4]));
    expect(await cut(server, client)).toEqual({ reason: "payload_too_large", code: 1009 });
  });

  test("[IN-1] a message that grows too large in fragments", async () => {
    await using server = await startEchoServer({ settings: { payloadBytesMax: 10_000 } });
    await using client = await RawWebSocket.join(server.port);
    client.sendFrame({ opcode: 1, fin: false, payload: "4" });
    for (let at = 0; at < 11; at++) client.sendFrame({ opcode: 0, fin: false, payload: "x".repeat(1_000) });
    expect(await cut(server, client)).toEqual({ reason: "payload_too_large", code: 1009 });
  });

  test("[IN-1] fragments without end", async () => {
    await using server = await startEchoServer();
    await using client = await RawWebSocket.join(server.port);
    client.sendFrame({ opcode: 1, fin: false, payload: "4" });
    for (let at = 0; at < 1_100; at++) client.sendFrame({ opcode: 0, fin: false });
    expect(await cut(server, client)).toEqual({ reason: "too_many_requests", code: 1008 });
  });

  test("[IN-1] a size that does not come: the heartbeat cuts who cannot answer behind it", async () => {
    const clock = new SimulatedTimers();
    await using server = await startEchoServer({ clock });
    await using client = await RawWebSocket.join(server.port);
    client.sendFrame({ opcode: 1, payload: "4", declaredLength: 900_000 });
    // What the client answers now is swallowed by the frame that it never finished.
    await clock.advance(48_000);
    expect(await cut(server, client)).toMatchObject({ reason: "ping_timeout" });
  });

  test("[IN-1] a message in pieces of one byte arrives whole", async () => {
    await using server = await startEchoServer();
    await using client = await RawWebSocket.join(server.port);
    for (const byte of rawFrame({ opcode: 1, payload: '42["message","slowly"]' })) {
      client.socket.write(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await client.text()).toBe('42["message-back","slowly"]');
  });

  test("[IN-1] a connection that is reset in the middle of a frame", async () => {
    await using server = await startEchoServer();
    const client = await RawWebSocket.join(server.port);
    client.socket.write(rawFrame({ opcode: 1, payload: "4".repeat(100) }).subarray(0, 50));
    client.socket.resetAndDestroy();
    await expect.poll(() => server.closed).toEqual(["transport_error"]);
    await neighbourWorks(server);
  });
});

describe("floods", () => {
  test("[IN-1] WebSocket pings", async () => {
    await using server = await startEchoServer({ settings: { idlePacketsMax: 100 } });
    await using client = await RawWebSocket.join(server.port);
    for (let at = 0; at < 102; at++) client.sendFrame({ opcode: 9, payload: "x".repeat(125) });
    expect(await cut(server, client)).toMatchObject({ reason: "too_many_requests" });
  });

  test("[IN-1] pings of a client that never reads cost no memory", async () => {
    await using server = await startEchoServer({ settings: { idlePacketsMax: 10_000_000 } });
    await using client = await RawWebSocket.join(server.port);
    const [joined] = server.main.clients;
    client.socket.pause();
    const burst = Buffer.concat(
      Array.from({ length: 20_000 }, () => rawFrame({ opcode: 9, payload: "x".repeat(125) })),
    );
    for (let at = 0; at < 4; at++) client.socket.write(burst);
    client.send('42["ask"]');
    await expect.poll(() => server.main.events.length, { timeout: 20_000 }).toBe(1);
    expect(joined?.connection.free()).toBeGreaterThan(defaultFree);
    await neighbourWorks(server);
  });

  test.each(["3", "6", "5"])("[IN-1] Engine.IO packets that carry nothing: %s", async (packet) => {
    await using server = await startEchoServer({ settings: { idlePacketsMax: 100 } });
    await using client = await RawWebSocket.join(server.port);
    for (let at = 0; at < 102; at++) client.send(packet);
    expect(await cut(server, client)).toMatchObject({ reason: "too_many_requests" });
  });

  test("[IN-1] over polling as well", async () => {
    await using server = await startEchoServer({ settings: { idlePacketsMax: 100 } });
    const polling = await RawPolling.start(server.port);
    await polling.join();
    expect((await polling.post(Array.from({ length: 500 }, () => "6").join("\u001e"))).status).toBe(400);
    expect(server.closed).toEqual(["too_many_requests"]);
  });

  test("[IN-1] many namespaces", async () => {
    await using server = await startEchoServer({ settings: { namespacesMax: 1 } });
    await using client = await RawWebSocket.join(server.port);
    client.send("40/admin,");
    expect(await cut(server, client)).toMatchObject({ reason: "too_many_requests" });
  });
});

// 256 KB less the 16 KB that unread pongs may take, and one read's worth of them.
const defaultFree = 262_144 - 16_384 - 1_000;

describe("content", () => {
  const deep = (depth: number): string => "[".repeat(depth) + "]".repeat(depth);

  test.each([
    ["deep arrays", `42["a",${deep(200)}]`],
    ["deep arrays without end", `42["a",${"[".repeat(100_000)}`],
    ["deep objects", `42["a",${'{"a":'.repeat(200)}1${"}".repeat(200)}]`],
    ["deep auth", `40/admin,{"a":${deep(200)}}`],
    ["deep acknowledgements", `431[${deep(200)}]`],
    ["deep binary packets", `451-["a",${deep(200)}]`],
    ["a long id", `42${"9".repeat(100)}["a"]`],
    ["a long namespace", `42/${"x".repeat(10_000)},["a"]`],
    ["a namespace that never ends", `42/${"x".repeat(10_000)}`],
  ])("[IN-1] %s", async (_what, packet) => {
    await using server = await startEchoServer();
    await using client = await RawWebSocket.join(server.port);
    client.send(packet);
    expect(await cut(server, client)).toMatchObject({ reason: "parse_error" });
  });

  test("[IN-1] brackets in strings are no depth", async () => {
    await using server = await startEchoServer();
    await using client = await RawWebSocket.join(server.port);
    const text = `${"[".repeat(500)}\\"${"{".repeat(500)}\\\\`;
    client.send(`42["message","${text}"]`);
    expect(await client.text()).toBe(`42["message-back","${text}"]`);
  });

  test("[IN-1] prototype names as event, key, query and header change nothing", async () => {
    await using server = await startEchoServer();
    const names = ["__proto__", "constructor", "toString", "hasOwnProperty", "valueOf"];
    await using client = await RawWebSocket.open(server.port, "EIO=4&transport=websocket&__proto__=1&constructor=2", {
      headers: { __proto__x: "1", constructor: "2" },
    });
    await client.text();
    client.send('40{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}');
    await client.text();
    await client.text();
    for (const name of names) {
      client.send(`420["${name}",{"${name}":{"polluted":true}}]`);
      expect(await client.text()).toBe(`430[{"${name}":{"polluted":true}}]`);
    }
    client.send('451-["message",{"__proto__":{"_placeholder":true,"num":0}}]');
    client.send(Buffer.from([1]));
    await client.text();
    await client.binary();
    expect(Reflect.get({}, "polluted")).toBeUndefined();
  });

  test("[IN-1] lone surrogates, NUL, line breaks and long names pass through unharmed", async () => {
    await using server = await startEchoServer();
    await using client = await RawWebSocket.join(server.port);
    for (const text of ["\\ud800", "\\u0000", "\\n\\u001b[31m", "n".repeat(10_000)]) {
      client.send(`420["${text}","${text}"]`);
      expect(JSON.parse((await client.text()).slice(3))).toEqual([JSON.parse(`"${text}"`)]);
    }
  });

  test("[IN-1] wide JSON", async () => {
    await using server = await startEchoServer();
    await using client = await RawWebSocket.join(server.port);
    client.send(`420["a",[${Array.from({ length: 200_000 }, () => "[]").join(",")}]]`);
    expect(await client.text()).toHaveLength(3 + 2 + 600_000 + 1);
    const keys = Array.from({ length: 50_000 }, (_, at) => `"k${at}":0`);
    client.send(`420["a",{${keys.join(",")}}]`);
    expect((await client.text()).startsWith('430[{"k0":0')).toBe(true);
  });

  test("[IN-1] a handler that fails answers internal, and is logged without what was sent", async () => {
    await using server = await startEchoServer();
    await using client = await RawWebSocket.join(server.port);
    const internal = { code: "internal", message: "The server failed to handle this event." };
    client.send('421["throw","secret"]');
    expect(JSON.parse((await client.text()).slice(3))).toEqual([{ ok: false, error: internal }]);
    client.send('422["reject","secret"]');
    expect(JSON.parse((await client.text()).slice(3))).toEqual([{ ok: false, error: internal }]);
    client.send('42["throw","secret"]');
    expect(JSON.parse((await client.text()).slice(2))).toEqual(["error", { ...internal, event: "throw" }]);
    expect(server.log.map(({ event }) => event)).toEqual(Array.from({ length: 3 }, () => "namespace_handler_failed"));
    expect(JSON.stringify(server.log)).not.toContain("secret");
    await neighbourWorks(server);
  });

  test("[IN-1] a handler that fails to decide on a CONNECT closes the transport, so that the client comes back", async () => {
    await using server = await startEchoServer();
    const failed = Promise.withResolvers<never>();
    server.main.verdict = failed.promise;
    await using client = await RawWebSocket.open(server.port);
    await client.text();
    client.send("40");
    await expect.poll(() => server.main.requests.length).toBe(1);
    failed.reject(new Error("the store is away"));
    await client.closed;
    expect(server.closed).toEqual(["overloaded"]);
  });
});

describe("polling", () => {
  test("[IN-1] a POST that says it is too large, and one that is", async () => {
    await using server = await startEchoServer({ settings: { payloadBytesMax: 10_000 } });
    const declared = await RawPolling.start(server.port);
    expect((await declared.post("4".repeat(10_001))).status).toBe(413);
    const chunked = await RawPolling.start(server.port);
    const { status } = await chunked.post("4".repeat(20_000), { headers: { "transfer-encoding": "chunked" } });
    expect(status).toBe(413);
    expect(server.closed).toEqual(["payload_too_large", "payload_too_large"]);
    await neighbourWorks(server);
  });

  test("[IN-1] a POST of one byte per second is cut with its connection", async () => {
    const clock = new SimulatedTimers();
    await using server = await startEchoServer({ clock });
    const polling = await RawPolling.start(server.port);
    await polling.join();
    const post = await polling.holdPost(1_000);
    const ended = new Promise((resolve) => post.on("close", resolve));
    for (let second = 0; second < 48; second++) {
      if (!post.destroyed) post.write("4");
      await clock.advance(1_000);
    }
    await ended;
    expect(server.closed).toEqual(["ping_timeout"]);
    await neighbourWorks(server);
  });

  test("[IN-1] a POST that is cut off", async () => {
    await using server = await startEchoServer();
    const polling = await RawPolling.start(server.port);
    await polling.join();
    const post = await polling.holdPost(1_000);
    post.write("42[");
    post.destroy();
    await expect.poll(() => server.closed).toEqual(["transport_error"]);
    await neighbourWorks(server);
  });

  test("[IN-1] invalid UTF-8", async () => {
    await using server = await startEchoServer();
    const polling = await RawPolling.start(server.port);
    expect((await polling.post(Buffer.from([0x34, 0xff, 0xfe]))).status).toBe(400);
    expect(server.closed).toEqual(["parse_error"]);
  });

  test("[IN-1] half an HTTP request, and none at all", async () => {
    await using server = await startEchoServer();
    for (const text of [
      "",
      "GET /socket.io/?EIO=4",
      "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n",
    ]) {
      const socket = connect(server.port, "127.0.0.1");
      await once(socket, "connect");
      socket.end(text);
      socket.resume();
      await once(socket, "close");
    }
    expect(await neighbourWorks(server)).toBe(true);
  });

  test("[IN-1] an origin that would break the answer's headers", async () => {
    await using server = await startEchoServer();
    const { status } = await rawRequest(server.port, "EIO=4&transport=polling", {
      headers: { origin: "https://\u00e9" },
    });
    expect(status).toBe(403);
    const asked = { origin: "https://a.example", "access-control-request-headers": "x\u00e9" };
    const preflight = await rawRequest(server.port, "EIO=4&transport=polling", { method: "OPTIONS", headers: asked });
    expect(preflight.headers["access-control-allow-headers"]).toBeUndefined();
    await neighbourWorks(server);
  });
});
