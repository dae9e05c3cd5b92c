/**
 * What the bench carries in a message's text, so that every delivery can be checked and timed on any server:
 * `~P` room (5 digits) counter (8) seconds (5) microseconds (6) `~`, then padding. Fixed widths, plain ASCII: its place
 * in a frame hardly moves, so it is found without a search.
 */
export interface Marker {
  room: number;
  /** Messages sent to this room before this one. */
  counter: number;
  /** Time of sending on the generator's clock. */
  stampMicros: number;
}

const markerLength = 27;
export const roomsMax = 100_000;

export function markerText(room: number, counter: number, stampMicros: number): string {
  const seconds = Math.floor(stampMicros / 1e6);
  const micros = Math.floor(stampMicros - seconds * 1e6);
  return `~P${digits(room, 5)}${digits(counter, 8)}${digits(seconds, 5)}${digits(micros, 6)}~`;
}

/** A message text of `length` characters that begins with the marker. */
export function messageText(room: number, counter: number, stampMicros: number, length: number): string {
  return markerText(room, counter, stampMicros).padEnd(length, "x");
}

function digits(value: number, width: number): string {
  return String(value).padStart(width, "0");
}

/**
 * Offset of the marker in `buffer[start, end)` relative to `start`, or -1. `guess` is where the last frame had it: a
 * `seq` that grew by a digit moves it by one, anything else costs a search.
 */
export function findMarker(buffer: Buffer, start: number, end: number, guess: number): number {
  if (isMarker(buffer, start + guess, end)) return guess;
  if (isMarker(buffer, start + guess + 1, end)) return guess + 1;
  let found = buffer.indexOf("~P", start, "latin1");
  while (found !== -1 && found + markerLength <= end) {
    if (isMarker(buffer, found, end)) return found - start;
    found = buffer.indexOf("~P", found + 1, "latin1");
  }
  return -1;
}

function isMarker(buffer: Buffer, offset: number, end: number): boolean {
  return (
    buffer[offset] === 0x7e &&
    buffer[offset + 1] === 0x50 &&
    offset + markerLength <= end &&
    buffer[offset + markerLength - 1] === 0x7e
  );
}

/** Reads the marker at `offset` into `marker`, so that a million a second leave no garbage. False when it is damaged. */
export function readMarker(buffer: Buffer, offset: number, marker: Marker): boolean {
  const room = number(buffer, offset + 2, 5);
  const counter = number(buffer, offset + 7, 8);
  const seconds = number(buffer, offset + 15, 5);
  const micros = number(buffer, offset + 20, 6);
  marker.room = room;
  marker.counter = counter;
  marker.stampMicros = seconds * 1e6 + micros;
  return room >= 0 && counter >= 0 && seconds >= 0 && micros >= 0;
}

/** -1 or less when a byte is no digit. */
function number(buffer: Buffer, offset: number, width: number): number {
  let value = 0;
  let wrong = 0;
  for (let index = offset; index < offset + width; index += 1) {
    const digit = (buffer[index] ?? 0) - 0x30;
    wrong |= digit | (9 - digit);
    value = value * 10 + digit;
  }
  return wrong < 0 ? -1 : value;
}

const seqKey = Buffer.from('"seq":', "latin1");

/** Offset of the first digit after `"seq":` relative to `start`, or -1. `guess` as in `findMarker`. */
export function findSeq(buffer: Buffer, start: number, end: number, guess: number): number {
  if (isSeqKey(buffer, start + guess - seqKey.length) && start + guess < end) return guess;
  if (isSeqKey(buffer, start + guess + 1 - seqKey.length) && start + guess + 1 < end) return guess + 1;
  const found = buffer.indexOf(seqKey, start);
  return found === -1 || found + seqKey.length >= end ? -1 : found + seqKey.length - start;
}

function isSeqKey(buffer: Buffer, offset: number): boolean {
  return (
    buffer[offset] === 0x22 &&
    buffer[offset + 1] === 0x73 &&
    buffer[offset + 2] === 0x65 &&
    buffer[offset + 3] === 0x71 &&
    buffer[offset + 4] === 0x22 &&
    buffer[offset + 5] === 0x3a
  );
}

/** The decimal number at `offset`, or -1 when there is none. */
export function readDecimal(buffer: Buffer, offset: number, end: number): number {
  let value = 0;
  let index = offset;
  for (; index < end; index += 1) {
    const digit = (buffer[index] ?? 0) - 0x30;
    if (digit < 0 || digit > 9) break;
    value = value * 10 + digit;
  }
  return index === offset ? -1 : value;
}
