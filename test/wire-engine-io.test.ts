import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { type EchoServer, startEchoServer } from "./support/echo-gateway.ts";
import { RawPolling, rawRequest, RawWebSocket } from "./support/raw-client.ts";
import { SimulatedTimers } from "./support/simulated-clock.ts";

// Written from the Engine.IO protocol, revision 4: one test for each of its rules.

const openPacket = {
  sid: expect.stringMatching(/^[\w-]{20}$/),
  pingInterval: 25_000,
  pingTimeout: 20_000,
  maxPayload: 1_000_000,
};

const pollingQuery = "EIO=4&transport=polling";

describe("handshake over polling", () => {
  test("[WIRE-1] a GET opens a session and says what can be upgraded to", async () => {
    await using server = await startEchoServer();
    const { status, headers, body } = await rawRequest(server.port, pollingQuery);
    expect(status).toBe(200);
    expect(headers["content-type"]).toBe("text/plain; charset=UTF-8");
    expect(JSON.parse(body.slice(1))).toEqual({ ...openPacket, upgrades: ["websocket"] });
  });

  test.each(["transport=polling", "EIO=abc&transport=polling", "EIO=3&transport=polling", "EIO=44&transport=polling"])(
    "[WIRE-1] another version of the protocol is refused: %s",
    async (query) => {
      await using server = await startEchoServer();
      const { status, body } = await rawRequest(server.port, query);
      expect(status).toBe(400);
      expect(JSON.parse(body)).toEqual({ code: 5, message: "Unsupported protocol version" });
    },
  );

  test.each([
    "EIO=4",
    "EIO=4&transport=abc",
    "EIO=4&transport=",
    "EIO=4&transport=__proto__",
    "EIO=4&transport=constructor",
  ])("[WIRE-1] an unknown transport is refused: %s", async (query) => {
    await using server = await startEchoServer();
    const { status, body } = await rawRequest(server.port, query);
    expect(status).toBe(400);
    expect(JSON.parse(body)).toEqual({ code: 0, message: "Transport unknown" });
  });

  test.each(["POST", "PUT", "DELETE"])("[WIRE-1] %s opens nothing", async (method) => {
    await using server = await startEchoServer();
    const { status, body } = await rawRequest(server.port, pollingQuery, { method });
    expect(status).toBe(400);
    expect(JSON.parse(body)).toEqual({ code: 2, message: "Bad handshake method" });
    expect(server.gateway.connectionCount).toBe(0);
  });

  test("[WIRE-1] a WebSocket session needs an upgrade request", async () => {
    await using server = await startEchoServer();
    const { status, body } = await rawRequest(server.port, "EIO=4&transport=websocket");
    expect(status).toBe(400);
    expect(JSON.parse(body)).toEqual({ code: 3, message: "Bad request" });
  });

  test.each(["GET", "POST"])("[WIRE-1] an unknown session is refused: %s", async (method) => {
    await using server = await startEchoServer();
    for (const sid of ["abc", "__proto__", "constructor", "toString"]) {
      const { status, body } = await rawRequest(server.port, `${pollingQuery}&sid=${sid}`, { method, body: "40" });
      expect(status).toBe(400);
      expect(JSON.parse(body)).toEqual({ code: 1, message: "Session ID unknown" });
    }
  });

  test("[WIRE-1] [OUT-1] a balancer that asks for it is told with 404 to ask another node, and nobody else", async () => {
    await using server = await startEchoServer();
    const asking = { headers: { "x-parley-not-here": "404" } };
    const session = `${pollingQuery}&sid=abc`;
    for (const method of ["GET", "POST"])
      expect((await rawRequest(server.port, session, { method, body: "40", ...asking })).status).toBe(404);
    expect((await rawRequest(server.port, session, { headers: { "x-parley-not-here": "200" } })).status).toBe(400);
    await using probe = await RawWebSocket.open(server.port, "EIO=4&transport=websocket&sid=abc", asking);
    expect(probe.status).toContain("404 Not Found");
    server.gateway.refuse();
    expect((await rawRequest(server.port, pollingQuery, asking)).status).toBe(404);
    expect((await rawRequest(server.port, session, asking)).status).toBe(404);
    expect((await rawRequest(server.port, pollingQuery)).status).toBe(503);
    await using late = await RawWebSocket.open(server.port, "EIO=4&transport=websocket", asking);
    expect(late.status).toContain("404 Not Found");
  });

  test("[WIRE-1] the answer that opens a session names it for a balancer", async () => {
    await using server = await startEchoServer();
    const { headers, body } = await rawRequest(server.port, pollingQuery);
    expect(JSON.parse(body.slice(1))).toMatchObject({ sid: headers["x-parley-connection"] });
  });

  test("[WIRE-1] the app keeps every other path, before and after the gateway is there", async () => {
    await using server = await startEchoServer();
    const page = await fetch(`${server.url}/chat`);
    expect(await page.text()).toBe("the app's own page");
  });
});

describe("handshake over WebSocket", () => {
  test("[WIRE-1] the first message is the open packet, with nothing to upgrade to", async () => {
    await using server = await startEchoServer();
    await using client = await RawWebSocket.open(server.port);
    const open = await client.text();
    expect(open.startsWith("0")).toBe(true);
    expect(JSON.parse(open.slice(1))).toEqual({ ...openPacket, upgrades: [] });
  });

  test.each([
    "transport=websocket",
    "EIO=abc&transport=websocket",
    "EIO=4",
    "EIO=4&transport=abc",
    "EIO=4&transport=polling",
  ])("[WIRE-1] a wrong query closes: %s", async (query) => {
    await using server = await startEchoServer();
    await using client = await RawWebSocket.open(server.port, query);
    expect(client.status).toContain(" 400 ");
    await client.closed;
    expect(server.gateway.connectionCount).toBe(0);
  });

  test("[WIRE-1] an unknown session closes", async () => {
    await using server = await startEchoServer();
    await using client = await RawWebSocket.open(server.port, "EIO=4&transport=websocket&sid=abc");
    expect(client.status).toContain(" 400 ");
    await client.closed;
  });
});

describe("messages over polling", () => {
  test("[WIRE-1] a POST is answered with ok, a GET brings what was sent", async () => {
    await using server = await startEchoServer();
    const polling = await RawPolling.start(server.port);
    const posted = await polling.post("40");
    expect([posted.status, posted.body]).toEqual([200, "ok"]);
    const got = await polling.get();
    expect(got.status).toBe(200);
    expect(got.body.split("\u001e")).toEqual([expect.stringMatching(/^40\{"sid":/), '42["auth",{}]']);
  });

  test("[WIRE-1] several packets travel in one payload, in order", async () => {
    await using server = await startEchoServer();
    const polling = await RawPolling.start(server.port);
    await polling.join();
    await polling.post('42["message",1]\u001e42["message","zwei €"]\u001e42["message",3]');
    expect(await polling.packets()).toEqual([
      '42["message-back",1]',
      '42["message-back","zwei €"]',
      '42["message-back",3]',
    ]);
  });

  test("[WIRE-1] binary travels as base64 behind a b", async () => {
    await using server = await startEchoServer();
    const polling = await RawPolling.start(server.port);
    await polling.join();
    await polling.post('451-["message",{"_placeholder":true,"num":0}]\u001ebAQIDBA==');
    expect(await polling.packets()).toEqual(['451-["message-back",{"_placeholder":true,"num":0}]', "bAQIDBA=="]);
  });

  test("[WIRE-1] a GET waits until there is something", async () => {
    await using server = await startEchoServer();
    const polling = await RawPolling.start(server.port);
    await polling.join();
    const arrived = once(server.http, "request");
    const waiting = polling.get();
    await arrived;
    await polling.post('42["message","late"]');
    expect((await waiting).body).toBe('42["message-back","late"]');
  });

  test.each(["abc", "", "9", "4\u001e", "b!!", "bAQI=D", "40\u001e"])(
    "[WIRE-1] an invalid payload closes the session: %j",
    async (body) => {
      await using server = await startEchoServer();
      const polling = await RawPolling.start(server.port);
      expect((await polling.post(body)).status).toBe(400);
      expect((await polling.get()).status).toBe(400);
      expect(server.gateway.connectionCount).toBe(0);
    },
  );

  test("[WIRE-1] a second GET at once closes the session", async () => {
    await using server = await startEchoServer();
    const polling = await RawPolling.start(server.port);
    const both = await Promise.all([polling.get(), polling.get()]);
    const statuses = both.map(({ status }) => status);
    expect(new Set(statuses)).toEqual(new Set([200, 400]));
    expect(both.find(({ status }) => status === 200)?.body).toBe("1");
    expect((await polling.get()).status).toBe(400);
  });

  test("[WIRE-1] a second POST at once closes the session", async () => {
    await using server = await startEchoServer();
    const polling = await RawPolling.start(server.port);
    const first = await polling.holdPost(100);
    const cut = new Promise((resolve) => first.on("close", resolve));
    expect((await polling.post("3")).status).toBe(400);
    await cut;
    expect((await polling.get()).status).toBe(400);
  });

  test("[WIRE-1] a GET that is cancelled closes the session", async () => {
    const closed = Promise.withResolvers<void>();
    await using server = await startEchoServer({ onClosed: () => closed.resolve() });
    const polling = await RawPolling.start(server.port);
    await polling.join();
    const cancel = new AbortController();
    const arrived = once(server.http, "request");
    const cancelled = polling.get({ signal: cancel.signal }).catch(() => null);
    await arrived;
    cancel.abort();
    await cancelled;
    await closed.promise;
    expect((await polling.get()).status).toBe(400);
  });

  test("[WIRE-1] a body that is called binary is refused, for its packets are text", async () => {
    await using server = await startEchoServer();
    const polling = await RawPolling.start(server.port);
    const { status } = await polling.post("40", { headers: { "content-type": "application/octet-stream" } });
    expect(status).toBe(400);
    expect((await polling.get()).status).toBe(400);
  });

  test("[WIRE-1] methods but GET and POST are refused, and change nothing", async () => {
    await using server = await startEchoServer();
    const polling = await RawPolling.start(server.port);
    expect((await rawRequest(server.port, polling.query, { method: "PUT" })).status).toBe(400);
    expect(await polling.join()).toHaveLength(2);
  });
});

describe("messages over WebSocket", () => {
  test("[WIRE-1] each packet is a frame of its own, text or binary", async () => {
    await using server = await startEchoServer();
    await using client = await RawWebSocket.join(server.port);
    client.send('451-["message",{"_placeholder":true,"num":0}]');
    client.send(Buffer.from([1, 2, 3, 4]));
    expect(await client.text()).toBe('451-["message-back",{"_placeholder":true,"num":0}]');
    expect(await client.binary()).toEqual(Buffer.from([1, 2, 3, 4]));
  });

  test.each(["abc", "", "9", "0", "2", "2probe"])("[WIRE-1] an invalid packet closes: %j", async (packet) => {
    await using server = await startEchoServer();
    await using client = await RawWebSocket.open(server.port);
    await client.text();
    client.send(packet);
    await client.closed;
    expect(server.closed).toEqual(["parse_error"]);
  });

  test("[WIRE-1] noop and a late upgrade packet are ignored", async () => {
    await using server = await startEchoServer();
    await using client = await RawWebSocket.join(server.port);
    client.send("6");
    client.send("5");
    client.send('42["message"]');
    expect(await client.text()).toBe('42["message-back"]');
  });

  test("[WIRE-1] WebSocket's own pings are answered", async () => {
    await using server = await startEchoServer();
    await using client = await RawWebSocket.join(server.port);
    client.sendFrame({ opcode: 9, payload: "there?" });
    expect(await client.next()).toEqual({ opcode: 10, payload: Buffer.from("there?") });
  });
});

describe("heartbeat", () => {
  test("[WIRE-1] over WebSocket the server pings after each interval, and the answer keeps the connection", async () => {
    const clock = new SimulatedTimers();
    await using server = await startEchoServer({ clock });
    await using client = await RawWebSocket.join(server.port, { manual: true });
    for (let round = 0; round < 4; round++) {
      await clock.advance(25_000);
      expect(await client.text()).toBe("2");
      client.send("3");
      await expect.poll(() => server.main.answers).toBe(round + 1);
    }
    expect(server.main.pings).toBe(4);
    client.send('42["message"]');
    expect(await client.text()).toBe('42["message-back"]');
  });

  test("[WIRE-1] over polling the ping comes with a GET, and the answer with a POST", async () => {
    const clock = new SimulatedTimers();
    await using server = await startEchoServer({ clock });
    const polling = await RawPolling.start(server.port);
    await polling.join();
    for (let round = 0; round < 3; round++) {
      await clock.advance(25_000);
      expect((await polling.get()).body).toBe("2");
      expect((await polling.post("3")).status).toBe(200);
    }
    expect(server.main.answers).toBe(3);
  });

  test("[WIRE-1] a ping that is not answered in time ends the connection, and not before", async () => {
    const clock = new SimulatedTimers();
    await using server = await startEchoServer({ clock });
    await using client = await RawWebSocket.join(server.port, { manual: true });
    const polling = await RawPolling.start(server.port);
    await polling.join();
    await clock.advance(25_000 + 19_000);
    expect(server.gateway.connectionCount).toBe(2);
    await clock.advance(3_000);
    expect(server.closed).toEqual(["ping_timeout", "ping_timeout"]);
    await client.closed;
    expect((await polling.get()).status).toBe(400);
  });

  test("[WIRE-1] a process that was stopped gives everyone the whole time again", async () => {
    const clock = new SimulatedTimers();
    await using server = await startEchoServer({ clock });
    await using client = await RawWebSocket.join(server.port, { manual: true });
    await clock.advance(25_000);
    expect(await client.text()).toBe("2");
    await clock.stall(120_000);
    await new Promise((resolve) => setImmediate(resolve));
    expect(server.gateway.connectionCount).toBe(1);
    client.send("3");
    await expect.poll(() => server.main.answers).toBe(1);
    await clock.advance(26_000);
    expect(await client.text()).toBe("2");
  });
});

/** A client over polling that was thrown out, and has not fetched what tells it so. */
async function kickedPolling(server: EchoServer): Promise<RawPolling> {
  const polling = await RawPolling.start(server.port);
  await polling.join();
  const [client] = server.main.clients;
  client?.disconnect("kicked");
  client?.connection.close("kicked");
  return polling;
}

describe("close", () => {
  test("[WIRE-1] a close packet over polling ends the session and lets the GET go", async () => {
    await using server = await startEchoServer();
    const polling = await RawPolling.start(server.port);
    await polling.join();
    const arrived = once(server.http, "request");
    const waiting = polling.get();
    await arrived;
    expect((await polling.post("1")).status).toBe(200);
    expect((await waiting).body).toBe("6");
    expect((await polling.get()).status).toBe(400);
    expect(server.closed).toEqual(["client_closed"]);
  });

  test("[WIRE-1] a close packet over WebSocket closes it", async () => {
    await using server = await startEchoServer();
    await using client = await RawWebSocket.join(server.port);
    client.send("1");
    expect(await client.closed).toBe(1000);
    expect(server.closed).toEqual(["client_closed"]);
    expect(server.main.disconnected).toEqual(["client_closed"]);
  });

  test("[WIRE-1] a server that closes tells a polling client with a close packet, after what it had to say", async () => {
    await using server = await startEchoServer();
    const polling = await kickedPolling(server);
    expect((await polling.get()).body).toBe("41");
    expect((await polling.get()).body).toBe("1");
    expect((await polling.get()).status).toBe(400);
  });

  test("[WIRE-1] so it does when the client's GET was waiting", async () => {
    await using server = await startEchoServer();
    const polling = await RawPolling.start(server.port);
    await polling.join();
    const arrived = once(server.http, "request");
    const waiting = polling.get();
    await arrived;
    const [client] = server.main.clients;
    client?.emit("last words");
    client?.connection.close("kicked");
    expect((await waiting).body).toBe('42["last words"]');
    expect((await polling.get()).body).toBe("1");
    expect((await polling.get()).status).toBe(400);
  });

  test("[IN-1] what closed polling clients have not fetched is bounded for all together: the oldest is forgotten", async () => {
    await using server = await startEchoServer({ settings: { lingeringBytesMax: 10_000 } });
    const clients: RawPolling[] = [];
    for (let at = 0; at < 4; at++) {
      const polling = await RawPolling.start(server.port);
      await polling.join();
      await polling.post(`42["message","${"x".repeat(4_000)}"]`);
      for (const { connection } of server.main.clients) connection.close("kicked");
      clients.push(polling);
    }
    const statuses: number[] = [];
    for (const polling of clients) statuses.push((await polling.get()).status);
    expect(statuses).toEqual([400, 400, 200, 200]);
  });

  test("[WIRE-1] what a closed polling client never fetches is forgotten", async () => {
    const clock = new SimulatedTimers();
    await using server = await startEchoServer({ clock });
    const polling = await kickedPolling(server);
    await clock.advance(40_000);
    expect((await polling.get()).status).toBe(400);
    expect(clock.waiting).toBe(0);
  });
});
