import { type OutboxStorage, webStorageOutbox } from "@parley/client";
import { tryStorage } from "../ui/try-storage.ts";
import type { ChatUser } from "./chat-session.ts";

/** What was left unsent in this browser. Undefined where the browser keeps nothing. */
export function unsentOf({ userId, roomId }: ChatUser): OutboxStorage | undefined {
  // Why by room, too: what was left unsent goes on where it was written.
  return tryStorage(() => webStorageOutbox(localStorage, `${userId}:${roomId}`));
}

/** The draft of this tab; empty where the browser keeps nothing. */
export function draftOf(user: ChatUser): string {
  return tryStorage(() => sessionStorage.getItem(draftKey(user))) ?? "";
}

/** Best effort: where the browser keeps nothing, the draft is in the page alone. */
export function keepDraft(user: ChatUser, draft: string): void {
  tryStorage(() => {
    if (draft === "") sessionStorage.removeItem(draftKey(user));
    else sessionStorage.setItem(draftKey(user), draft);
  });
}

/** The `seq` up to which the user has read the room in this browser. Undefined where nothing is kept. */
export function readSeqOf(user: ChatUser): number | undefined {
  const kept = tryStorage(() => localStorage.getItem(readKey(user))) ?? "";
  return /^\d{1,15}$/.test(kept) ? Number(kept) : undefined;
}

/** Best effort, as the draft. */
export function keepReadSeq(user: ChatUser, readSeq: number): void {
  tryStorage(() => localStorage.setItem(readKey(user), String(readSeq)));
}

function readKey({ userId, roomId }: ChatUser): string {
  return `parley:read:${userId}:${roomId}`;
}

function draftKey({ userId, roomId }: ChatUser): string {
  return `parley:draft:${userId}:${roomId}`;
}
