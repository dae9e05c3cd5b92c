import { clientEvents, errorCodes } from "@parley/protocol";
import * as fc from "fast-check";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startServer, type TestServer, tokenFor } from "./support/server.ts";
import { type Reply, UserClient } from "./support/user-client.ts";

let server: TestServer;
let cleanup: DisposableStack;

beforeAll(async () => {
  const many = { eventsPerSecond: 1_000_000, eventsBurst: 1_000_000 };
  const limits = { ...many, userEventsPerSecond: 1_000_000, userEventsBurst: 1_000_000, roomsPerConnectionMax: 1_000 };
  server = await startServer({ overrides: { limits } });
  await server.operations.putRoom({ roomId: "lobby" });
  for (const userId of ["alice", "bob"]) {
    await server.operations.setMembership({ roomId: "lobby", userId, role: "member" });
  }
});
afterAll(() => server[Symbol.asyncDispose]());
beforeEach(() => {
  cleanup = new DisposableStack();
});
afterEach(() => {
  // What nobody expected would have been answered with `internal`, and logged.
  const failures = server.lines.filter((line) => /request_failed|namespace_handler_failed/.test(line));
  cleanup.dispose();
  if (failures.length > 0) throw new Error(failures.join("\n"));
});

async function connect(userId: string, roles: readonly string[] = [], path = ""): Promise<UserClient> {
  const token = await tokenFor(server, userId, { roles });
  return cleanup.use(await UserClient.connect(`${server.url}${path}`, { token }));
}

/** A member who sits in the room and must not notice anything. */
async function watch(): Promise<UserClient> {
  const bob = await connect("bob");
  await bob.request("join_room", "lobby");
  await bob.settle();
  bob.forget();
  return bob;
}

function expectCoded(reply: Reply): void {
  expect(reply).toMatchObject({ ok: false, error: { code: expect.any(String), message: expect.any(String) } });
  expect(Object.keys(errorCodes)).toContain(reply.error?.code);
  expect(reply.error?.code).not.toBe("internal");
  expect(reply.error?.message.length).toBeLessThan(1_000);
}

const events = [
  "join_room",
  "leave_room",
  "send_message",
  "room_history",
  "typing",
  "presence",
  "refresh_token",
] as const;
type EventName = (typeof events)[number];

const valid: Readonly<Record<EventName, object>> = {
  join_room: { roomId: "lobby", history: 10 },
  leave_room: { roomId: "lobby" },
  send_message: { roomId: "lobby", text: "hello", clientId: "c-1", replyTo: "m-1", data: { a: [1] } },
  room_history: { roomId: "lobby", before: 10, limit: 10 },
  typing: { roomId: "lobby" },
  presence: { roomId: "lobby" },
  refresh_token: { token: "x.y.z" },
};

const oddTexts = [
  "",
  "__proto__",
  "constructor",
  "toString",
  "@user:bob",
  "@announcements",
  "line\nbreak",
  "nul\u0000",
  "\u001b[31mred",
  "\ud800",
  "x".repeat(129),
  "x".repeat(10_240),
  "../../etc/passwd",
  "'; drop table entry; --",
];
const oddNumbers = [-1, 0, 1.5, 101, 1e20, -0, Number.MAX_SAFE_INTEGER + 2];
const odd: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(...oddTexts, ...oddNumbers, null, true, [], {}, [[]], { roomId: {} }),
  fc.jsonValue({ maxDepth: 4 }),
  fc.string({ unit: "binary", maxLength: 40 }),
);

/** A valid payload with something wrong at one place, or something else altogether. */
function payloads(event: EventName): fc.Arbitrary<unknown> {
  const fields = [...Object.keys(valid[event]), "more", "__proto__", "constructor"];
  const mutated = fc.tuple(fc.constantFrom(...fields), odd).map(([field, value]) => {
    const payload = { ...valid[event] };
    Object.defineProperty(payload, field, { value, enumerable: true, configurable: true });
    return payload;
  });
  return fc.oneof(odd, mutated);
}

/** As the server gets it. */
function onTheWire(payload: unknown): unknown {
  const args: unknown[] = JSON.parse(JSON.stringify([payload]));
  return args[0];
}

describe("a payload of any form", () => {
  test.each(events)("[IN-1] %s of a member: what is not valid is refused, and changes nothing", async (event) => {
    const [alice, bob] = [await connect("alice"), await watch()];
    const before = await server.operations.room({ roomId: "lobby" });
    const invalid = payloads(event).filter((payload) => !clientEvents[event].safeParse(onTheWire(payload)).success);
    await fc.assert(
      fc.asyncProperty(invalid, async (payload) => {
        const reply = await alice.request(event, payload);
        expectCoded(reply);
        expect(reply.error?.code).toBe("bad_request");
      }),
      { numRuns: 150 },
    );
    expect(await server.operations.room({ roomId: "lobby" })).toEqual(before);
    expect(alice.received.map((one) => one.event)).toEqual(["connect"]);
    await bob.settle();
    expect(bob.received).toEqual([]);
  });

  test.each(events)("[IN-1] [ACC-1] %s of someone without rights: nothing is gained by it", async (event) => {
    const [mallory, bob] = [await connect("mallory"), await watch()];
    const before = await server.operations.rooms({});
    await fc.assert(
      fc.asyncProperty(payloads(event), async (payload) => {
        const reply = await mallory.request(event, payload);
        if (event === "leave_room" && reply.ok) return;
        expectCoded(reply);
        expect(["bad_request", "forbidden", "unauthorized"]).toContain(reply.error?.code);
      }),
      { numRuns: 100 },
    );
    expect(await server.operations.rooms({})).toEqual(before);
    expect(mallory.received.map((one) => one.event)).toEqual(["connect"]);
    await bob.settle();
    expect(bob.received).toEqual([]);
  });

  test("[IN-1] without an acknowledgement the refusal comes as `error`, with the event's name", async () => {
    const [alice, bob] = [await connect("alice"), await watch()];
    for (const event of events) {
      alice.socket.emit(event, { wrong: true });
      const [error] = (await alice.got("error", (refusal) => JSON.stringify(refusal).includes(event))).args;
      expect(error).toMatchObject({ code: "bad_request", event, message: expect.stringContaining(event) });
    }
    await bob.settle();
    expect(bob.received).toEqual([]);
  });

  test("[IN-1] missing and further arguments, and binary ones, are refused", async () => {
    const [alice, bob] = [await connect("alice"), await watch()];
    for (const event of events) {
      expectCoded(await alice.request(event));
      expectCoded(await alice.request(event, valid[event], "more"));
      expectCoded(await alice.request(event, Buffer.from("lobby")));
      expectCoded(
        await alice.request(event, { ...valid[event], roomId: Buffer.from("lobby"), token: Buffer.from("x") }),
      );
    }
    expectCoded(await alice.request("send_message", { roomId: "lobby", text: "hi", data: { file: Buffer.alloc(10) } }));
    await bob.settle();
    expect(bob.received).toEqual([]);
  });
});

describe("events that there are not", () => {
  const names = ["", "__proto__", "constructor", "toString", "hasOwnProperty", "new_message", "room_closed", "ping"];
  test.each([...names, "x".repeat(10_240), "\ud800", "line\nbreak"])("[IN-1] %j is unknown", async (event) => {
    const [alice, bob] = [await connect("alice"), await watch()];
    const reply = await alice.request(event, { roomId: "lobby", text: "hello" });
    expectCoded(reply);
    expect(reply.error?.code).toBe("unknown_event");
    alice.socket.emit(event, { roomId: "lobby", text: "hello" });
    const [error] = (await alice.got("error")).args;
    expect(error).toMatchObject({ code: "unknown_event" });
    await bob.settle();
    expect(bob.received).toEqual([]);
  });
});

describe("sizes", () => {
  test("[IN-1] what is as large as allowed passes; one more is refused by name", async () => {
    const [alice, bob] = [await connect("alice"), await watch()];
    const send = (more: object) => alice.request("send_message", { roomId: "lobby", text: "hello", ...more });
    const deep = (levels: number): unknown => (levels === 0 ? 1 : [deep(levels - 1)]);
    const allowed = [
      { text: "x".repeat(16_384) },
      { clientId: "x".repeat(64) },
      { replyTo: "x".repeat(64) },
      { data: deep(32) },
      { data: "x".repeat(65_000) },
    ];
    for (const more of allowed) expect(await send(more)).toMatchObject({ ok: true });
    const refused: readonly (readonly [object, string])[] = [
      [{ text: "x".repeat(16_385) }, "text"],
      [{ text: "" }, "text"],
      [{ clientId: "x".repeat(65) }, "clientId"],
      [{ clientId: "" }, "clientId"],
      [{ replyTo: "x".repeat(65) }, "replyTo"],
      [{ data: deep(33) }, "data"],
      [{ data: deep(100) }, "data"],
      [{ data: "x".repeat(65_536) }, "65536 bytes"],
      [{ data: "💬".repeat(20_000) }, "65536 bytes"],
      [{ roomId: "x".repeat(129) }, "roomId"],
    ];
    for (const [more, named] of refused) {
      const reply = await send(more);
      expectCoded(reply);
      expect(reply.error?.message).toContain(named);
    }
    await bob.settle();
    expect(bob.all("new_message")).toHaveLength(allowed.length);
  });
});

describe("names", () => {
  const names = [
    "__proto__",
    "constructor",
    "toString",
    "a/b",
    "a:b:1",
    "<b>&amp;</b>",
    "%00",
    '"',
    "日本 💬",
    "x".repeat(128),
  ];
  test.each(names)("[IN-1] %s is a room like any other, for a user of that name", async (name) => {
    await server.operations.putRoom({ roomId: name });
    await server.operations.setMembership({ roomId: name, userId: name, role: "member" });
    const user = await connect(name);
    expect(await user.request("join_room", name)).toMatchObject({ ok: true, roomId: name });
    expect(await user.request("send_message", { roomId: name, text: name, data: { [name]: name } })).toMatchObject({
      ok: true,
      seq: 2,
    });
    expect((await user.got("new_message")).args[0]).toMatchObject({ roomId: name, userId: name, text: name });
    expect(await user.request("presence", { roomId: name })).toMatchObject({ users: [name], count: 1 });
    await server.operations.notifyUser({ userId: name, event: "for_you", data: name });
    expect((await user.got("for_you")).args[0]).toBe(name);
    user.cut();
    await user.got("connect", (recovered) => recovered === true);
    expect(await user.request("send_message", { roomId: name, text: "again" })).toMatchObject({ ok: true, seq: 3 });
    await user.got("new_message", (message) => JSON.stringify(message).includes("again"));
    expect(user.texts).toEqual([name, "again"]);
  });
});

describe("/admin", () => {
  test("[IN-1] refuses what is no announcement, and nobody hears of it", async () => {
    const [admin, bob] = [await connect("root", ["admin"], "/admin"), await watch()];
    const deep = (levels: number): unknown => (levels === 0 ? 1 : [deep(levels - 1)]);
    for (const bad of [deep(40), "\ud800", Buffer.from("x"), "x".repeat(70_000)]) {
      expectCoded(await admin.request("broadcast_announcement", bad));
    }
    expectCoded(await admin.request("broadcast_announcement"));
    expectCoded(await admin.request("statistics", 7));
    for (const event of ["__proto__", "send_message", "x".repeat(10_240)]) {
      expect(await admin.request(event, {})).toMatchObject({ error: { code: "unknown_event" } });
    }
    admin.socket.emit("nothing");
    expect((await admin.got("error")).args[0]).toMatchObject({ code: "unknown_event" });
    await bob.settle();
    expect(bob.received).toEqual([]);
    expect(await admin.request("broadcast_announcement", { text: "hello" })).toMatchObject({ ok: true });
    expect((await bob.got("announcement")).args[0]).toEqual({ text: "hello" });
  });
});
