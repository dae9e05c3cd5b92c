import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { payloadsOf, textFrame } from "./frame.ts";

/** Payloads whose length is told in one byte, in two, and in eight. */
const headers = [
  { bytes: 0, header: 2 },
  { bytes: 125, header: 2 },
  { bytes: 126, header: 4 },
  { bytes: 65_535, header: 4 },
  { bytes: 65_536, header: 10 },
  { bytes: 1_000_000, header: 10 },
];

describe("frames", () => {
  test.each(headers)("[WIRE-1] $bytes bytes follow a header of $header", ({ bytes, header }) => {
    const frame = textFrame("x".repeat(bytes));
    expect(frame.length).toBe(header + bytes);
    expect([...payloadsOf(frame)].map(({ opcode, payload }) => [opcode, payload.length])).toEqual([[1, bytes]]);
  });

  test("[WIRE-1] any texts, lone surrogates too, come out of their joined frames as they went in", () => {
    const text = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.string({ unit: fc.constantFrom("\ud800", "\udfff", "a", "😀", "\0") }),
      fc.integer({ min: 120, max: 130 }).map((length) => "é".repeat(length)),
      fc.integer({ min: 65_530, max: 65_540 }).map((length) => "x".repeat(length)),
    );
    fc.assert(
      fc.property(fc.array(text, { maxLength: 8 }), (texts) => {
        const payloads = [...payloadsOf(Buffer.concat(texts.map(textFrame)))];
        // UTF-8 has no lone surrogates: each is a replacement character, of as many bytes.
        expect(payloads.map(({ payload }) => payload.toString())).toEqual(texts.map((one) => one.toWellFormed()));
      }),
    );
  });
});
