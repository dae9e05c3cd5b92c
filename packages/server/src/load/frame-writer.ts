export const opcode = { text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

let maskState = 0x9e3779b9;

/** A new mask per frame, as clients must: servers skip the unmasking under a mask of zeros, which would flatter them. */
function nextMask(): number {
  maskState ^= maskState << 13;
  maskState ^= maskState >>> 17;
  maskState ^= maskState << 5;
  return maskState === 0 ? 1 : maskState;
}

/** A masked client frame of Latin-1 text (everything that the generator sends is ASCII). */
export function textFrame(text: string): Buffer {
  return maskedFrame(opcode.text, Buffer.from(text, "latin1"));
}

export function maskedFrame(code: number, payload: Buffer): Buffer {
  const length = payload.length;
  const header = length < 126 ? 6 : length < 65_536 ? 8 : 14;
  const frame = Buffer.allocUnsafe(header + length);
  frame[0] = 0x80 | code;
  if (length < 126) {
    frame[1] = 0x80 | length;
  } else if (length < 65_536) {
    frame[1] = 0xfe;
    frame.writeUInt16BE(length, 2);
  } else {
    frame[1] = 0xff;
    frame.writeBigUInt64BE(BigInt(length), 2);
  }
  const mask = nextMask();
  frame.writeInt32BE(mask | 0, header - 4);
  for (let index = 0; index < length; index += 1) {
    frame[header + index] = (payload[index] ?? 0) ^ (mask >>> (24 - 8 * (index & 3)));
  }
  return frame;
}
