import { write, writeSync } from "node:fs";

/** Lines that come within this time of the first are written together. */
const gatherMs = 20;
const gatheredLengthMax = 65_536;
/** Text that waits for a reader who is slow; lines beyond it are dropped, as are those that could not be written. */
const waitingLengthMax = 8_388_608;
/** A pipe that is full is tried again after this time; at the process's end so often, and no more. */
const fullPauseMs = 20;
const fullPausesMax = 50;
const nothing: Buffer = Buffer.alloc(0);

/**
 * Lines to a file descriptor, in the background, so that a storm of connections does not wait for its log; an exit waits
 * for what is left, unless its reader has gone, or does not read for a second.
 *
 * Why gathered: each write goes through another thread, which was a tenth of what a connection cost. Why not pino's own
 * destination: at an exit it tries for ever to write to a reader who has gone, and the process never ends.
 */
export class LogOutput {
  readonly #fd: number;
  #gathered = "";
  /** What is left of a write that found the pipe full. */
  #paused = nothing;
  #isScheduled = false;
  #isWriting = false;

  constructor(fd: number) {
    this.#fd = fd;
    process.once("exit", () => this.#writeLast());
  }

  write(line: string): void {
    if (this.#gathered.length + line.length > waitingLengthMax) return;
    this.#gathered += line;
    if (this.#isWriting) return;
    if (this.#gathered.length >= gatheredLengthMax) this.#writeGathered();
    else this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setTimeout(() => {
      this.#isScheduled = false;
      this.#writeGathered();
    }, gatherMs);
  }

  #writeGathered(): void {
    if (this.#isWriting || this.#gathered === "") return;
    this.#isWriting = true;
    this.#writeRest(this.#takeGathered());
  }

  #takeGathered(): Buffer {
    const bytes = Buffer.from(this.#gathered);
    this.#gathered = "";
    return bytes;
  }

  #writeRest(bytes: Buffer): void {
    write(this.#fd, bytes, (error, written) => {
      if (error?.code === "EAGAIN") this.#pause(bytes);
      else if (error === null && written < bytes.length) this.#writeRest(bytes.subarray(written));
      else this.#endWrite();
    });
  }

  #pause(bytes: Buffer): void {
    this.#paused = bytes;
    setTimeout(() => {
      this.#paused = nothing;
      this.#writeRest(bytes);
    }, fullPauseMs);
  }

  #endWrite(): void {
    this.#isWriting = false;
    if (this.#gathered !== "") this.#schedule();
  }

  /** What is on its way in the background is left to it. */
  #writeLast(): void {
    let bytes = Buffer.concat([this.#paused, this.#takeGathered()]);
    for (let pauses = 0; bytes.length > 0 && pauses < fullPausesMax; ) {
      const written = this.#writeNow(bytes);
      if (written === null) return;
      bytes = bytes.subarray(written);
      if (written > 0) continue;
      pauses += 1;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, fullPauseMs);
    }
  }

  /** How much was written; null when nothing can be. */
  #writeNow(bytes: Buffer): number | null {
    try {
      return writeSync(this.#fd, bytes);
    } catch (error) {
      const isFull = error instanceof Error && "code" in error && error.code === "EAGAIN";
      return isFull ? 0 : null;
    }
  }
}
