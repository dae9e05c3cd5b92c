import { describe, expect, test } from "vitest";
import { startEchoServer } from "./support/echo-gateway.ts";
import { RawPolling, RawWebSocket } from "./support/raw-client.ts";
import { SimulatedTimers } from "./support/simulated-clock.ts";

// Written from the Socket.IO protocol, revision 5: one test for each of its rules.

async function opened(port: number): Promise<RawWebSocket> {
  const socket = await RawWebSocket.open(port);
  await socket.text();
  return socket;
}

describe("connect", () => {
  test("[WIRE-1] to the main namespace, with and without a payload", async () => {
    await using server = await startEchoServer();
    await using plain = await opened(server.port);
    plain.send("40");
    const connected = await plain.text();
    expect(connected.startsWith("40")).toBe(true);
    expect(JSON.parse(connected.slice(2))).toEqual({ sid: expect.any(String) });
    expect(await plain.text()).toBe('42["auth",{}]');
    await using loaded = await opened(server.port);
    loaded.send('40{"token":"123"}');
    await loaded.text();
    expect(await loaded.text()).toBe('42["auth",{"token":"123"}]');
  });

  test.each(["40/admin,", "40/admin"])("[WIRE-1] to another namespace: %s", async (packet) => {
    await using server = await startEchoServer();
    await using socket = await opened(server.port);
    socket.send(packet);
    const connected = await socket.text();
    expect(connected.startsWith("40/admin,")).toBe(true);
    expect(JSON.parse(connected.slice(9))).toEqual({ sid: expect.any(String) });
    expect(await socket.text()).toBe('42/admin,["auth",{}]');
  });

  test("[WIRE-1] to another namespace with a payload", async () => {
    await using server = await startEchoServer();
    await using socket = await opened(server.port);
    socket.send('40/admin,{"token":"abc"}');
    await socket.text();
    expect(await socket.text()).toBe('42/admin,["auth",{"token":"abc"}]');
  });

  test("[WIRE-1] the id of a socket is not the id of its connection, which is a secret", async () => {
    await using server = await startEchoServer();
    await using socket = await RawWebSocket.open(server.port);
    const open: { sid: string } = JSON.parse((await socket.text()).slice(1));
    socket.send("40");
    expect(await socket.text()).not.toContain(open.sid);
  });

  test.each(["/random", "/__proto__", "/constructor", "/toString"])(
    "[WIRE-1] not to an unknown namespace: %s",
    async (name) => {
      await using server = await startEchoServer();
      await using socket = await opened(server.port);
      socket.send(`40${name}`);
      expect(await socket.text()).toBe(`44${name},{"message":"Invalid namespace"}`);
      socket.send("40");
      expect(await socket.text()).toMatch(/^40\{/);
    },
  );

  test("[WIRE-1] a refusal is a CONNECT_ERROR with message and data; the connection stays, and may ask again", async () => {
    await using server = await startEchoServer();
    server.admin.verdict = {
      kind: "refused",
      message: "not an admin",
      data: { code: "forbidden", message: "not an admin" },
    };
    await using socket = await RawWebSocket.join(server.port);
    socket.send("40/admin,");
    expect(await socket.text()).toBe(
      '44/admin,{"message":"not an admin","data":{"code":"forbidden","message":"not an admin"}}',
    );
    socket.send('42["message"]');
    expect(await socket.text()).toBe('42["message-back"]');
    server.admin.verdict = null;
    socket.send("40/admin,");
    expect(await socket.text()).toMatch(/^40\/admin,\{"sid"/);
  });

  test("[WIRE-1] what may pass closes the transport, and nothing is refused", async () => {
    await using server = await startEchoServer();
    server.main.verdict = { kind: "later", reason: "overloaded" };
    await using socket = await opened(server.port);
    socket.send("40");
    expect(await socket.next()).toBeNull();
    expect(server.closed).toEqual(["overloaded"]);
  });

  test("[WIRE-1] a connection that never sends CONNECT is closed in time", async () => {
    const clock = new SimulatedTimers();
    await using server = await startEchoServer({ clock });
    await using socket = await RawWebSocket.open(server.port);
    await clock.advance(26_000);
    // Its pings are answered, so that only CONNECT is missing.
    await expect.poll(() => clock.waiting).toBe(1);
    await clock.advance(18_000);
    expect(server.gateway.connectionCount).toBe(1);
    await clock.advance(3_000);
    await socket.closed;
    expect(server.closed).toEqual(["connect_timeout"]);
  });

  test.each([
    '42["early"]',
    '43["early"]',
    "41",
    '431["early"]',
    "4",
    "4abc",
    '44{"message":"no"}',
    '451-["a",{"_placeholder":true,"num":0}]',
  ])("[WIRE-1] anything but CONNECT first closes: %s", async (packet) => {
    await using server = await startEchoServer();
    await using socket = await opened(server.port);
    socket.send(packet);
    if (packet.startsWith("451")) socket.send(Buffer.from([1]));
    expect(await socket.closed).toBe(1008);
    expect(server.closed).toEqual(["parse_error"]);
    expect(server.main.events).toEqual([]);
  });

  test.each(["40[]", '40"x"', "401", "40null", "40{", '40/admin,["x"]', "40{}x"])(
    "[WIRE-1] an invalid CONNECT closes: %s",
    async (packet) => {
      await using server = await startEchoServer();
      await using socket = await opened(server.port);
      socket.send(packet);
      await socket.closed;
      expect(server.closed).toEqual(["parse_error"]);
      expect(server.main.requests).toEqual([]);
    },
  );

  test("[WIRE-1] a second CONNECT to a namespace closes, also while the first is undecided", async () => {
    await using server = await startEchoServer();
    await using twice = await RawWebSocket.join(server.port);
    twice.send("40");
    await twice.closed;
    server.main.verdict = new Promise(() => {});
    await using undecided = await opened(server.port);
    undecided.send("40");
    undecided.send("40");
    await undecided.closed;
    expect(server.closed).toEqual(["parse_error", "parse_error"]);
  });

  test("[WIRE-1] a client that goes away while its CONNECT is undecided leaves nothing behind", async () => {
    const closed = Promise.withResolvers<void>();
    await using server = await startEchoServer({ onClosed: () => closed.resolve() });
    const verdict = Promise.withResolvers<Awaited<ReturnType<typeof server.main.accept>>>();
    server.main.verdict = verdict.promise;
    const socket = await opened(server.port);
    socket.send("40");
    await expect.poll(() => server.main.requests.length).toBe(1);
    const [request] = server.main.requests;
    if (request === undefined) throw new Error("no request");
    expect(request.signal.aborted).toBe(false);
    socket.destroy();
    await closed.promise;
    expect(request.signal.aborted).toBe(true);
    verdict.resolve(server.main.accept(request));
    await expect.poll(() => server.main.disconnected).toEqual(["transport_error"]);
    expect(server.main.clients.size).toBe(0);
  });

  test("[IN-1] CONNECTs that are taken back while they are undecided are decided one after the other", async () => {
    await using server = await startEchoServer();
    const verdict = Promise.withResolvers<Awaited<ReturnType<typeof server.main.accept>>>();
    server.main.verdict = verdict.promise;
    await using socket = await opened(server.port);
    for (let at = 0; at < 100; at++) {
      socket.send("40");
      socket.send("41");
    }
    socket.send("40");
    // A ping that is answered: all of it was read.
    socket.sendFrame({ opcode: 9 });
    expect(await socket.next()).toMatchObject({ opcode: 10 });
    expect(server.main.requests).toHaveLength(1);
    const [request] = server.main.requests;
    if (request === undefined) throw new Error("no request");
    server.main.verdict = null;
    verdict.resolve(server.main.accept(request));
    await expect.poll(() => server.main.requests.length).toBe(101);
    expect(server.main.clients.size).toBe(1);
    expect(server.closed).toEqual([]);
  });

  test("[WIRE-1] the handler sees how the client came in", async () => {
    await using server = await startEchoServer();
    await using socket = await RawWebSocket.open(server.port, "EIO=4&transport=websocket&team=a", {
      headers: { "X-Team": "b" },
    });
    await socket.text();
    socket.send("40");
    await socket.text();
    const handshake = server.main.requests[0]?.handshake;
    expect(handshake).toMatchObject({
      address: "127.0.0.1",
      url: "/socket.io/?EIO=4&transport=websocket&team=a",
      secure: false,
    });
    expect(handshake?.headers["x-team"]).toBe("b");
  });

  test("[WIRE-1] a token in the headers counts for namespaces that are joined later, too", async () => {
    await using server = await startEchoServer();
    const headers = { Authorization: "Bearer a-token" };
    await using socket = await RawWebSocket.open(server.port, "EIO=4&transport=websocket", { headers });
    await socket.text();
    socket.send("40");
    await socket.text();
    socket.send("40/admin,");
    await expect.poll(() => server.admin.requests.length).toBe(1);
    expect(server.admin.requests[0]?.handshake.headers.authorization).toBe("Bearer a-token");
  });
});

describe("disconnect", () => {
  test("[WIRE-1] from the main namespace: no answer, and the connection stays for others", async () => {
    await using server = await startEchoServer();
    await using socket = await RawWebSocket.join(server.port);
    socket.send("41");
    socket.send("40/admin,");
    expect(await socket.text()).toMatch(/^40\/admin,/);
    expect(server.main.disconnected).toEqual(["client_left"]);
  });

  test.each(["41/admin,", "41/admin"])("[WIRE-1] from another namespace, the main one goes on: %s", async (packet) => {
    await using server = await startEchoServer();
    await using socket = await RawWebSocket.join(server.port);
    socket.send("40/admin,");
    await socket.text();
    await socket.text();
    socket.send(packet);
    socket.send('42["message","message to main namespace"]');
    expect(await socket.text()).toBe('42["message-back","message to main namespace"]');
    expect(server.admin.disconnected).toEqual(["client_left"]);
    expect(server.main.disconnected).toEqual([]);
  });

  test("[WIRE-1] the client may join again after it left", async () => {
    await using server = await startEchoServer();
    await using socket = await RawWebSocket.join(server.port);
    socket.send("41");
    socket.send("40");
    expect(await socket.text()).toMatch(/^40\{/);
  });

  test("[WIRE-1] by the server: what the client sent before it knew is ignored, and it may join again", async () => {
    await using server = await startEchoServer();
    await using socket = await RawWebSocket.join(server.port);
    socket.send('42["leave"]');
    socket.send('42["message","too late"]');
    socket.send("41");
    expect(await socket.text()).toBe("41");
    expect(server.main.disconnected).toEqual(["kicked"]);
    socket.send("40");
    expect(await socket.text()).toMatch(/^40\{/);
    expect(server.main.events).toEqual([["leave"]]);
  });

  test("[WIRE-1] the end of the connection ends each of its namespaces, once", async () => {
    await using server = await startEchoServer();
    await using socket = await RawWebSocket.join(server.port);
    socket.send("40/admin,");
    await socket.text();
    socket.destroy();
    await expect.poll(() => server.closed).toEqual(["transport_error"]);
    expect(server.main.disconnected).toEqual(["transport_error"]);
    expect(server.admin.disconnected).toEqual(["transport_error"]);
  });
});

describe("events", () => {
  test("[WIRE-1] plain text, both ways", async () => {
    await using server = await startEchoServer();
    await using socket = await RawWebSocket.join(server.port);
    socket.send('42["message",1,"2",{"3":[true]}]');
    expect(await socket.text()).toBe('42["message-back",1,"2",{"3":[true]}]');
  });

  test("[WIRE-1] of a namespace, both ways", async () => {
    await using server = await startEchoServer();
    await using socket = await RawWebSocket.join(server.port);
    socket.send("40/admin,");
    await socket.text();
    await socket.text();
    socket.send('42/admin,["message","a,b"]');
    expect(await socket.text()).toBe('42/admin,["message-back","a,b"]');
  });

  test("[WIRE-1] with binary attachments, both ways", async () => {
    await using server = await startEchoServer();
    await using socket = await RawWebSocket.join(server.port);
    socket.send('452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
    socket.send(Buffer.from([1, 2, 3]));
    socket.send(Buffer.from([4, 5, 6]));
    expect(await socket.text()).toBe(
      '452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
    );
    expect(await socket.binary()).toEqual(Buffer.from([1, 2, 3]));
    expect(await socket.binary()).toEqual(Buffer.from([4, 5, 6]));
  });

  test("[WIRE-1] with an acknowledgement, plain, empty, of a namespace", async () => {
    await using server = await startEchoServer();
    await using socket = await RawWebSocket.join(server.port);
    socket.send('42456["ask",1,"2",{"3":[false]}]');
    expect(await socket.text()).toBe('43456[1,"2",{"3":[false]}]');
    socket.send('420["ask"]');
    expect(await socket.text()).toBe("430[]");
    socket.send("40/admin,");
    await socket.text();
    await socket.text();
    socket.send('42/admin,13["ask","bar"]');
    expect(await socket.text()).toBe('43/admin,13["bar"]');
  });

  test("[WIRE-1] with a binary acknowledgement", async () => {
    await using server = await startEchoServer();
    await using socket = await RawWebSocket.join(server.port);
    socket.send('452-789["ask",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
    socket.send(Buffer.from([1, 2, 3]));
    socket.send(Buffer.from([4, 5, 6]));
    expect(await socket.text()).toBe('462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
    expect(await socket.binary()).toEqual(Buffer.from([1, 2, 3]));
    expect(await socket.binary()).toEqual(Buffer.from([4, 5, 6]));
  });

  test("[WIRE-1] the client's acknowledgements arrive, plain and binary", async () => {
    await using server = await startEchoServer();
    await using socket = await RawWebSocket.join(server.port);
    socket.send('4312["yes"]');
    socket.send('461-13["bar",{"_placeholder":true,"num":0}]');
    socket.send(Buffer.from([9]));
    socket.send('42["message"]');
    await socket.text();
    expect(server.main.acks).toEqual([
      { id: 12, args: ["yes"] },
      { id: 13, args: ["bar", Buffer.from([9])] },
    ]);
  });

  test("[WIRE-1] a multibyte text arrives whole over polling and WebSocket", async () => {
    await using server = await startEchoServer();
    const text = "€ 😀 \u2028 ｆｕｌｌ";
    await using socket = await RawWebSocket.join(server.port);
    socket.send(`42${JSON.stringify(["message", text])}`);
    expect(await socket.text()).toBe(`42${JSON.stringify(["message-back", text])}`);
    const polling = await RawPolling.start(server.port);
    await polling.join();
    await polling.post(`42${JSON.stringify(["message", text])}`);
    expect(await polling.packets()).toEqual([`42${JSON.stringify(["message-back", text])}`]);
  });

  test.each([
    "42",
    "42[]",
    "42{}",
    '42"message"',
    "42[1]",
    '42["message"',
    '42[{"a":1}]',
    "42null",
    '42["connect"]',
    '42["disconnect"]',
    '42["disconnecting"]',
    '42["newListener"]',
    '42["removeListener"]',
    '42["connect_error"]',
  ])("[WIRE-1] an invalid payload closes: %s", async (packet) => {
    await using server = await startEchoServer();
    await using socket = await RawWebSocket.join(server.port);
    socket.send(packet);
    await socket.closed;
    expect(server.closed).toEqual(["parse_error"]);
    expect(server.main.events).toEqual([]);
  });
});
