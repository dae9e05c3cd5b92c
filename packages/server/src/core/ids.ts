import { randomBytes, randomInt } from "node:crypto";
import { v7 } from "uuid";

const randomBytesPerId = 16;
const randomBytesPerSecret = 15;
const pooledBytes = 4_096;
/** Enough, in base 36, for the next two thousand years. */
const secondDigits = 7;
let pool = Buffer.alloc(0);
let lastMs = 0;
let sequence = 0;

/** Id of an entry (UUID version 7): ascends within a process, by its time and then by its sequence. */
export function newEntryId(): string {
  const now = Date.now();
  if (now > lastMs) {
    lastMs = now;
    sequence = 0;
  } else {
    sequence += 1;
  }
  return v7({ msecs: lastMs, seq: sequence, random: nextRandom(randomBytesPerId) });
}

/** Why a pool: asking the system for each id was a twentieth of the work of a send. */
function nextRandom(bytes: number): Buffer {
  if (pool.length < bytes) pool = randomBytes(pooledBytes);
  const random = pool.subarray(0, bytes);
  pool = pool.subarray(bytes);
  return random;
}

/** 120 random bits, for ids that let their holder in. 20 characters of base64url. */
export function newSecret(): string {
  return nextRandom(randomBytesPerSecret).toString("base64url");
}

/**
 * As `newSecret`, after the second in which it was made: those of one time lie together in an index. In a storm of
 * connections each write of a batch of sessions would else touch a page of its own for every one of them.
 */
export function newDatedSecret(): string {
  return (
    Math.floor(Date.now() / 1_000)
      .toString(36)
      .padStart(secondDigits, "0") + newSecret()
  );
}

/** From `min`, below `max`; both are safe integers, less than 2⁴⁸ apart. */
export function randomNumber(min: number, max: number): number {
  // Why floored, whole as it is: it comes boxed, and would stay so wherever it is kept.
  return Math.floor(randomInt(min, max));
}
