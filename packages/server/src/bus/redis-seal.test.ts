import { createHmac } from "node:crypto";
import { assert, property, uint8Array } from "fast-check";
import { expect, test } from "vitest";
import { logId } from "../core/log.ts";
import { ByteReader, ByteWriter, GarbageError } from "./redis-bytes.ts";
import { slotOf } from "./redis-channels.ts";
import type { BusMessage } from "./messages.ts";
import { Seal } from "./redis-seal.ts";

const secret = "one secret of the cluster";
const channel = "parley:log:default/room-1";
const log = logId("default", "room-1");
const hint: BusMessage = { kind: "hint", hint: { log, epoch: "e", from: 41, to: 42, events: ["[]", "[1]"] } };
const messages: readonly BusMessage[] = [
  hint,
  { kind: "signal", log, signal: { kind: "presence_wanted", node: "node-1" } },
  { kind: "digest", digest: { node: "node-1", after: 1, n: 2, heads: [{ log, epoch: "e", head: 3 }] } },
  { kind: "message", message: { kind: "session_claimed", from: "node-1", pid: "p", generation: 1 } },
];

/** As a node with the secret would sign them. */
function signed(body: Buffer): Buffer {
  const signature = createHmac("sha256", secret).update(channel).update("\0").update(body).digest();
  return Buffer.concat([signature.subarray(0, 16), body]);
}

const receiver = new Seal(secret, "node-2");

test.each(messages)("a $kind is opened as it was closed", (message) => {
  const sealed = new Seal(secret, "node-1").close(channel, message);
  expect(receiver.open(channel, sealed)).toEqual({ ok: true, message });
});

test("a node knows its own messages unopened, and takes nobody else's for them", () => {
  for (const node of ["node-2", "node-20", "node-", "node-1"]) {
    const sealed = new Seal(secret, node).close(channel, hint);
    expect(receiver.isOwn(sealed)).toBe(node === "node-2");
  }
  expect(receiver.isOwn(Buffer.alloc(0))).toBe(false);
});

test("what was changed, cut off, signed with another secret or copied to another channel is forged", () => {
  const sealed = new Seal(secret, "node-1").close(channel, hint);
  for (let place = 0; place < sealed.length; place += 1) {
    const changed = Buffer.from(sealed);
    changed[place] = (changed[place] ?? 0) ^ 1;
    expect(receiver.open(channel, changed)).toEqual({ ok: false, reason: "forged" });
  }
  const other = new Seal("another secret", "node-1").close(channel, hint);
  for (const bytes of [sealed.subarray(0, -1), other]) expect(receiver.open(channel, bytes).ok).toBe(false);
  expect(receiver.open(`${channel}0`, sealed)).toEqual({ ok: false, reason: "forged" });
});

test("what a newer version signed is left alone, whatever it holds", () => {
  expect(receiver.open(channel, signed(Buffer.from([2, 255, 255])))).toEqual({ ok: false, reason: "newer" });
});

test("bytes of every kind are refused, and nothing is thrown", () => {
  assert(
    property(uint8Array({ maxLength: 200 }), (bytes) => {
      expect(receiver.open(channel, Buffer.from(bytes)).ok).toBe(false);
      // Why signed: so that they reach the parser.
      const opened = receiver.open(channel, signed(Buffer.from([1, ...bytes])));
      expect(["opened", "garbage"]).toContain(opened.ok ? "opened" : opened.reason);
    }),
    { seed: 7, numRuns: 2_000 },
  );
  for (const message of messages) {
    const body = new Seal(secret, "node-1").close(channel, message).subarray(16);
    for (let end = 1; end < body.length; end += 1)
      expect(receiver.open(channel, signed(body.subarray(0, end)))).toEqual({ ok: false, reason: "garbage" });
    expect(receiver.open(channel, signed(Buffer.concat([body, Buffer.of(0)])))).toEqual({
      ok: false,
      reason: "garbage",
    });
  }
});

test("what somebody else has encoded comes back as it was, and not from another channel or changed", () => {
  const body = Buffer.from([0, 1, 255, 123]);
  const bytes = new Seal(secret, "node-1").closeBytes(channel, body);
  expect(receiver.openBytes(channel, bytes)).toEqual({ ok: true, body });
  expect(receiver.openBytes(`${channel}!`, bytes)).toEqual({ ok: false, reason: "forged" });
  bytes[bytes.length - 1] = 0;
  expect(receiver.openBytes(channel, bytes)).toEqual({ ok: false, reason: "forged" });
  for (const garbage of [Buffer.alloc(0), Buffer.from('{"type":3}')])
    expect(receiver.openBytes(channel, garbage)).toEqual({ ok: false, reason: "garbage" });
});

test("a hint of more than 4 KB of events carries positions only", () => {
  const sealedHint = (text: string) => {
    const message: BusMessage = { kind: "hint", hint: { log, epoch: "e", from: 1, to: 1, events: [text] } };
    const opened = receiver.open(channel, new Seal(secret, "node-1").close(channel, message));
    return opened.ok && opened.message.kind === "hint" ? opened.message.hint.events : undefined;
  };
  expect(sealedHint("x".repeat(4_096))).toEqual(["x".repeat(4_096)]);
  expect(sealedHint("x".repeat(4_097))).toBe(null);
  expect(sealedHint("é".repeat(2_049))).toBe(null);
});

test.each([
  { from: 0, to: 1, events: null },
  { from: 2, to: 1, events: null },
  { from: 1, to: 3, events: ["[]", "[]"] },
  { from: 1, to: 1, events: ["[]", "[]"] },
])("[FEED-2] a hint of entries that cannot be is garbage: $from to $to", (entries) => {
  const message: BusMessage = { kind: "hint", hint: { log, epoch: "e", ...entries } };
  const sealed = new Seal(secret, "node-1").close(channel, message);
  expect(receiver.open(channel, sealed)).toEqual({ ok: false, reason: "garbage" });
});

test("numbers of every size come back, and those that no node writes do not", () => {
  for (const value of [0, 127, 128, 16_383, 2 ** 31, 2 ** 49, Number.MAX_SAFE_INTEGER]) {
    const writer = new ByteWriter();
    writer.number(value);
    expect(new ByteReader(writer.bytes(), 0).number()).toBe(value);
  }
  for (const bytes of [Buffer.alloc(20, 255), Buffer.from([255, 255, 255, 255, 255, 255, 255, 127])])
    expect(() => new ByteReader(bytes, 0).number()).toThrow(GarbageError);
});

test("slots are those of Redis", () => {
  // By CLUSTER KEYSLOT.
  expect(slotOf("123456789")).toBe(12_739);
  expect(slotOf("foo{hash_tag}")).toBe(slotOf("hash_tag"));
  expect(slotOf("foo{}{bar}")).toBe(8_363);
  expect(slotOf("foo{{bar}}zap")).toBe(slotOf("{bar"));
});
