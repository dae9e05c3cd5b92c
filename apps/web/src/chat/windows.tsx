import { type ReactNode, useEffect, useState } from "react";
import { Avatar } from "../ui/avatar.tsx";
import { texts } from "../ui/texts.ts";
import type { ChatSession } from "./chat-session.ts";
import { unreadAfter } from "./reading.ts";
import { useChat } from "./use-chat.ts";
import { ChatWindow } from "./window.tsx";

/** One window for each user. Where there is no room for them side by side, one is shown and the others are a tab away. */
export function Windows({ sessions }: { sessions: readonly ChatSession[] }): ReactNode {
  useLifetime(sessions);
  const [shown, setShown] = useState(0);
  return (
    <main className="windows" data-count={sessions.length}>
      {sessions.length > 1 && (
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
