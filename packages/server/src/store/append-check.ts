import { hash } from "node:crypto";
import { bounds } from "@parley/protocol";
import type { Append, AppendBatch } from "./store.ts";

const nameLengthMax = 1_024;

/**
 * Whether a store of any kind can keep this append; one that it cannot is refused `bad_request`, alone. Databases
 * differ in what they do with NUL and lone surrogates (refuse, cut, replace), so neither gets that far.
 */
export function isStorable(append: Append): boolean {
  return (
    append.log.indexOf("/") > 0 &&
    isName(append.log) &&
    isName(append.id) &&
    isName(append.type) &&
    isName(append.actor) &&
    (append.clientId === null || isName(append.clientId)) &&
    Number.isSafeInteger(append.at) &&
    Number.isSafeInteger(append.v) &&
    isStorableData(append.data) &&
    isStorableEffect(append)
  );
}

/** Whether `data` keeps within the bound of one entry, in UTF-8 bytes, and survives as text. */
export function isStorableData(data: string): boolean {
  const bytesMax = bounds.entryBytes;
  return (
    data.length <= bytesMax && (data.length * 3 <= bytesMax || Buffer.byteLength(data) <= bytesMax) && isText(data)
  );
}

function isStorableEffect({ effect }: Append): boolean {
  if (effect === null) return true;
  switch (effect.kind) {
    case "edit":
      return Number.isSafeInteger(effect.target) && isText(effect.text);
    case "delete":
    case "erase":
      return Number.isSafeInteger(effect.target);
    case "membership":
      return isName(effect.userId);
  }
}

function isName(name: string): boolean {
  return name.length > 0 && name.length <= nameLengthMax && isText(name);
}

function isText(text: string): boolean {
  return text.isWellFormed() && !text.includes("\0");
}

const changes: ReadonlySet<string> = new Set(["edit", "deletion", "erasure", "membership"]);

/** Whether an entry of this type may be erased. Readers behind a change need it; erasing its message empties an edit. */
export function isErasable(type: string): boolean {
  return type !== "erased" && !changes.has(type);
}

/** What a journal row remembers of its batch, to know a repeat of it from another batch under the same number. */
export function batchKey(batch: AppendBatch): string {
  return hash("sha1", batch.appends.map(({ id }) => id).join(" "), "base64url");
}

/** Errors: throws `RangeError` unless `min <= count <= max`: a bug of the caller. */
export function checkBound(name: string, count: number, max: number, min = 0): void {
  if (!Number.isInteger(count) || count < min || count > max) {
    throw new RangeError(`${name} is ${count}, not ${min} to ${max}`);
  }
}
