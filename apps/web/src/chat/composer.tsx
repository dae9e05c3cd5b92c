import { type KeyboardEvent, type ReactNode, useEffect, useRef, useState } from "react";
import { belongsToComposition } from "../ui/composing.ts";
import { Icon } from "../ui/icons.tsx";
import { texts } from "../ui/texts.ts";
import { draftOf, keepDraft } from "./browser-storage.ts";
import type { ChatSession } from "./chat-session.ts";

// What the server takes.
const textLengthMax = 16_384;

/**
 * Where a message is written: Enter sends, Shift+Enter begins a line. The draft outlives the page. `ended`: nothing can
 * be sent any more, and what is written stays a draft.
 */
export function Composer({ session, ended }: { session: ChatSession; ended: boolean }): ReactNode {
  const { user } = session;
  const [draft, setDraft] = useState(() => draftOf(user));
  useEffect(() => keepDraft(user, draft), [user, draft]);
  const field = useRef<HTMLTextAreaElement>(null);
  const sendable = !ended && draft.trim() !== "";
  const send = (): void => {
    if (!sendable) return;
    session.send(draft.trim());
    setDraft("");
    // Why: the button, which has nothing to send any more, would take the focus with it, and a phone's keyboard.
    field.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key !== "Enter" || event.shiftKey || belongsToComposition(event.nativeEvent)) return;
    event.preventDefault();
    send();
  };
  const write = (text: string): void => {
    setDraft(text);
    if (text !== "") session.typing();
  };
  return (
    <form className="composer" action={send}>
      <textarea
        ref={field}
        rows={1}
        dir="auto"
        value={draft}
        maxLength={textLengthMax}
        aria-label={texts.messageLabel(user.roomId)}
        placeholder={texts.messagePlaceholder}
        onChange={(event) => write(event.target.value)}
        onKeyDown={onKeyDown}
      />
      <button type="submit" className="send-button" aria-label={texts.send} disabled={!sendable}>
        <Icon name="send" />
      </button>
    </form>
  );
}
