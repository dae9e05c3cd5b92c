import { type KeyboardEvent, type ReactNode, useRef } from "react";
import { Avatar } from "../ui/avatar.tsx";
import { belongsToComposition } from "../ui/composing.ts";
import { ConnectionBanner } from "../ui/connection-banner.tsx";
import { ConnectionDot } from "../ui/connection-dot.tsx";
import { texts } from "../ui/texts.ts";
import type { ChatSession } from "./chat-session.ts";
import { Composer } from "./composer.tsx";
import { Feed } from "./feed.tsx";
import { AnnouncementBanner, Notices } from "./notices.tsx";
import { People } from "./people.tsx";
import { useChat } from "./use-chat.ts";

/** One user's window: who is here, the feed, and where to write. */
export function ChatWindow({ session, shown }: { session: ChatSession; shown: boolean }): ReactNode {
  const state = useChat(session);
  const { userId } = session.user;
  const ended = state.connection.state === "closed";
  const frame = useRef<HTMLElement>(null);
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key !== "Escape" || belongsToComposition(event.nativeEvent)) return;
    const uppermost = state.announcement ?? state.notices.at(-1);
    if (uppermost !== undefined) session.dismiss(uppermost.key);
    else otherPlace(frame.current)?.focus();
  };
  return (
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-element-interactions -- Esc works wherever the focus is in it.
    <section
      ref={frame}
      className="window"
      data-shown={shown}
      aria-label={userId === "" ? texts.you : userId}
      onKeyDown={onKeyDown}
    >
      <header className="window-head">
        <Avatar userId={userId} size="large" />
        <div>
          <h2 className="window-name">{userId === "" ? texts.you : userId}</h2>
          <ConnectionDot state={state.connection} />
        </div>
        <People people={state.people} count={state.peopleCount} />
      </header>
      <ConnectionBanner state={state.connection} waiting={texts.waiting} onRetry={() => session.retryNow()} />
      <AnnouncementBanner announcement={state.announcement} onDismiss={(key) => session.dismiss(key)} />
      {state.roomError !== undefined && !ended && (
        <p className="room-error" role="alert">
          {texts.roomClosed(state.roomError.message)}
        </p>
      )}
      <div className="feed-area">
        <Feed
          session={session}
          timeline={state.timeline}
          reading={state.reading}
          shown={shown}
          ended={ended || state.roomError !== undefined}
        />
        <Notices notices={state.notices} onDismiss={(key) => session.dismiss(key)} />
      </div>
      <p className="typing" aria-live="off">
        {state.typing.length > 0 && <Typing names={state.typing} />}
      </p>
      <Composer session={session} ended={ended} />
      <p className="visually-hidden" aria-live="polite">
        {state.heard !== undefined && (
          <span key={state.heardCount}>{texts.said(state.heard.userId, state.heard.text)}</span>
        )}
      </p>
    </section>
  );
}

function Typing({ names }: { names: readonly string[] }): ReactNode {
  const [who, what] = texts.typing(names);
  return (
    <>
      <span className="typing-dots" aria-hidden="true">
        <i />
        <i />
        <i />
      </span>
      <bdi>{who}</bdi> <span>{what}</span>
    </>
  );
}

/** From the composer to the feed, and back. */
function otherPlace(frame: HTMLElement | null): HTMLElement | null {
  const composer = frame?.querySelector<HTMLElement>(".composer textarea") ?? null;
  if (document.activeElement !== composer) return composer;
  return frame?.querySelector<HTMLElement>("article[tabindex='0']") ?? null;
}
