import type { Duplex } from "node:stream";
import { getSystemErrorName } from "node:util";

/** Frames that are not larger than this together are copied: for so few bytes it is cheaper than a gathering write. */
const copiedBytesMax = 4_096;

/** libuv's stream below a TCP connection, as Node's own sockets use it. */
export interface TcpHandle {
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
  /** Where frames are written past the stream; null where that cannot be. */
  readonly handle: TcpHandle | null;
  /** The stream was given something since it was last seen empty. Why kept: to look costs as much as the rest of a write. */
  usesStream: boolean;
  /** Bytes of the one write past the stream that waits until the kernel takes them; 0 nearly always. */
  unsentBytes: number;
}

/** Bytes that the kernel has not taken yet. */
export function waitingBytes(owner: WireOwner): number {
  return owner.usesStream ? streamedBytes(owner) + owner.unsentBytes : owner.unsentBytes;
}

function streamedBytes(owner: WireOwner): number {
  const bytes = owner.wire?.writableLength ?? 0;
  if (bytes === 0) owner.usesStream = false;
  return bytes;
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
  writeByStream(owner, wire, frames);
}

function writeBytes(owner: WireOwner, wire: WireSocket, data: Buffer): void {
  const { handle } = owner;
  // Why not when something waits: what was written first goes first.
  if (handle !== null && waitingBytes(owner) === 0 && pastStream?.write(owner, handle, wire, data) === true) return;
  writeByStream(owner, wire, [data]);
}

function writeByStream(owner: WireOwner, wire: WireSocket, frames: readonly Buffer[]): void {
  if (!wire.writable) return;
  owner.usesStream = true;
  wire.cork();
  for (const frame of frames) wire.write(frame);
  wire.uncork();
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
  write(owner: WireOwner, handle: TcpHandle, wire: WireSocket, data: Buffer): boolean {
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

/** Where frames for the socket can be written past its stream; null with TLS, and where Node has no such thing. */
export function handleOf(wire: WireSocket): TcpHandle | null {
  const { _handle: handle } = wire;
  return pastStream === null || wire.encrypted === true ? null : (handle ?? null);
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
