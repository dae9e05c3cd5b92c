import { useSyncExternalStore } from "react";
import type { ChatSession, ChatState } from "./chat-session.ts";

/** The session's state, and again whenever it changes. */
export function useChat(session: ChatSession): ChatState {
  return useSyncExternalStore(session.subscribe, session.snapshot);
}
