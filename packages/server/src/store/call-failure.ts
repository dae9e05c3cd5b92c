import { BackupRefused, OutcomeUnknown, type Store, StoreUnavailable } from "./store.ts";

/** How a call of the port failed on the other side: nothing was changed; nobody knows; a bound was not kept; refused; a bug. */
export interface Failure {
  readonly kind: "unavailable" | "unknown" | "range" | "refused" | "bug";
  readonly message: string;
}

/** Calls that change nothing: when they are lost, it is known that nothing was changed. */
const reads: ReadonlySet<keyof Store> = new Set<keyof Store>([
  "states",
  "readAfter",
  "readMessages",
  "readJournal",
  "room",
  "rooms",
  "memberships",
  "members",
  "roomsOfUser",
  "inboxes",
  "revocations",
  "leases",
]);

export function isRead(method: keyof Store): boolean {
  return reads.has(method);
}

/** What the caller is told of a call whose answer will never come. */
export function lostCall(method: keyof Store, why: string): Error {
  const message = `${why} during ${String(method)}`;
  return isRead(method) ? new StoreUnavailable(message) : new OutcomeUnknown(message);
}

export function errorOf({ kind, message }: Failure): Error {
  switch (kind) {
    case "unavailable":
      return new StoreUnavailable(message);
    case "unknown":
      return new OutcomeUnknown(message);
    case "range":
      return new RangeError(message);
    case "refused":
      return new BackupRefused(message);
    case "bug":
      return new Error(message);
  }
}

/** The opposite of `errorOf`. */
export function failureOf(error: unknown): Failure {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof StoreUnavailable) return { kind: "unavailable", message };
  if (error instanceof OutcomeUnknown) return { kind: "unknown", message };
  if (error instanceof RangeError) return { kind: "range", message };
  if (error instanceof BackupRefused) return { kind: "refused", message };
  return { kind: "bug", message };
}
