/** Called for each complete frame; the payload is `buffer[start, end)` and is valid during the call only. */
export interface FrameSink {
  onFrame(opcode: number, buffer: Buffer, start: number, end: number): void;
}

const largestHeaderBytes = 14;
/** A server of these workloads never sends more in one frame: more means that framing was lost. */
const payloadBytesMax = 16 * 1024 * 1024;

export class FramingError extends Error {
  override readonly name = "FramingError";
}

/**
 * Reads WebSocket frames from the bytes of one connection, incrementally and without copying: whole frames are handed
 * on in place, and only a frame that the end of a read cut in two is put together in a buffer of its own.
 */
export class FrameReader {
  readonly #sink: FrameSink;
  #cut: Buffer | undefined;
  #cutBytes = 0;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** Errors: throws `FramingError` on a masked, fragmented or oversized frame; the connection is lost then. */
  read(buffer: Buffer, from: number, to: number): void {
    let offset = this.#cut === undefined ? from : this.#completeCutFrame(this.#cut, buffer, from, to);
    while (offset < to) {
      const header = headerBytes(buffer, offset, to);
      const end = header === 0 ? 0 : offset + header + payloadBytes(buffer, offset, header);
      if (header === 0 || end > to) {
        this.#keep(buffer, offset, to, header === 0 ? largestHeaderBytes : end - offset);
        return;
      }
      this.#sink.onFrame(opcodeOf(buffer, offset), buffer, offset + header, end);
      offset = end;
    }
  }

  #keep(buffer: Buffer, from: number, to: number, wantedBytes: number): void {
    const cut = Buffer.allocUnsafe(wantedBytes);
    buffer.copy(cut, 0, from, to);
    this.#cut = cut;
    this.#cutBytes = to - from;
  }

  /** Returns where the next whole frame begins, or `to` when the cut one still lacks bytes. */
  #completeCutFrame(started: Buffer, buffer: Buffer, from: number, to: number): number {
    let cut = started;
    let offset = from;
    let header = headerBytes(cut, 0, this.#cutBytes);
    while (header === 0 && offset < to) {
      cut[this.#cutBytes] = buffer[offset] ?? 0;
      this.#cutBytes += 1;
      offset += 1;
      header = headerBytes(cut, 0, this.#cutBytes);
    }
    if (header === 0) return to;
    const frameBytes = header + payloadBytes(cut, 0, header);
    if (cut.length < frameBytes) {
      const whole = Buffer.allocUnsafe(frameBytes);
      cut.copy(whole, 0, 0, this.#cutBytes);
      cut = whole;
      this.#cut = cut;
    }
    const taken = Math.min(frameBytes - this.#cutBytes, to - offset);
    buffer.copy(cut, this.#cutBytes, offset, offset + taken);
    this.#cutBytes += taken;
    offset += taken;
    if (this.#cutBytes < frameBytes) return to;
    this.#cut = undefined;
    this.#sink.onFrame(opcodeOf(cut, 0), cut, header, frameBytes);
    return offset;
  }
}

/** Header length of the frame at `offset`, or 0 while not all of its header has come. */
function headerBytes(buffer: Buffer, offset: number, to: number): number {
  if (to - offset < 2) return 0;
  const lengthCode = buffer[offset + 1] ?? 0;
  const bytes = lengthCode < 126 ? 2 : lengthCode === 126 ? 4 : 10;
  return to - offset < bytes ? 0 : bytes;
}

function payloadBytes(buffer: Buffer, offset: number, header: number): number {
  const lengthCode = buffer[offset + 1] ?? 0;
  if (lengthCode > 127) throw new FramingError("the server sent a masked frame");
  if (header === 2) return lengthCode;
  if (header === 4) return ((buffer[offset + 2] ?? 0) << 8) | (buffer[offset + 3] ?? 0);
  const length = Number(buffer.readBigUInt64BE(offset + 2));
  if (length > payloadBytesMax) throw new FramingError(`the server sent a frame of ${length} bytes`);
  return length;
}

function opcodeOf(buffer: Buffer, offset: number): number {
  const first = buffer[offset] ?? 0;
  if ((first & 0xf0) !== 0x80) throw new FramingError("the server sent a fragment or a reserved bit");
  return first & 0x0f;
}
