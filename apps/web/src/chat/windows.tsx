import { type ReactNode, useEffect, useRef, useState } from "react";
import { flushSync } from "react-dom";
import { Avatar } from "../ui/avatar.tsx";
import { texts } from "../ui/texts.ts";
import { isCharacter, isCommand, useKey } from "../ui/use-key.ts";
import type { ChatSession } from "./chat-session.ts";
import { KeyList } from "./key-list.tsx";
import { unreadAfter } from "./reading.ts";
import { useChat } from "./use-chat.ts";
import { ChatWindow } from "./window.tsx";

/** One window for each user. Where there is no room for them side by side, one is shown and the others are a tab away. */
export function Windows({ sessions }: { sessions: readonly ChatSession[] }): ReactNode {
  useLifetime(sessions);
  const [shown, setShown] = useState(0);
  const [keysListed, setKeysListed] = useState(false);
  const main = useRef<HTMLElement>(null);
  const manyWindows = sessions.length > 1;
  const showNext = (): void => {
    const frames = [...(main.current?.querySelectorAll<HTMLElement>(".window") ?? [])];
    const focused = frames.findIndex((frame) => frame.contains(document.activeElement));
    const next = ((focused < 0 ? shown : focused) + 1) % sessions.length;
    // Why at once: a window that is not shown cannot take the focus.
    flushSync(() => setShown(next));
    frames[next]?.querySelector<HTMLElement>(".composer textarea")?.focus();
  };
  useKey((event) => manyWindows && isCommand(event, "k"), showNext);
  useKey(
    (event) => isCharacter(event, "?"),
    () => setKeysListed(true),
  );
  return (
    <main className="windows" data-count={sessions.length} ref={main}>
      {manyWindows && (
        <nav className="window-switch" aria-label={texts.chooseUser}>
          {sessions.map((session, index) => (
            <SwitchButton
              key={session.user.userId}
              session={session}
              shown={index === shown}
              onShow={() => setShown(index)}
            />
          ))}
        </nav>
      )}
      {sessions.map((session, index) => (
        <ChatWindow key={session.user.userId} session={session} shown={index === shown} />
      ))}
      {keysListed && <KeyList manyWindows={manyWindows} onClose={() => setKeysListed(false)} />}
    </main>
  );
}

function SwitchButton({
  session,
  shown,
  onShow,
}: {
  session: ChatSession;
  shown: boolean;
  onShow: () => void;
}): ReactNode {
  const { timeline, reading } = useChat(session);
  const { count, more } = unreadAfter(timeline, session.user.userId, reading.readSeq);
  return (
    <button type="button" aria-pressed={shown} onClick={onShow}>
      <Avatar userId={session.user.userId} size="small" />
      {session.user.userId}
      {!shown && count > 0 && (
        <span className="badge">
          <span aria-hidden="true">{more ? `${count}+` : count}</span>
          <span className="visually-hidden">{texts.unread(count, more)}</span>
        </span>
      )}
    </button>
  );
}

/** Sessions end with the page that shows them, and come back at once when it is looked at again. */
function useLifetime(sessions: readonly ChatSession[]): void {
  useEffect(() => {
    const wake = (): void => {
      // Why: a browser slows the timers of a hidden page down, so a try may be overdue.
      if (document.visibilityState === "visible") for (const session of sessions) session.retryNow();
    };
    document.addEventListener("visibilitychange", wake);
    return () => {
      document.removeEventListener("visibilitychange", wake);
      for (const session of sessions) session.close();
    };
  }, [sessions]);
}
