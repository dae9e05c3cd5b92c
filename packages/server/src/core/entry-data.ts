import type { Millis } from "./log.ts";

/**
 * `data` of an entry of type `message`, in its present state, as JSON text: the fields that clients see of a message
 * beside those of its entry (`text`, `replyTo?`, `data?`, `editedAt?`, `deletedAt?`; times as ISO 8601). Fields that a
 * newer node wrote are kept by an edit.
 */
type MessageFields = Readonly<Record<string, unknown>>;

/** The message after an edit; undefined when `data` is no message's, or that of a deleted one. */
export function editedMessage(data: string, text: string, at: Millis): string | undefined {
  const message = readMessage(data);
  return message === undefined ? undefined : JSON.stringify({ ...message, text, editedAt: isoTime(at) });
}

/** The tombstone of a deleted message: nothing of its text and data is left; undefined as for an edit. */
export function deletedMessage(data: string, at: Millis): string | undefined {
  const message = readMessage(data);
  return message === undefined
    ? undefined
    : JSON.stringify({ text: "", replyTo: message["replyTo"], deletedAt: isoTime(at) });
}

function readMessage(data: string): MessageFields | undefined {
  const fields = parse(data);
  return isObject(fields) && typeof fields["text"] === "string" && fields["deletedAt"] === undefined
    ? fields
    : undefined;
}

// Why: one poisoned row gets a refusal of its own, and never fails the batch that an edit of it shares.
function parse(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is MessageFields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isoTime(at: Millis): string {
  return new Date(at).toISOString();
}
