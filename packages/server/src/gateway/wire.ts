import type { Duplex } from "node:stream";
import { getSystemErrorName } from "node:util";

/** Frames that are not larger than this together are copied: for so few bytes it is cheaper than a gathering write. */
const copiedBytesMax = 4_096;

/** libuv's stream below a TCP connection, as Node's own sockets use it. */
interface TcpHandle {
  /** Writes what the kernel takes at once; only the rest, if any, waits with the request. Other than 0: nothing was begun. */
  writeBuffer(request: WriteRequest, data: Buffer): number;
}

interface WriteRequest {
  buffer?: Buffer;
  oncomplete?: (status: number) => void;
}

/** What `ws` and the gateway know of a socket: TCP or TLS. */
export type WireSocket = Duplex & {
  readonly writableLength: number;
  readonly encrypted?: boolean;
  readonly _handle?: TcpHandle | null;
};

/** Whose frames are written. */
export interface WireOwner {
  readonly wire: WireSocket | null;
  /** Bytes of the one write past the stream that waits until the kernel takes them; 0 nearly always. */
  unsentBytes: number;
}

interface StreamInternals {
  readonly WriteWrap: new () => WriteRequest;
  readonly streamBaseState: Int32Array;
  readonly kLastWriteWasAsync: number;
}

/** Writes ready frames. This file alone writes to raw sockets. */
export function writeFrames(owner: WireOwner, wire: WireSocket, frames: readonly Buffer[]): void {
  const [first] = frames;
  if (first === undefined) return;
  if (frames.length === 1) {
    writeBytes(owner, wire, first);
    return;
  }
  let bytes = 0;
  for (const frame of frames) bytes += frame.length;
  if (bytes <= copiedBytesMax) {
    writeBytes(owner, wire, Buffer.concat(frames, bytes));
    return;
  }
  wire.cork();
  for (const frame of frames) wire.write(frame);
  wire.uncork();
}

function writeBytes(owner: WireOwner, wire: WireSocket, data: Buffer): void {
  // Why not when something waits: what was written first goes first.
  const free = wire.writableLength === 0 && owner.unsentBytes === 0 && wire.encrypted !== true;
  if (!free || pastStream === null || !pastStream.write(owner, wire, data)) wire.write(data);
}

/** Writes past Node's stream, which the kernel takes at once nearly always (docs/decisions/0004). */
class PastStream {
  readonly #internals: StreamInternals;
  /** Used by one write after the other: those that end at once, as nearly all do, leave it as it was. */
  #request: WriteRequest;

  constructor(internals: StreamInternals) {
    this.#internals = internals;
    this.#request = new internals.WriteWrap();
  }

  /** False: nothing was written, and the stream will tell why. What the stream writes later comes after this. */
  write(owner: WireOwner, wire: WireSocket, data: Buffer): boolean {
    const { _handle: handle } = wire;
    if (handle === null || handle === undefined) return false;
    const { WriteWrap, streamBaseState, kLastWriteWasAsync } = this.#internals;
    const request = this.#request;
    const isRefused = handle.writeBuffer(request, data) !== 0;
    if (!isRefused && streamBaseState[kLastWriteWasAsync] === 0) return true;
    this.#request = new WriteWrap();
    if (isRefused) return false;
    owner.unsentBytes = data.length;
    request.buffer = data;
    request.oncomplete = (status) => {
      owner.unsentBytes = 0;
      if (status < 0 && !wire.destroyed) wire.destroy(new Error(`write ${getSystemErrorName(status)}`));
    };
    return true;
  }
}

/** Refuses an upgrade request with an HTTP error. */
export function refuseUpgrade(wire: Duplex, status: string, body: string): void {
  wire.on("error", ignore);
  if (wire.writable) {
    const head = `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Type: application/json\r\n`;
    wire.once("finish", () => wire.destroy());
    wire.end(`${head}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  } else {
    wire.destroy();
  }
}

function ignore(): void {}

const internals = streamInternals();
const pastStream = internals === null ? null : new PastStream(internals);

/** Node's own means; null in a Node that has them no more, where every write goes through the stream. */
function streamInternals(): StreamInternals | null {
  const binding: unknown = Reflect.get(process, "binding");
  if (typeof binding !== "function") return null;
  try {
    const found: unknown = Reflect.apply(binding, process, ["stream_wrap"]);
    return isStreamInternals(found) ? found : null;
  } catch {
    return null;
  }
}

function isStreamInternals(found: unknown): found is StreamInternals {
  if (typeof found !== "object" || found === null) return false;
  return (
    typeof Reflect.get(found, "WriteWrap") === "function" &&
    Reflect.get(found, "streamBaseState") instanceof Int32Array &&
    typeof Reflect.get(found, "kLastWriteWasAsync") === "number"
  );
}
