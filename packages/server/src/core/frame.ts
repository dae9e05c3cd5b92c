/**
 * Ready frames: unmasked WebSocket text frames as a server sends them, each holding one Engine.IO message with one
 * Socket.IO packet. They are made once and shared by every connection that gets them.
 */

const finalTextFrame = 0x81;

/** One frame with the given UTF-8 text. */
export function textFrame(text: string): Buffer {
  return fill(text, (bytes) => Buffer.allocUnsafeSlow(bytes));
}

/**
 * As `textFrame`, for a frame that is soon let go: it is cut from a piece (`Buffer.poolSize`, 64 KB in Node 24) that other
 * frames share, all of which it would keep. Why: memory of its own costs as much as the rest of making a frame, and again
 * when it is freed.
 */
export function passingFrame(text: string): Buffer {
  return fill(text, (bytes) => Buffer.allocUnsafe(bytes));
}

function fill(text: string, allocate: (bytes: number) => Buffer): Buffer {
  const length = Buffer.byteLength(text);
  const header = frameHeaderBytes(length);
  const frame = allocate(header + length);
  writeHeader(frame, length);
  frame.write(text, header, length, "utf8");
  return frame;
}

/** The frame of an event on `/` that is no entry. */
export function eventFrame(event: string, payload: object): Buffer {
  return textFrame(`42${JSON.stringify([event, payload])}`);
}

function frameHeaderBytes(payloadBytes: number): number {
  if (payloadBytes < 126) return 2;
  return payloadBytes < 65_536 ? 4 : 10;
}

function writeHeader(frame: Buffer, payloadBytes: number): void {
  frame[0] = finalTextFrame;
  if (payloadBytes < 126) {
    frame[1] = payloadBytes;
  } else if (payloadBytes < 65_536) {
    frame[1] = 126;
    frame.writeUInt16BE(payloadBytes, 2);
  } else {
    frame[1] = 127;
    frame.writeBigUInt64BE(BigInt(payloadBytes), 2);
  }
}

/** Payloads of concatenated unmasked frames with their opcodes, for transports that do not speak WebSocket. */
export function* payloadsOf(frames: Buffer): Generator<{ readonly opcode: number; readonly payload: Buffer }> {
  let at = 0;
  while (at < frames.length) {
    const opcode = frames.readUInt8(at) & 0x0f;
    let length = frames.readUInt8(at + 1) & 0x7f;
    let start = at + 2;
    if (length === 126) {
      length = frames.readUInt16BE(start);
      start += 2;
    } else if (length === 127) {
      length = Number(frames.readBigUInt64BE(start));
      start += 8;
    }
    yield { opcode, payload: frames.subarray(start, start + length) };
    at = start + length;
  }
}
