import { createHmac } from "node:crypto";
import { assert, property, string, uint8Array } from "fast-check";
import { expect, test } from "vitest";
import { HmacSha256 } from "./redis-hmac.ts";

function expected(secret: string, text: string, bytes: Buffer): string {
  return createHmac("sha256", secret).update(text).update("\0").update(bytes).digest("hex");
}

test("signs as node:crypto does, whatever the key, the channel and the message", () => {
  const keys = string({ unit: "binary", maxLength: 100 });
  assert(
    property(keys, string({ unit: "binary" }), uint8Array({ maxLength: 2_000 }), (secret, text, array) => {
      const bytes = Buffer.from(array);
      expect(new HmacSha256(secret).digest(text, bytes).toString("hex")).toBe(expected(secret, text, bytes));
    }),
  );
});

test("a large message is signed as a small one, and leaves nothing behind for the next", () => {
  const hmac = new HmacSha256("one secret of the cluster");
  for (const length of [10, 16_200, 16_384, 100_000, 0, 10]) {
    const bytes = Buffer.alloc(length, length % 251);
    expect(hmac.digest("channel ü", bytes).toString("hex")).toBe(
      expected("one secret of the cluster", "channel ü", bytes),
    );
  }
});
