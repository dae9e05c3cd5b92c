import { type OutboxStorage, webStorageOutbox } from "@parley/client";
import type { ChatUser } from "./chat-session.ts";

/** What was left unsent in this browser. Undefined where the browser keeps nothing: naming its storage throws then. */
export function unsentOf({ userId, roomId }: ChatUser): OutboxStorage | undefined {
  try {
    // Why by room, too: what was left unsent goes on where it was written.
    return webStorageOutbox(localStorage, `${userId}:${roomId}`);
  } catch {
    return undefined;
  }
}

/** The draft of this tab; empty where the browser keeps nothing. */
export function draftOf(user: ChatUser): string {
  try {
    return sessionStorage.getItem(draftKey(user)) ?? "";
  } catch {
    return "";
  }
}

/** Best effort: the storage may be blocked, or full. */
export function keepDraft(user: ChatUser, draft: string): void {
  try {
    if (draft === "") sessionStorage.removeItem(draftKey(user));
    else sessionStorage.setItem(draftKey(user), draft);
  } catch {
    // The draft is kept in the page alone.
  }
}

function draftKey({ userId, roomId }: ChatUser): string {
  return `parley:draft:${userId}:${roomId}`;
}
