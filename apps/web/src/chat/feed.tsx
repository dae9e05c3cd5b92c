import { type KeyboardEvent, type ReactNode, useEffect, useMemo, useRef, useState } from "react";
import { Virtualizer, type VirtualizerHandle } from "virtua";
import { Icon } from "../ui/icons.tsx";
import { texts } from "../ui/texts.ts";
import { isCharacter, useKey } from "../ui/use-key.ts";
import type { ChatSession } from "./chat-session.ts";
import { Day, MessageRow } from "./message.tsx";
import { type Reading, type Unread, unreadAfter } from "./reading.ts";
import { type Row, rowsOf } from "./rows.ts";
import type { Timeline } from "./timeline.ts";
import { type FeedScroll, useFeedScroll } from "./use-feed-scroll.ts";

interface FeedProps {
  readonly session: ChatSession;
  readonly timeline: Timeline;
  readonly reading: Reading;
  readonly shown: boolean;
  /** Nothing more will come. */
  readonly ended: boolean;
}

/** Height of what stands above the first row; the styles say the same. */
const feedHeadPx = 56;

/** The messages: virtual, so that a long room costs no more than a short one; each can be focused. */
export function Feed({ session, timeline, reading, shown, ended }: FeedProps): ReactNode {
  const { userId, roomId } = session.user;
  const { newAfterSeq } = reading;
  const rows = useMemo(() => rowsOf(timeline, userId, newAfterSeq), [timeline, userId, newAfterSeq]);
  const list = useRef<VirtualizerHandle>(null);
  const scroller = useRef<HTMLDivElement>(null);
  const { older } = timeline;
  const scroll = useFeedScroll({ rows, list, scroller, headPx: feedHeadPx, older, shown, session });
  const focus = useRowFocus(rows, list, scroller);
  const total = older === "none" ? rows.length : -1;
  return (
    <div className="feed-frame">
      <div className="feed-scroller" ref={scroller}>
        <FeedHead session={session} timeline={timeline} ended={ended} />
        <div className="feed-space" />
        {rows.length > 0 && (
          // oxlint-disable-next-line jsx-a11y/no-noninteractive-element-interactions -- its articles take the focus.
          <div
            role="feed"
            aria-label={texts.feedLabel(roomId)}
            aria-busy={older === "loading"}
            onKeyDown={focus.onKeyDown}
          >
            <Virtualizer
              ref={list}
              scrollRef={scroller}
              startMargin={feedHeadPx}
              data={rows}
              shift={timeline.startMoved}
              keepMounted={focus.kept}
              onScroll={scroll.onScroll}
              onResize={scroll.onResize}
            >
              {(row: Row, index: number) => (
                <MessageRow
                  key={row.key}
                  row={row}
                  session={session}
                  place={index + 1}
                  total={total}
                  focusable={index === focus.index}
                  onFocus={() => focus.onFocus(row.key)}
                />
              )}
            </Virtualizer>
          </div>
        )}
      </div>
      <Overlay
        timeline={timeline}
        userId={userId}
        reading={reading}
        scroll={scroll}
        isChosen={() => hasKeys(scroller.current, shown)}
        moveTo={focus.moveTo}
      />
    </div>
  );
}

/** Keys are for the window that has the focus; without one for the one that is shown. */
function hasKeys(element: HTMLElement | null, shown: boolean): boolean {
  const focused = document.activeElement?.closest(".window") ?? null;
  return focused === null ? shown : focused.contains(element);
}

interface OverlayProps {
  readonly timeline: Timeline;
  readonly userId: string;
  readonly reading: Reading;
  readonly scroll: FeedScroll;
  readonly isChosen: () => boolean;
  readonly moveTo: (index: number) => void;
}

/** Over the messages: the ways to what is unread and to the latest one, and the day that is scrolled through. */
function Overlay({ timeline, userId, reading, scroll, isChosen, moveTo }: OverlayProps): ReactNode {
  const { readSeq, newAfterSeq } = reading;
  const unread = useMemo(() => unreadAfter(timeline, userId, readSeq), [timeline, userId, readSeq]);
  const news = useMemo(() => unreadAfter(timeline, userId, newAfterSeq), [timeline, userId, newAfterSeq]);
  const newsAbove = (timeline.messages[news.firstIndex]?.seq ?? scroll.topSeq) < scroll.topSeq;
  useKey(
    (event) => isCharacter(event, "n") && isChosen(),
    () => moveTo(unread.count > 0 ? unread.firstIndex : news.firstIndex),
  );
  return (
    <>
      {newsAbove && <ToUnreadButton unread={news} onClick={() => moveTo(news.firstIndex)} />}
      {scroll.floatingDay !== undefined && !newsAbove && (
        <p className="floating-day" aria-hidden="true">
          <Day at={scroll.floatingDay} />
        </p>
      )}
      {!scroll.atEnd && <ToLatestButton unread={unread} onClick={scroll.toLatest} />}
    </>
  );
}

interface JumpProps {
  readonly unread: Unread;
  readonly onClick: () => void;
}

function ToUnreadButton({ unread, onClick }: JumpProps): ReactNode {
  return (
    <button type="button" className="jump" data-to="unread" onClick={onClick}>
      <Icon name="up" />
      <span>{texts.unread(unread.count, unread.more)}</span>
      <span className="visually-hidden">{texts.toUnread}</span>
    </button>
  );
}

function ToLatestButton({ unread, onClick }: JumpProps): ReactNode {
  return (
    <button type="button" className="jump" data-to="latest" onClick={onClick}>
      <Icon name="down" />
      {unread.count > 0 && <span>{texts.unread(unread.count, unread.more)}</span>}
      <span className="visually-hidden">{texts.toLatest}</span>
    </button>
  );
}

function FeedHead({ session, timeline, ended }: Pick<FeedProps, "session" | "timeline" | "ended">): ReactNode {
  const empty = timeline.loaded && timeline.messages.length + timeline.outgoing.length === 0;
  return (
    <div className="feed-head" data-empty={empty}>
      {!timeline.loaded && !ended && <p>{texts.loading}</p>}
      {timeline.older === "loading" && <p>{texts.loadingOlder}</p>}
      {timeline.older === "failed" && (
        <p>
          {texts.olderFailed}{" "}
          <button type="button" className="quiet-button" onClick={() => session.loadOlder()}>
            {texts.tryAgain}
          </button>
        </p>
      )}
      {timeline.loaded && timeline.older === "none" && <p>{empty ? texts.empty : texts.beginning}</p>}
    </div>
  );
}

interface RowFocus {
  /** The one row that Tab reaches; −1 without rows. */
  readonly index: number;
  /** Indices of the rows that stay rendered: that one, and while the focus moves also the row it comes from. */
  readonly kept: readonly number[];
  readonly onFocus: (key: string) => void;
  readonly onKeyDown: (event: KeyboardEvent) => void;
  readonly moveTo: (index: number) => void;
}

/** Arrows, Home and End move the focus from row to row, also to rows that are not rendered yet. */
function useRowFocus(
  rows: readonly Row[],
  list: React.RefObject<VirtualizerHandle | null>,
  scroller: React.RefObject<HTMLDivElement | null>,
): RowFocus {
  const [focused, setFocused] = useState<string>();
  // Why kept: the next key must find a row to arrive at, also before the wanted row can take the focus.
  const [holder, setHolder] = useState<string>();
  const stopMoving = useRef(() => {});
  const indexOf = (key: string | undefined): number =>
    key === undefined ? -1 : rows.findIndex((row) => row.key === key);
  const known = indexOf(focused);
  const index = known < 0 ? rows.length - 1 : known;
  const kept = [...new Set([index, indexOf(holder)])].filter((each) => each >= 0);
  useEffect(() => () => stopMoving.current(), []);
  const moveTo = (wanted: number, align: "start" | "nearest" = "start"): void => {
    const key = rows[wanted]?.key;
    if (key === undefined) return;
    list.current?.scrollToIndex(wanted, { align });
    setFocused(key);
    stopMoving.current();
    stopMoving.current = focusWhenVisible(() =>
      scroller.current?.querySelector<HTMLElement>(`article[data-key="${CSS.escape(key)}"]`),
    );
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const wanted = wantedIndex(event.key, index, rows.length);
    if (wanted === undefined) return;
    event.preventDefault();
    moveTo(wanted, "nearest");
  };
  const onFocus = (key: string): void => {
    setFocused(key);
    setHolder(key);
  };
  return { index, kept, onFocus, onKeyDown, moveTo };
}

// Why not at once: a row that was not rendered before is hidden until it has been measured, and cannot take the focus.
function focusWhenVisible(find: () => HTMLElement | null | undefined): () => void {
  let framesLeft = 30;
  const attempt = (): void => {
    const element = find();
    element?.focus({ preventScroll: true });
    framesLeft -= 1;
    const focused = element !== null && document.activeElement === element;
    if (!focused && framesLeft > 0) frame = requestAnimationFrame(attempt);
  };
  let frame = requestAnimationFrame(attempt);
  return () => cancelAnimationFrame(frame);
}

function wantedIndex(key: string, index: number, count: number): number | undefined {
  switch (key) {
    case "ArrowUp":
    case "PageUp":
      return Math.max(0, index - 1);
    case "ArrowDown":
    case "PageDown":
      return Math.min(count - 1, index + 1);
    case "Home":
      return 0;
    case "End":
      return count - 1;
    default:
      return undefined;
  }
}
