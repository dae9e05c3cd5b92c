import { describe, expect, test } from "vitest";
import { FrameReader, FramingError } from "./frame-reader.ts";
import { maskedFrame, opcode } from "./frame-writer.ts";

function serverFrame(payload: Buffer): Buffer {
  const { length } = payload;
  if (length < 126) return Buffer.concat([Buffer.from([0x81, length]), payload]);
  const header = Buffer.alloc(length < 65_536 ? 4 : 10);
  header[0] = 0x81;
  header[1] = length < 65_536 ? 126 : 127;
  if (length < 65_536) header.writeUInt16BE(length, 2);
  else header.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([header, payload]);
}

/** What a reader hands on when `bytes` come in pieces that end at `cuts`. */
function readIn(bytes: Buffer, cuts: readonly number[]): string[] {
  const seen: string[] = [];
  const reader = new FrameReader({
    onFrame: (code, buffer, start, end) => seen.push(`${code}:${buffer.toString("latin1", start, end)}`),
  });
  let from = 0;
  for (const to of [...cuts, bytes.length]) {
    // A buffer of its own, overwritten afterwards, as the shared read buffer is.
    const piece = Buffer.from(bytes.subarray(from, to));
    reader.read(piece, 0, piece.length);
    piece.fill(0xff);
    from = to;
  }
  return seen;
}

const payloads = [0, 1, 125, 126, 300, 0].map((length, index) => Buffer.alloc(length, `${index}`));
const stream = Buffer.concat(payloads.map(serverFrame));
const whole = payloads.map((payload) => `1:${payload.toString("latin1")}`);

describe("frame reader", () => {
  test("hands on the same frames wherever one read ends", () => {
    for (let cut = 0; cut <= stream.length; cut += 1) expect(readIn(stream, [cut])).toEqual(whole);
  });

  test("hands on the same frames when bytes come one by one", () => {
    expect(readIn(stream, Array.from(stream.keys()).slice(1))).toEqual(whole);
  });

  test("puts together a frame that is longer than a read", () => {
    const long = Buffer.alloc(200_000, "long");
    expect(readIn(serverFrame(long), [9, 10, 70_000, 140_000])).toEqual([`1:${long.toString("latin1")}`]);
  });

  test("refuses masked frames and fragments", () => {
    expect(() => readIn(maskedFrame(opcode.text, Buffer.from("masked")), [])).toThrow(FramingError);
    expect(() => readIn(Buffer.from([0x01, 1, 65]), [])).toThrow(FramingError);
  });
});

describe("frame writer", () => {
  test("masks payloads of every length code so that unmasking gives them back", () => {
    for (const length of [0, 5, 125, 126, 65_535, 65_536]) {
      const payload = Buffer.alloc(length, "abcdefg");
      const frame = maskedFrame(opcode.text, payload);
      const header = frame.length - length;
      const mask = frame.subarray(header - 4, header);
      const unmasked = frame.subarray(header).map((byte, index) => byte ^ (mask[index & 3] ?? 0));
      expect(Buffer.from(unmasked).equals(payload)).toBe(true);
      expect(mask.equals(Buffer.alloc(4))).toBe(false);
    }
  });
});
