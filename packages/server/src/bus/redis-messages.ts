import type { z } from "zod";
import type { LogId, Seq } from "../core/log.ts";
import type { Digest, Hint } from "./bus.ts";
import type { BusMessage } from "./messages.ts";
import { type ByteReader, type ByteWriter, GarbageError } from "./redis-bytes.ts";
import { asLogId, nodeMessageSchema, signalSchema } from "./redis-schemas.ts";

const kinds = { hint: 1, signal: 2, digest: 3, message: 4 } as const;

/** Above it a hint carries positions only: who follows the log reads the store, where the entries are anyway. */
const eventsBytesMax = 4_096;

/** The body of a message. Errors: none; what a node says of itself is not checked. */
export function encodeMessage(message: BusMessage, writer: ByteWriter): void {
  writer.byte(kinds[message.kind]);
  switch (message.kind) {
    case "hint":
      writeHint(message.hint, writer);
      return;
    case "signal":
      writer.text(message.log);
      writer.text(JSON.stringify(message.signal));
      return;
    case "digest":
      writeDigest(message.digest, writer);
      return;
    case "message":
      writer.text(JSON.stringify(message.message));
      return;
    default:
      message satisfies never;
  }
}

/** Errors: throws `GarbageError` at what no node of this version writes. */
export function decodeMessage(reader: ByteReader): BusMessage {
  const message = readMessage(reader);
  reader.end();
  return message;
}

function readMessage(reader: ByteReader): BusMessage {
  const kind = reader.byte();
  switch (kind) {
    case kinds.hint:
      return { kind: "hint", hint: readHint(reader) };
    case kinds.signal:
      return { kind: "signal", log: readLog(reader), signal: readJson(reader, signalSchema) };
    case kinds.digest:
      return { kind: "digest", digest: readDigest(reader) };
    case kinds.message:
      return { kind: "message", message: readJson(reader, nodeMessageSchema) };
    default:
      throw new GarbageError("unknown kind");
  }
}

function writeHint({ log, epoch, from, to, events }: Hint, writer: ByteWriter): void {
  writer.text(log);
  writer.text(epoch);
  writer.number(from);
  writer.number(to);
  const carried = events !== null && bytesOf(events) <= eventsBytesMax ? events : [];
  writer.number(carried.length);
  for (const event of carried) writer.text(event);
}

// Why first by length: it is known, and never more than the bytes.
function bytesOf(events: readonly string[]): number {
  let bytes = 0;
  for (const { length } of events) bytes += length;
  if (bytes > eventsBytesMax) return bytes;
  bytes = 0;
  for (const event of events) bytes += Buffer.byteLength(event);
  return bytes;
}

function readHint(reader: ByteReader): Hint {
  const log = readLog(reader);
  const epoch = reader.text();
  const from = reader.number();
  const to = reader.number();
  const count = reader.number();
  if (from < 1 || to < from) throw new GarbageError("no entries");
  if (count === 0) return { log, epoch, from, to, events: null };
  if (count !== to - from + 1) throw new GarbageError("as many events as entries");
  // Why not at once an array of that size: the count is only believed as far as there are bytes.
  const events: string[] = [];
  while (events.length < count) events.push(reader.text());
  return { log, epoch, from, to, events };
}

function writeDigest({ node, after, n, heads }: Digest, writer: ByteWriter): void {
  writer.text(node);
  writer.number(after);
  writer.number(n);
  writer.number(heads.length);
  for (const { log, epoch, head } of heads) {
    writer.text(log);
    writer.text(epoch);
    writer.number(head);
  }
}

function readDigest(reader: ByteReader): Digest {
  const node = reader.text();
  const after = reader.number();
  const n = reader.number();
  const count = reader.number();
  const heads: { log: LogId; epoch: string; head: Seq }[] = [];
  while (heads.length < count) heads.push({ log: readLog(reader), epoch: reader.text(), head: reader.number() });
  return { node, after, n, heads };
}

function readLog(reader: ByteReader): LogId {
  const log = asLogId(reader.text());
  if (log === undefined) throw new GarbageError("no log id");
  return log;
}

function readJson<Schema extends z.ZodType>(reader: ByteReader, schema: Schema): z.output<Schema> {
  const text = reader.text();
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new GarbageError("no JSON");
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw new GarbageError("JSON of another shape");
  return parsed.data;
}
