import {
  type Arbitrary,
  array,
  assert,
  asyncProperty,
  boolean,
  constant,
  constantFrom,
  integer,
  jsonValue,
  nat,
  oneof,
  option,
  property,
  record,
  string,
  tuple,
  uint8Array,
} from "fast-check";
import { Decoder, Encoder, type Packet as ReferencePacket, PacketType } from "socket.io-parser";
import { describe, expect, test } from "vitest";
import { encodeAck, encodeEvent, parsePacket } from "../packages/server/src/gateway/packets.ts";
import { defaultGatewaySettings } from "../packages/server/src/gateway/settings.ts";
import { type EchoServer, startEchoServer } from "./support/echo-gateway.ts";
import { type RawFrame, RawPolling, rawRequest, RawWebSocket } from "./support/raw-client.ts";

// Generated packets, frames and payloads at a live gateway. A failure prints the seed that repeats it. An exception
// that nobody catches, or a promise that nobody handles, fails the run.

const separator = "\u001e";

const names = constantFrom(
  "message",
  "ask",
  "throw",
  "reject",
  "leave",
  "__proto__",
  "constructor",
  "toString",
  "connect",
  "disconnect",
  "",
);
const namespaces = constantFrom("", "/admin,", "/random,", "/__proto__,", "/", "/admin", ",");
const ids = oneof(constant(""), nat().map(String), constantFrom("-1", "1e3", "99999999999999999999", "0x1"));
const values: Arbitrary<string> = jsonValue().map((value) => JSON.stringify(value));
const args = tuple(names, array(values, { maxLength: 3 })).map(
  ([name, rest]) => `[${[JSON.stringify(name), ...rest].join(",")}]`,
);
const placeholders = constantFrom(
  '["ask",{"_placeholder":true,"num":0}]',
  '["ask",{"_placeholder":true,"num":9}]',
  '[{"_placeholder":true,"num":0}]',
);
const kinds = constantFrom("0", "1", "2", "2", "2", "3", "4", "51-", "52-", "61-", "5", "50-", "599-", "7", "");
const wellFormed = tuple(kinds, namespaces, ids, oneof(args, values, placeholders, constant(""))).map(
  (parts) => `4${parts.join("")}`,
);
const cut = tuple(wellFormed, nat(60)).map(([packet, at]) => packet.slice(0, at));
const spoiled = tuple(wellFormed, nat(60), string({ maxLength: 3 })).map(
  ([packet, at, text]) => packet.slice(0, at) + text + packet.slice(at),
);
const packets = oneof(
  { weight: 4, arbitrary: wellFormed },
  cut,
  spoiled,
  string({ unit: "binary", maxLength: 50 }),
  constantFrom("3", "6", "5", "2", "2probe", "1", "0"),
);
const attachments = uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes));

async function neighbourWorks(neighbour: RawWebSocket): Promise<void> {
  neighbour.send('427["ask","hello"]');
  expect(await neighbour.text()).toBe('437["hello"]');
}

/** Runs a property against one gateway, with a neighbour that must go on working after each try. */
async function withNeighbour(check: (server: EchoServer, neighbour: RawWebSocket) => Promise<void>): Promise<void> {
  await using server = await startEchoServer();
  await using neighbour = await RawWebSocket.join(server.port);
  await check(server, neighbour);
  await expect.poll(() => server.gateway.connectionCount).toBe(1);
}

describe("a live gateway", () => {
  test("[IN-1] whatever packets a client sends, nobody else notices", async () => {
    await withNeighbour(async (server, neighbour) => {
      await assert(
        asyncProperty(
          array(oneof({ weight: 5, arbitrary: packets }, attachments), { minLength: 1, maxLength: 12 }),
          boolean(),
          async (sent, joined) => {
            await using client = joined ? await RawWebSocket.join(server.port) : await RawWebSocket.open(server.port);
            for (const packet of sent) client.send(packet);
            await neighbourWorks(neighbour);
          },
        ),
        { numRuns: 400 },
      );
    });
  });

  test("[IN-1] whatever frames a client sends, nobody else notices", async () => {
    const frame: Arbitrary<RawFrame> = record({
      fin: boolean(),
      reserved: constantFrom(0, 0, 0, 0, 1, 2, 4, 7),
      opcode: oneof(constantFrom(0, 1, 2, 8, 9, 10), integer({ min: 0, max: 15 })),
      masked: constantFrom(true, true, true, false),
      payload: oneof(
        packets.map((packet) => Buffer.from(packet)),
        attachments,
      ),
    });
    const lying = tuple(frame, integer({ min: 0, max: 1_100_000 })).map(([one, declaredLength]) => ({
      ...one,
      declaredLength,
    }));
    const garbage = uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));
    await withNeighbour(async (server, neighbour) => {
      await assert(
        asyncProperty(
          array(oneof({ weight: 6, arbitrary: frame }, lying, garbage), { minLength: 1, maxLength: 8 }),
          async (sent) => {
            await using client = await RawWebSocket.join(server.port);
            for (const one of sent) {
              if (Buffer.isBuffer(one)) client.socket.write(one);
              else client.sendFrame(one);
            }
            await neighbourWorks(neighbour);
          },
        ),
        { numRuns: 400 },
      );
    });
  });

  test("[IN-1] whatever payloads and queries come over HTTP, nobody else notices", async () => {
    const pieces = oneof(
      { weight: 5, arbitrary: packets },
      attachments.map((bytes) => `b${bytes.toString("base64")}`),
      string({ maxLength: 5 }).map((text) => `b${text}`),
    );
    const bodies = oneof(
      array(pieces, { maxLength: 6 }).map((parts) => Buffer.from(parts.join(separator))),
      attachments,
    );
    const queries = oneof(
      constantFrom(
        "",
        "EIO=4",
        "EIO=4&transport=polling&sid=x",
        "EIO=4&transport=websocket&sid=__proto__",
        "transport=polling",
        "%",
        "EIO=%ff&transport=%00",
      ),
      string({ maxLength: 20 }).map((text) => encodeURIComponent(text.toWellFormed())),
    );
    await withNeighbour(async (server, neighbour) => {
      await assert(
        asyncProperty(
          bodies,
          queries,
          constantFrom("GET", "POST", "PUT", "OPTIONS", "DELETE"),
          async (body, query, method) => {
            const polling = await RawPolling.start(server.port);
            await polling.join();
            const { status } = await polling.post(body);
            expect([200, 400]).toContain(status);
            await rawRequest(server.port, query, { method });
            await polling.post("1");
            await neighbourWorks(neighbour);
          },
        ),
        { numRuns: 150 },
      );
    });
  });
});

describe("packets", () => {
  const limits = defaultGatewaySettings;

  function reference(text: string): ReferencePacket | null {
    const decoded: ReferencePacket[] = [];
    const decoder = new Decoder();
    decoder.on("decoded", (packet) => decoded.push(packet));
    try {
      decoder.add(text);
    } catch {
      return null;
    }
    return decoded[0] ?? null;
  }

  const eventNames = string({ maxLength: 10 }).filter(
    (name) => parsePacket(`2${JSON.stringify([name])}`, limits) !== null,
  );
  const sentPackets = record({
    type: constantFrom(PacketType.EVENT, PacketType.ACK),
    nsp: constantFrom("/", "/admin", "/a-b", "/ü"),
    id: nat(),
    asks: boolean(),
    name: eventNames,
    rest: array(jsonValue(), { maxLength: 4 }),
  });

  test("[WIRE-1] what the reference parser writes is read as it reads it", () => {
    assert(
      property(sentPackets, ({ type, nsp, id, asks, name, rest }) => {
        const isEvent = type === PacketType.EVENT;
        const packet: ReferencePacket = { type, nsp, data: isEvent ? [name, ...rest] : rest };
        if (asks || !isEvent) packet.id = id;
        const [text] = new Encoder().encode(packet);
        const read = reference(String(text));
        expect(parsePacket(String(text), limits)).toEqual({
          type: isEvent ? "event" : "ack",
          namespace: read?.nsp,
          id: read?.id ?? null,
          args: read?.data,
        });
      }),
    );
  });

  test("[WIRE-1] what is written is read by the reference parser as it was meant", () => {
    assert(
      property(sentPackets, ({ type, nsp, id, name, rest }) => {
        const isEvent = type === PacketType.EVENT;
        const frames = isEvent ? encodeEvent(nsp, [name, ...rest]) : encodeAck(nsp, id, rest);
        const [frame] = frames;
        if (frame === undefined) throw new Error("no frame");
        const start = frame.readUInt8(1) < 126 ? 2 : frame.readUInt8(1) === 126 ? 4 : 10;
        const text = frame.toString("utf8", start);
        expect(text.charAt(0)).toBe("4");
        const json: unknown = JSON.parse(JSON.stringify(isEvent ? [name, ...rest] : rest));
        expect(reference(text.slice(1))).toMatchObject({ type, nsp, data: json });
      }),
    );
  });

  test("[IN-1] whatever text comes, it is a packet or it is refused, and the reference parser refuses no less than it must", () => {
    assert(
      property(oneof(packets, wellFormed, option(string(), { nil: "" })), (packet) => {
        const text = (packet ?? "").slice(1);
        const parsed = parsePacket(text, limits);
        if (parsed === null) return;
        const read = reference(text);
        // What Parley takes, Socket.IO takes, and means the same.
        expect(read).not.toBeNull();
        expect(read?.nsp).toBe(parsed.namespace);
        expect(read?.data).toEqual("args" in parsed ? parsed.args : read?.data);
      }),
      { numRuns: 2_000 },
    );
  });
});
