import { z } from "zod";

/** Bounds of names and texts on the wire. Lengths are in UTF-16 code units, as JavaScript counts them. */
export const bounds = {
  roomIdLength: 128,
  userIdLength: 128,
  sessionIdLength: 64,
  eventNameLength: 64,
  clientIdLength: 64,
  messageIdLength: 64,
  messageTextLength: 16_384,
  /** UTF-8 bytes of one entry's data, whatever its type. */
  entryBytes: 65_536,
  historyLimit: 100,
  resumeRooms: 1_000,
  /** Nesting of `data` and of announcements. */
  jsonDepth: 32,
} as const;

/**
 * Control characters (line breaks and terminal escapes included) and lone surrogates never enter a name: names reach logs,
 * and not every store can hold them.
 */
const controlCharacter = /\p{Cc}|\p{Cs}/u;

function nameOrNothing(what: string, lengthMax: number) {
  return z
    .string()
    .max(lengthMax, `${what} is longer than ${lengthMax} characters`)
    .refine((value) => !controlCharacter.test(value), `${what} has a control character or a lone surrogate`);
}

function name(what: string, lengthMax: number) {
  return nameOrNothing(what, lengthMax).min(1, `${what} is empty`);
}

/** A room as clients name it. Names that begin with `@` are the server's own logs. */
export const roomIdSchema = name("roomId", bounds.roomIdLength).refine(
  (value) => !value.startsWith("@"),
  "roomId begins with @, which is kept for the server's own logs",
);
export const userIdSchema = name("userId", bounds.userIdLength);
export const eventNameSchema = name("event", bounds.eventNameLength);
export const clientIdSchema = name("clientId", bounds.clientIdLength);
export const messageIdSchema = name("id", bounds.messageIdLength);
/** A stock client's `pid`. */
export const sessionIdSchema = nameOrNothing("pid", bounds.sessionIdLength);
/** The name of a room or user behind which a page begins; empty for the first page. */
export const afterNameSchema = nameOrNothing("after", Math.max(bounds.roomIdLength, bounds.userIdLength));

export const seqSchema = z.int().min(0);

/** Where a reader stands in a log: the life of the log, and the last `seq` it has. */
export const positionSchema = z.strictObject({
  epoch: z
    .string()
    .min(1)
    .max(64)
    .regex(/^[A-Za-z0-9._-]+$/),
  seq: seqSchema,
});
export type Position = z.infer<typeof positionSchema>;

export type JsonValue = string | number | boolean | null | readonly JsonValue[] | { readonly [key: string]: JsonValue };

function fits(value: unknown, depth: number): boolean {
  if (value === null || typeof value === "boolean") return true;
  if (typeof value === "string") return value.isWellFormed();
  if (typeof value === "number") return Number.isFinite(value);
  if (typeof value !== "object" || depth === 0) return false;
  if (Array.isArray(value)) return value.every((item) => fits(item, depth - 1));
  if (Object.getPrototypeOf(value) !== Object.prototype && Object.getPrototypeOf(value) !== null) return false;
  return Object.entries(value).every(([key, item]) => key.isWellFormed() && fits(item, depth - 1));
}

/** Plain JSON of bounded depth; its size is bounded by the entry or packet that carries it. */
export const jsonSchema = z.custom<JsonValue>((value) => value !== undefined && fits(value, bounds.jsonDepth), {
  error: ({ input }) => (input === undefined ? "is missing" : `not plain JSON of at most ${bounds.jsonDepth} levels`),
});
