import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { type EchoServer, startEchoServer } from "./support/echo-gateway.ts";
import { eventually } from "./support/eventually.ts";
import { RawPolling, rawRequest, RawWebSocket } from "./support/raw-client.ts";
import { SimulatedTimers } from "./support/simulated-clock.ts";

// The upgrade of the Engine.IO protocol, its failures half-way, and who may connect from where.

function openProbe(server: EchoServer, polling: RawPolling): Promise<RawWebSocket> {
  return RawWebSocket.open(server.port, `EIO=4&transport=websocket&sid=${polling.sid}`);
}

/** Sends the GET and resolves when the server has it. */
async function holdGet(server: EchoServer, polling: RawPolling): Promise<ReturnType<RawPolling["get"]>[]> {
  const arrived = once(server.http, "request");
  const answer = polling.get();
  await arrived;
  return [answer];
}

describe("upgrade", () => {
  test("[WIRE-1] probe, noop, upgrade: the session goes on over the WebSocket", async () => {
    await using server = await startEchoServer();
    const polling = await RawPolling.start(server.port);
    await polling.join();
    const [waiting] = await holdGet(server, polling);
    await using socket = await openProbe(server, polling);
    socket.send("2probe");
    expect(await socket.text()).toBe("3probe");
    expect((await waiting)?.body).toBe("6");
    socket.send("5");
    socket.send('42["message","hello"]');
    expect(await socket.text()).toBe('42["message-back","hello"]');
    expect(server.gateway.connectionCount).toBe(1);
  });

  test("[WIRE-1] a GET that comes during the probe is let go at once", async () => {
    await using server = await startEchoServer();
    const polling = await RawPolling.start(server.port);
    await using socket = await openProbe(server, polling);
    socket.send("2probe");
    expect(await socket.text()).toBe("3probe");
    expect((await polling.get()).body).toBe("6");
  });

  test("[WIRE-1] what was not fetched before the upgrade comes first after it, in order", async () => {
    await using server = await startEchoServer();
    const polling = await RawPolling.start(server.port);
    await polling.join();
    await using socket = await openProbe(server, polling);
    socket.send("2probe");
    expect(await socket.text()).toBe("3probe");
    await polling.post('42["message",1]\u001e42["message",2]');
    socket.send("5");
    socket.send('42["message",3]');
    const got = [await socket.text(), await socket.text(), await socket.text()];
    expect(got).toEqual(['42["message-back",1]', '42["message-back",2]', '42["message-back",3]']);
  });

  test("[WIRE-1] after it, HTTP requests of the session are refused and change nothing", async () => {
    await using server = await startEchoServer();
    const polling = await RawPolling.start(server.port);
    await polling.join();
    await using socket = await openProbe(server, polling);
    socket.send("2probe");
    await socket.text();
    socket.send("5");
    socket.send('42["message",1]');
    await socket.text();
    expect((await polling.get()).status).toBe(400);
    expect((await polling.post('42["message",2]')).status).toBe(400);
    socket.send('42["message",3]');
    expect(await socket.text()).toBe('42["message-back",3]');
  });

  test("[WIRE-1] a session has one WebSocket: another is refused, during the probe and after it", async () => {
    await using server = await startEchoServer();
    const polling = await RawPolling.start(server.port);
    await polling.join();
    await using socket = await openProbe(server, polling);
    await using during = await openProbe(server, polling);
    expect(during.status).toContain(" 400 ");
    socket.send("2probe");
    await socket.text();
    socket.send("5");
    socket.send('42["message",1]');
    await socket.text();
    await using after = await openProbe(server, polling);
    expect(after.status).toContain(" 400 ");
    socket.send('42["message",2]');
    expect(await socket.text()).toBe('42["message-back",2]');
  });

  test.each(["4hello", "1", "2", "3", "abc", ""])(
    "[WIRE-1] anything else on the probe ends the probe alone: %j",
    async (packet) => {
      await using server = await startEchoServer();
      const polling = await RawPolling.start(server.port);
      await polling.join();
      await using socket = await openProbe(server, polling);
      socket.send(packet);
      await socket.closed;
      await polling.post('42["message",1]');
      expect(await polling.packets()).toEqual(['42["message-back",1]']);
    },
  );

  test("[IN-1] an upgrade that is cut half-way leaves polling working, and may be tried again", async () => {
    await using server = await startEchoServer();
    const polling = await RawPolling.start(server.port);
    await polling.join();
    const cut = await openProbe(server, polling);
    cut.send("2probe");
    await cut.text();
    cut.destroy();
    await cut.closed;
    await polling.post('42["message",1]');
    expect(await polling.packets()).toEqual(['42["message-back",1]']);
    await expect.poll(async () => (await openProbe(server, polling)).status).toContain(" 101 ");
    // A GET waits again, instead of being let go at once for a switch that does not come.
    const waiting = polling.get();
    await polling.post('42["message",2]');
    expect((await waiting).body).toBe('42["message-back",2]');
  });

  test("[IN-1] a probe is answered once: who asks on and on without reading is not owed an answer to each", async () => {
    await using server = await startEchoServer();
    const polling = await RawPolling.start(server.port);
    await polling.join();
    await using socket = await openProbe(server, polling);
    socket.send("2probe");
    expect(await socket.text()).toBe("3probe");
    socket.send("2probe");
    expect(await socket.closed).toBe(1000);
    await polling.post('42["message",1]');
    expect(await polling.packets()).toEqual(['42["message-back",1]']);
  });

  test("[IN-1] a probe that stops half-way is closed in time", async () => {
    const clock = new SimulatedTimers();
    await using server = await startEchoServer({ clock });
    const polling = await RawPolling.start(server.port);
    await polling.join();
    await using socket = await openProbe(server, polling);
    await clock.advance(12_000);
    await socket.closed;
    await polling.post('42["message",1]');
    expect(await polling.packets()).toEqual(['42["message-back",1]']);
  });

  test("[IN-1] a session that ends takes its probe along", async () => {
    await using server = await startEchoServer();
    const polling = await RawPolling.start(server.port);
    await polling.join();
    await using socket = await openProbe(server, polling);
    await polling.post("1");
    await socket.closed;
    expect(server.closed).toEqual(["client_closed"]);
  });
});

describe("a session that ends while its client moves to the WebSocket", () => {
  // Why: a stock client that loses the WebSocket then stops polling all the same, and hears nothing for 45 s.
  async function endWhileMoving(server: EchoServer) {
    const polling = await RawPolling.start(server.port);
    await polling.join();
    const socket = await openProbe(server, polling);
    socket.send("2probe");
    expect(await socket.text()).toBe("3probe");
    expect((await polling.get()).body).toBe("6");
    for (const client of server.main.clients) client.connection.close("overloaded");
    for (let round = 0; round < 3; round += 1) expect((await polling.get()).status).toBe(400);
    expect(socket.socket.closed).toBe(false);
    return socket;
  }

  test("[WIRE-1] leaves it that until it has moved", async () => {
    await using server = await startEchoServer();
    await using socket = await endWhileMoving(server);
    socket.send("5");
    expect(await socket.closed).toBe(1000);
  });

  test("[IN-1] waits for it no longer than an upgrade may take", async () => {
    const clock = new SimulatedTimers();
    await using server = await startEchoServer({ clock });
    await using socket = await endWhileMoving(server);
    await clock.advance(12_000);
    expect(await socket.closed).toBe(1000);
  });
});

describe("origins", () => {
  const evil = { origin: "https://evil.example" };
  const good = { origin: "https://good.example" };
  const settings = { origins: ["https://good.example"] };

  test("[WIRE-1] CORS with credentials: the origin is reflected", async () => {
    await using server = await startEchoServer();
    const { headers } = await rawRequest(server.port, "EIO=4&transport=polling", { headers: evil });
    expect(headers["access-control-allow-origin"]).toBe("https://evil.example");
    expect(headers["access-control-allow-credentials"]).toBe("true");
    expect(headers.vary).toBe("Origin");
  });

  test("[WIRE-1] a preflight is answered", async () => {
    await using server = await startEchoServer({ settings });
    const asked = {
      ...good,
      "access-control-request-method": "POST",
      "access-control-request-headers": "content-type,x-my",
    };
    const { status, headers } = await rawRequest(server.port, "EIO=4&transport=polling", {
      method: "OPTIONS",
      headers: asked,
    });
    expect(status).toBe(204);
    expect(headers["access-control-allow-origin"]).toBe("https://good.example");
    expect(headers["access-control-allow-headers"]).toBe("content-type,x-my");
    expect(headers["access-control-allow-methods"]).toContain("POST");
  });

  test("[WIRE-1] an error can be read across origins too", async () => {
    await using server = await startEchoServer({ settings });
    const { status, headers } = await rawRequest(server.port, "EIO=4&transport=polling&sid=gone", { headers: good });
    expect(status).toBe(400);
    expect(headers["access-control-allow-origin"]).toBe("https://good.example");
  });

  test("[IN-1] an origin that is not listed gets 403 over polling, preflight and WebSocket", async () => {
    await using server = await startEchoServer({ settings });
    for (const method of ["GET", "POST", "OPTIONS"]) {
      const refused = await rawRequest(server.port, "EIO=4&transport=polling", { method, headers: evil });
      const { status, headers } = refused;
      expect(status).toBe(403);
      expect(JSON.parse(refused.body)).toEqual({ code: 4, message: expect.stringContaining("PARLEY_ORIGINS") });
      expect(headers["access-control-allow-credentials"]).toBeUndefined();
    }
    await using socket = await RawWebSocket.open(server.port, undefined, { headers: evil });
    expect(socket.status).toContain(" 403 ");
    await socket.closed;
    expect(server.gateway.connectionCount).toBe(0);
  });

  test("[WIRE-1] a listed origin, this host's own pages and clients without an origin are let in", async () => {
    await using server = await startEchoServer({ settings });
    for (const headers of [good, { origin: server.url }, {}]) {
      expect((await rawRequest(server.port, "EIO=4&transport=polling", { headers })).status).toBe(200);
      await using socket = await RawWebSocket.open(server.port, undefined, { headers });
      expect(socket.status).toContain(" 101 ");
    }
  });
});

test("[WIRE-1] in development, pages of this very machine are let in from any port, and no others", async () => {
  await using server = await startEchoServer({ settings: { origins: [], localOrigins: true } });
  const statuses = new Map<string, number>();
  for (const origin of [
    "http://localhost:5173",
    "http://[::1]:1",
    "https://127.0.0.1",
    "http://localhost.evil.example",
  ]) {
    const { status } = await rawRequest(server.port, "EIO=4&transport=polling", { headers: { origin } });
    statuses.set(origin, status);
  }
  expect([...statuses.values()]).toEqual([200, 200, 200, 403]);
});

describe("servers", () => {
  test("[WIRE-1] a server may offer some namespaces alone", async () => {
    await using server = await startEchoServer({ scope: ["/admin"] });
    await using socket = await RawWebSocket.open(server.port);
    await socket.text();
    socket.send("40");
    expect(await socket.text()).toBe('44{"message":"Invalid namespace"}');
    socket.send("40/admin,");
    expect(await socket.text()).toMatch(/^40\/admin,\{"sid":/);
  });

  test("[WIRE-1] a gateway that refuses keeps the connections that it has", async () => {
    await using server = await startEchoServer();
    await using before = await RawWebSocket.join(server.port);
    server.gateway.refuse();
    expect((await rawRequest(server.port, "EIO=4&transport=polling")).status).toBe(503);
    await using socket = await RawWebSocket.open(server.port);
    expect(socket.status).toContain(" 503 ");
    before.send('42["message"]');
    expect(await before.text()).toBe('42["message-back"]');
  });

  test("[WIRE-1] a gateway that is full refuses new connections, and takes the next one when there is room", async () => {
    await using server = await startEchoServer({ settings: { connectionsMax: 1 } });
    {
      await using first = await RawWebSocket.join(server.port);
      expect((await rawRequest(server.port, "EIO=4&transport=polling")).status).toBe(503);
      await using refused = await RawWebSocket.open(server.port);
      expect(refused.status).toContain(" 503 ");
      first.send('42["message"]');
      expect(await first.text()).toBe('42["message-back"]');
    }
    await eventually("room for another", () => (server.gateway.connectionCount === 0 ? true : undefined));
    await using next = await RawWebSocket.join(server.port);
    next.send('42["message"]');
    expect(await next.text()).toBe('42["message-back"]');
  });

  test("[IN-1] an upgrade request that is nobody's is refused", async () => {
    await using server = await startEchoServer();
    const { status } = await fetch(`${server.url}/elsewhere`);
    expect(status).toBe(200);
    const answer = await new Promise<number>((resolve, reject) => {
      import("node:http").then(({ request }) => {
        const headers = { connection: "Upgrade", upgrade: "websocket" };
        const asked = request({ host: "127.0.0.1", port: server.port, path: "/elsewhere", headers, agent: false });
        asked.on("response", (response) => resolve(response.statusCode ?? 0));
        asked.on("error", reject);
        asked.end();
      }, reject);
    });
    expect(answer).toBe(404);
  });
});
