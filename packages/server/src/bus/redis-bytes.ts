/** What a message of the bus is made of: texts with their length before them, and whole numbers, 7 bits a byte. */
export class ByteWriter {
  #buffer = Buffer.allocUnsafe(512);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#buffer[this.#length] = value;
    this.#length += 1;
  }

  /** A whole number, 0 to 2^53 - 1. */
  number(value: number): void {
    this.#reserve(8);
    let rest = value;
    while (rest >= 128) {
      this.#buffer[this.#length] = (rest % 128) + 128;
      this.#length += 1;
      rest = Math.floor(rest / 128);
    }
    this.#buffer[this.#length] = rest;
    this.#length += 1;
  }

  text(value: string): void {
    const size = Buffer.byteLength(value);
    this.number(size);
    this.#reserve(size);
    this.#buffer.write(value, this.#length);
    this.#length += size;
  }

  /** What was written; nothing may be written afterwards. */
  bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  #reserve(size: number): void {
    if (this.#length + size <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#length + size));
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }
}

/** The bytes are not what a node writes. */
export class GarbageError extends Error {
  override readonly name = "GarbageError";
}

/** Reads what `ByteWriter` wrote. Errors: every method throws `GarbageError` at bytes that it cannot have written. */
export class ByteReader {
  readonly #buffer: Buffer;
  #place: number;

  constructor(buffer: Buffer, from: number) {
    this.#buffer = buffer;
    this.#place = from;
  }

  byte(): number {
    const value = this.#buffer[this.#place];
    if (value === undefined) throw new GarbageError("ends early");
    this.#place += 1;
    return value;
  }

  number(): number {
    let value = 0;
    for (let factor = 1; factor <= 2 ** 49; factor *= 128) {
      const byte = this.byte();
      value += (byte % 128) * factor;
      if (byte >= 128) continue;
      if (!Number.isSafeInteger(value)) throw new GarbageError("a number is too large");
      return value;
    }
    throw new GarbageError("a number does not end");
  }

  text(): string {
    const size = this.number();
    const end = this.#place + size;
    if (end > this.#buffer.length) throw new GarbageError("a text is longer than the message");
    const value = this.#buffer.toString("utf8", this.#place, end);
    this.#place = end;
    return value;
  }

  /** All that follows. */
  rest(): Buffer {
    return this.#buffer.subarray(this.#place);
  }

  /** Nothing may follow. */
  end(): void {
    if (this.#place !== this.#buffer.length) throw new GarbageError("goes on after its end");
  }
}
