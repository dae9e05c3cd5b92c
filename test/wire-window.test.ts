import { array, assert, constant, constantFrom, integer, oneof, property, record } from "fast-check";
import { describe, expect, test } from "vitest";
import { textFrame } from "../packages/server/src/core/frame.ts";
import type { CloseReason, ConnectionEvents } from "../packages/server/src/gateway/connection.ts";
import { EngineConnection } from "../packages/server/src/gateway/engine-connection.ts";
import type { Handshake } from "../packages/server/src/gateway/handshake.ts";
import { TimerWheel } from "../packages/server/src/gateway/heartbeat.ts";
import { defaultGatewaySettings } from "../packages/server/src/gateway/settings.ts";
import { packetType, type Transport } from "../packages/server/src/gateway/transport.ts";
import { startEchoServer } from "./support/echo-gateway.ts";
import { collectGarbage } from "./support/garbage.ts";
import { RawPolling, RawWebSocket } from "./support/raw-client.ts";
import { SimulatedClock, SimulatedTimers } from "./support/simulated-clock.ts";

const windowBytes = 1_000;
const handshake: Handshake = { address: "", url: "", headers: {}, secure: false, at: 0 };

/** A transport whose client takes bytes when a test says so. */
class SimulatedTransport implements Transport {
  readonly name = "websocket";
  readonly written: Buffer[] = [];
  ended = "";
  #taken = 0;

  bufferedBytes(): number {
    return this.written.reduce((sum, frame) => sum + frame.length, 0) - this.#taken;
  }

  write(frames: readonly Buffer[]): void {
    this.written.push(...frames);
  }

  end(how: string): void {
    this.ended = how;
  }

  /** The client's kernel has got everything. */
  takeAll(): void {
    this.#taken += this.bufferedBytes();
  }

  get pings(): number {
    return this.texts.filter((text) => text === "2").length;
  }

  get texts(): string[] {
    return this.written.map((frame) => (frame.length > 4 ? "frame" : frame.toString("utf8", 2)));
  }
}

class RecordedEvents implements ConnectionEvents {
  readonly happened: string[] = [];
  onPacket(packet: string): void {
    this.happened.push(packet);
  }
  onBinary(): void {}
  onPinged(): void {
    this.happened.push("pinged");
  }
  onAnswered(): void {
    this.happened.push("answered");
  }
  onClosed(reason: CloseReason): void {
    this.happened.push(`closed:${reason}`);
  }
}

function setUp() {
  const clock = new SimulatedClock();
  const settings = { ...defaultGatewaySettings, windowBytes };
  const wheel = new TimerWheel(clock, 1_000);
  const transport = new SimulatedTransport();
  const events = new RecordedEvents();
  const shared = {
    settings,
    wheel,
    pingTicks: wheel.ticksWithin(settings.pingIntervalMs),
    pingTimeoutTicks: wheel.ticksBeyond(settings.pingTimeoutMs),
    connectTicks: wheel.ticksBeyond(settings.connectTimeoutMs),
    forget: () => {},
  };
  const connection = new EngineConnection("sid", shared, transport, handshake);
  connection.events = events;
  connection.joined();
  return { clock, transport, events, connection, pong: () => connection.onText(packetType.pong, "") };
}

/** A frame of exactly so many bytes. */
function frameOf(bytes: number): Buffer {
  const frame = textFrame("x".repeat(bytes > 127 ? bytes - 4 : bytes - 2));
  expect(frame.length).toBe(bytes);
  return frame;
}

describe("window", () => {
  test("[FEED-4] what is written counts until a ping behind it is answered", () => {
    const { connection, transport, pong } = setUp();
    expect(connection.free()).toBe(1_000);
    connection.write([frameOf(300), frameOf(150)]);
    expect(connection.free()).toBe(550);
    connection.write([frameOf(50)]);
    expect(transport.texts).toEqual(["frame", "frame", "frame", "2"]);
    connection.write([frameOf(200)]);
    transport.takeAll();
    expect(connection.free()).toBe(300);
    pong();
    expect(connection.free()).toBe(800);
  });

  test("[FEED-4] half a window since the last ping pings early, and one ping is outstanding at most", () => {
    const { connection, transport, events, pong } = setUp();
    connection.write([frameOf(499)]);
    expect(events.happened).toEqual([]);
    connection.write([frameOf(10)]);
    expect(events.happened).toEqual(["pinged"]);
    connection.write([frameOf(400)]);
    connection.write([frameOf(200)]);
    expect(events.happened).toEqual(["pinged"]);
    transport.takeAll();
    pong();
    expect(events.happened).toEqual(["pinged", "answered", "pinged"]);
    expect(transport.texts.at(-1)).toBe("2");
    expect(connection.free()).toBe(400);
    transport.takeAll();
    pong();
    expect(connection.free()).toBe(1_000);
  });

  test("[FEED-4] an answer to no ping frees nothing", () => {
    const { connection, events, pong } = setUp();
    connection.write([frameOf(400)]);
    pong();
    expect(connection.free()).toBe(600);
    expect(events.happened).toEqual([]);
  });

  test("[FEED-4] a client that answers pings it has not read gains nothing", () => {
    const { connection, transport, pong } = setUp();
    connection.write([frameOf(700)]);
    pong();
    expect(connection.free()).toBeLessThanOrEqual(300);
    transport.takeAll();
    expect(connection.free()).toBe(1_000);
  });

  test("[FEED-4] small replies beyond the window leave nothing free, and count until they are answered", () => {
    const { connection, transport, pong } = setUp();
    connection.write([frameOf(900)]);
    connection.write([frameOf(300)]);
    expect(connection.free()).toBe(0);
    transport.takeAll();
    pong();
    expect(connection.free()).toBe(700);
    connection.confirm();
    transport.takeAll();
    pong();
    expect(connection.free()).toBe(1_000);
  });

  test("[FEED-4] a confirmation pings now, or as soon as the outstanding ping is answered", () => {
    const { connection, events, pong } = setUp();
    connection.confirm();
    expect(events.happened).toEqual(["pinged"]);
    connection.confirm();
    connection.confirm();
    pong();
    expect(events.happened).toEqual(["pinged", "answered", "pinged"]);
    pong();
    expect(events.happened).toEqual(["pinged", "answered", "pinged", "answered"]);
  });

  test("[FEED-4] a ping that is not answered in time ends the connection, early pings too", async () => {
    const { clock, connection, transport, events } = setUp();
    connection.write([frameOf(600)]);
    await clock.advance(19_000);
    expect(events.happened).toEqual(["pinged"]);
    await clock.advance(3_000);
    expect(events.happened).toEqual(["pinged", "closed:ping_timeout"]);
    expect(transport.ended).toBe("abort");
    connection.write([frameOf(10)]);
    expect(transport.texts).toEqual(["frame", "2"]);
    expect(clock.waiting).toBe(0);
  });

  test("[FEED-4] a reader that takes a window per ping timeout is never cut", async () => {
    const { clock, connection, transport, events, pong } = setUp();
    for (let round = 0; round < 20; round++) {
      while (connection.free() > 100) connection.write([frameOf(100)]);
      await clock.advance(18_000);
      transport.takeAll();
      pong();
    }
    expect(events.happened.filter((what) => what.startsWith("closed"))).toEqual([]);
  });

  test("[IN-1] packets that carry nothing cut a connection when they are too many between two heartbeats, and only then", async () => {
    const { clock, connection, events, pong } = setUp();
    const { idlePacketsMax, pingIntervalMs } = defaultGatewaySettings;
    const sendIdle = (packets: number) => {
      for (let sent = 0; sent < packets; sent += 1) connection.onText(packetType.noop, "");
    };
    for (let round = 0; round < 3; round += 1) {
      sendIdle(idlePacketsMax);
      await clock.advance(pingIntervalMs);
      pong();
    }
    expect(connection.closed).toBe(false);
    sendIdle(idlePacketsMax + 1);
    expect(events.happened.at(-1)).toBe("closed:too_many_requests");
  });

  test("[FEED-4] whoever keeps within the window, nothing is ever lost from its accounts", () => {
    const step = oneof(
      record({ do: constant("write" as const), bytes: integer({ min: 130, max: 400 }) }),
      record({ do: constantFrom("pong" as const, "take" as const, "confirm" as const), bytes: constant(0) }),
    );
    assert(
      property(array(step, { maxLength: 200 }), (steps) => {
        const { connection, transport, pong } = setUp();
        for (const { do: what, bytes } of steps) {
          if (what === "write" && connection.free() >= bytes) connection.write([frameOf(bytes)]);
          if (what === "take") transport.takeAll();
          if (what === "pong") pong();
          if (what === "confirm") connection.confirm();
          // The window does not count pings, of three bytes each.
          expect(transport.bufferedBytes()).toBeLessThanOrEqual(windowBytes + 3 * transport.pings);
          expect(connection.free()).toBeGreaterThanOrEqual(0);
          expect(connection.free()).toBeLessThanOrEqual(windowBytes);
        }
        transport.takeAll();
        for (let pings = 0; pings < 3; pings++) pong();
        connection.confirm();
        pong();
        transport.takeAll();
        expect(connection.free()).toBe(windowBytes);
      }),
    );
  });
});

describe("requests", () => {
  test("[FEED-4] while half of the window is unanswered, requests wait and pongs are read", async () => {
    await using server = await startEchoServer({ settings: { windowBytes: 10_000 } });
    await using client = await RawWebSocket.join(server.port, { manual: true });
    const long = "x".repeat(6_000);
    client.send(`42["message","${long}"]`);
    expect(await client.text()).toBe(`42["message-back","${long}"]`);
    expect(await client.text()).toBe("2");
    client.send('420["ask",1]');
    client.send('421["ask",2]');
    client.sendFrame({ opcode: 9, payload: "read?" });
    expect(await client.next()).toMatchObject({ opcode: 10 });
    expect(server.main.events).toHaveLength(1);
    client.send("3");
    expect(await client.text()).toBe("430[1]");
    expect(await client.text()).toBe("431[2]");
  });

  test("[FEED-4] a client that asks on without reading is bounded, then cut", async () => {
    const clock = new SimulatedTimers();
    await using server = await startEchoServer({ clock, settings: { windowBytes: 20_000 } });
    await using client = await RawWebSocket.join(server.port, { manual: true });
    const long = "x".repeat(5_000);
    client.socket.pause();
    for (let at = 0; at < 100; at++) client.send(`42["message","${long}"]`);
    await expect.poll(() => server.main.events.length).toBeGreaterThan(1);
    client.sendFrame({ opcode: 1, payload: "6" });
    await expect.poll(() => server.main.pings).toBe(1);
    // Three replies are past the half; the fourth request and all others wait.
    expect(server.main.events.length).toBeLessThanOrEqual(3);
    await clock.advance(22_000);
    expect(server.closed).toEqual(["ping_timeout"]);
  });

  test.each([
    { what: "packets", settings: { pendingRequestsMax: 10 }, packet: '42["ask"]', count: 12 },
    {
      what: "bytes",
      settings: { pendingRequestBytesMax: 5_000 },
      packet: `42["ask","${"x".repeat(1_000)}"]`,
      count: 7,
    },
  ])("[FEED-4] too many waiting $what end the connection", async ({ settings, packet, count }) => {
    await using server = await startEchoServer({ settings });
    await using client = await RawWebSocket.join(server.port);
    client.send('42["never"]');
    for (let at = 0; at < count; at++) client.send(packet);
    expect(await client.closed).toBe(1008);
    expect(server.closed).toEqual(["too_many_requests"]);
    expect(server.main.events).toEqual([["never"]]);
  });

  test("[FEED-4] one packet alone may wait, whatever its size", async () => {
    await using server = await startEchoServer({ settings: { pendingRequestBytesMax: 100 } });
    await using client = await RawWebSocket.join(server.port);
    client.send('42["reject"]');
    client.send(`420["ask","${"x".repeat(1_000)}"]`);
    expect(await client.text()).toContain('"internal"');
    expect(await client.text()).toContain("430[");
  });

  test("[FEED-4] over polling, a client that never GETs is bounded by its window too", async () => {
    await using server = await startEchoServer({ settings: { windowBytes: 10_000 } });
    const polling = await RawPolling.start(server.port);
    await polling.join();
    const long = "x".repeat(4_000);
    for (let at = 0; at < 10; at++) await polling.post(`42["message","${long}"]`);
    for (let at = 0; at < 10; at++) await polling.post("3");
    expect(server.main.events.length).toBeLessThanOrEqual(2);
    const [client] = server.main.clients;
    expect(client?.connection.free()).toBeLessThan(2_000);
  });

  test("[FEED-4] over polling, a packet that waits keeps nothing alive of what came in one body with it", async () => {
    await using server = await startEchoServer();
    const polling = await RawPolling.start(server.port);
    await polling.post('40\u001e42["never"]');
    collectGarbage();
    const { heapUsed: before } = process.memoryUsage();
    for (let at = 0; at < 40; at++) await polling.post(`6${"x".repeat(900_000)}\u001e42["ask","waits for its turn"]`);
    collectGarbage();
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(10_000_000);
    expect(server.closed).toEqual([]);
  });
});
