import { type ReactNode, useId } from "react";
import { Avatar, hueOf } from "../ui/avatar.tsx";
import { formatDay, formatTime, formatWhole } from "../ui/format.ts";
import { Icon } from "../ui/icons.tsx";
import { texts } from "../ui/texts.ts";
import { useToday } from "../ui/use-time.ts";
import type { ChatSession } from "./chat-session.ts";
import type { Delivery, Row } from "./rows.ts";
import { useChat } from "./use-chat.ts";

interface MessageProps {
  readonly row: Row;
  readonly session: ChatSession;
  /** Place among the rows, from 1; `total` −1 while there may be earlier ones. */
  readonly place: number;
  readonly total: number;
  readonly focusable: boolean;
  readonly onFocus: () => void;
}

/** A message, with the lines that say what begins with it: a day, what is new. */
export function MessageRow({ row, session, place, total, focusable, onFocus }: MessageProps): ReactNode {
  const id = useId();
  return (
    <div className="row">
      {row.startsDay && (
        <p className="day">
          <Day at={row.at} />
        </p>
      )}
      {row.startsNew && (
        <p className="day" data-new="true" id={`${id}new`}>
          {texts.newMessages}
        </p>
      )}
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-element-interactions -- an article of a feed takes the focus. */}
      <article
        className="message"
        data-own={row.own}
        data-continues={row.continues}
        data-key={row.key}
        style={hueOf(row.userId)}
        // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- an article of a feed takes the focus.
        tabIndex={focusable ? 0 : -1}
        aria-posinset={place}
        aria-setsize={total}
        aria-labelledby={`${id}author`}
        aria-describedby={row.startsNew ? `${id}new ${id}text` : `${id}text`}
        onFocus={onFocus}
      >
        {!row.own && (row.continues ? <span className="avatar-space" /> : <Avatar userId={row.userId} />)}
        <div className="message-body">
          <p className="message-meta" data-hidden={row.continues}>
            <span id={`${id}author`}>{row.own ? texts.you : row.userId}</span>
            <time dateTime={row.at} title={formatWhole(row.at)}>
              {formatTime(row.at)}
            </time>
          </p>
          <div className="bubble" data-state={row.deleted ? "deleted" : row.delivery?.state}>
            <p id={`${id}text`} dir="auto">
              {row.deleted ? texts.deleted : row.text}
            </p>
            {row.edited && !row.deleted && <small>{texts.edited}</small>}
            {row.delivery !== null && <DeliveryMark delivery={row.delivery} />}
          </div>
          {row.delivery?.state === "failed" && <FailedNote session={session} delivery={row.delivery} />}
        </div>
      </article>
    </div>
  );
}

/** Above the first message of a day, and over the feed while it is scrolled. */
export function Day({ at }: { at: string }): ReactNode {
  return <span>{formatDay(at, useToday())}</span>;
}

function DeliveryMark({ delivery }: { delivery: Delivery }): ReactNode {
  switch (delivery.state) {
    case "sending":
      return <Mark icon="clock" text={texts.sending} />;
    case "sent":
      return <Mark icon="check" text={texts.sent} />;
    case "failed":
      return <Icon name="alert" />;
  }
}

function Mark({ icon, text }: { icon: "clock" | "check"; text: string }): ReactNode {
  return (
    <span className="mark" title={text}>
      <Icon name={icon} />
      <span className="visually-hidden">{text}</span>
    </span>
  );
}

function FailedNote({
  session,
  delivery,
}: {
  session: ChatSession;
  delivery: Extract<Delivery, { state: "failed" }>;
}): ReactNode {
  const { clientId, reason } = delivery;
  // Why hidden then: nothing is sent any more. What the browser keeps goes out after a reload.
  const ended = useChat(session).connection.state === "closed";
  // Why: the buttons go away, and would take the focus with them.
  const act = (button: HTMLElement, what: (clientId: string) => void): void => {
    button.closest(".window")?.querySelector<HTMLElement>(".composer textarea")?.focus();
    what(clientId);
  };
  return (
    <div className="failed-note">
      <span>{texts.failed(reason)}</span>
      {!ended && (
        <button
          type="button"
          className="quiet-button"
          onClick={({ currentTarget }) => act(currentTarget, (id) => session.retry(id))}
        >
          {texts.retry}
        </button>
      )}
      <button
        type="button"
        className="quiet-button"
        onClick={({ currentTarget }) => act(currentTarget, (id) => session.discard(id))}
      >
        {texts.discard}
      </button>
    </div>
  );
}
