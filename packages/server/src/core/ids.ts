import { randomBytes } from "node:crypto";
import { v7 } from "uuid";

/** Id of an entry: ascends with time within a process. */
export function newEntryId(): string {
  return v7();
}

/** 120 random bits, for ids that let their holder in. 20 characters of base64url. */
export function newSecret(): string {
  return randomBytes(15).toString("base64url");
}
