import { deserialize, serialize } from "node:v8";
import type { Socket } from "node:net";

/** Beyond so many bytes that the other side has not read, what may be lost is not taken. */
const unreadBytesMax = 8_388_608;
const lengthBytes = 4;

export interface LinkEvents<In> {
  onMessage(message: In): void;
  /** The other process is gone, or has closed its side. Called once. */
  onLost(): void;
}

/**
 * Messages between two processes of one Parley, over a pipe: those of one turn of the event loop go as one frame, its
 * length and then a structured clone. Both sides are the same program, so they share types and parse nothing.
 *
 * Why not Node's own channel between processes: it carries sockets, too, one at a time, and whatever is sent after one
 * waits until the other side has taken it.
 */
export class Link<Out, In> {
  readonly #pipe: Socket;
  readonly #events: LinkEvents<In>;
  #unsent: Out[] = [];
  #received: Buffer[] = [];
  #receivedBytes = 0;
  /** Of the frame that is being received, with its length; 0 before that is known. */
  #frameBytes = 0;
  #lost = false;

  constructor(pipe: Socket, events: LinkEvents<In>) {
    this.#pipe = pipe;
    this.#events = events;
    pipe.on("data", (chunk: Buffer) => this.#receive(chunk));
    // A pipe that fails is closed, too.
    pipe.on("error", () => {});
    pipe.on("end", () => this.#lose());
    pipe.on("close", () => this.#lose());
  }

  /** What must arrive, as long as the other process lives. */
  send(message: Out): void {
    if (this.#lost) return;
    if (this.#unsent.length === 0) setImmediate(() => this.#flush());
    this.#unsent.push(message);
  }

  /** What may be lost. False: the other side is too far behind. */
  offer(message: Out): boolean {
    if (this.#pipe.writableLength > unreadBytesMax) return false;
    this.send(message);
    return true;
  }

  /** Resolves when what was sent before is on its way, and the other side knows that nothing follows. */
  close(): Promise<void> {
    this.#flush();
    this.#lost = true;
    return new Promise((resolve) => this.#pipe.end(() => resolve()));
  }

  #flush(): void {
    const messages = this.#unsent;
    this.#unsent = [];
    if (messages.length === 0 || this.#lost || !this.#pipe.writable) return;
    const body = serialize(messages);
    const length = Buffer.allocUnsafe(lengthBytes);
    length.writeUInt32LE(body.length);
    this.#pipe.cork();
    this.#pipe.write(length);
    this.#pipe.write(body);
    this.#pipe.uncork();
  }

  #receive(chunk: Buffer): void {
    this.#received.push(chunk);
    this.#receivedBytes += chunk.length;
    // Why not joined at once: a large frame comes in many pieces, and each joining would copy all before.
    while (this.#receivedBytes >= Math.max(lengthBytes, this.#frameBytes)) {
      const bytes = this.#received.length === 1 ? (this.#received[0] ?? chunk) : Buffer.concat(this.#received);
      this.#frameBytes = lengthBytes + bytes.readUInt32LE();
      this.#received = [bytes];
      if (bytes.length < this.#frameBytes) return;
      const frame = bytes.subarray(lengthBytes, this.#frameBytes);
      const rest = bytes.subarray(this.#frameBytes);
      this.#received = rest.length === 0 ? [] : [rest];
      this.#receivedBytes = rest.length;
      this.#frameBytes = 0;
      const messages: readonly In[] = deserialize(frame);
      for (const message of messages) this.#events.onMessage(message);
    }
  }

  #lose(): void {
    if (this.#lost) return;
    this.#lost = true;
    this.#events.onLost();
  }
}
