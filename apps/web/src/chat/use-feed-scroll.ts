import { type RefObject, useEffect, useLayoutEffect, useRef, useState } from "react";
import type { VirtualizerHandle } from "virtua";
import type { ChatSession } from "./chat-session.ts";
import type { Row } from "./rows.ts";
import type { Timeline } from "./timeline.ts";

export interface FeedScroll {
  readonly atEnd: boolean;
  /** ISO 8601 of the uppermost message in sight, while the feed is scrolled. */
  readonly floatingDay: string | undefined;
  /** `seq` of the uppermost message in sight; 0 while there is none. */
  readonly topSeq: number;
  readonly onScroll: (offsetPx: number) => void;
  readonly onResize: () => void;
  readonly toLatest: () => void;
}

interface FeedScrollInput {
  readonly rows: readonly Row[];
  readonly list: RefObject<VirtualizerHandle | null>;
  readonly scroller: RefObject<HTMLElement | null>;
  /** Height of what stands above the first row. */
  readonly headPx: number;
  readonly older: Timeline["older"];
  readonly shown: boolean;
  readonly session: ChatSession;
}

// Nearer to the end than this the feed follows what comes.
const endPx = 40;
// Nearer to the start than this the page before it is asked for.
const startPx = 600;
const floatingDayShownMs = 1_500;

/** Keeps the end in sight while it is, asks for earlier pages near the start, and tells the session what is looked at. */
export function useFeedScroll(input: FeedScrollInput): FeedScroll {
  const { rows, list, older, session } = input;
  const end = useEnd(input);

  useLayoutEffect(() => {
    // Why not in `onScroll` alone: a short feed has no scroll events to come by.
    const view = list.current;
    if (view !== null && view.viewportSize > 0 && older === "some" && view.scrollSize < view.viewportSize + startPx)
      session.loadOlder();
  });

  const [topSeq, setTopSeq] = useState(0);
  const [floatingDay, setFloatingDay] = useState<string>();
  const scrolled = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(scrolled.current), []);
  const onScroll = (offsetPx: number): void => {
    const atEnd = end.look();
    if (older === "some" && offsetPx < startPx) session.loadOlder();
    const top = rows[list.current?.findItemIndex(offsetPx) ?? 0];
    setTopSeq(top?.seq ?? 0);
    // Why not over the line above what is new: it would hide what was scrolled to.
    setFloatingDay(atEnd || top?.startsNew === true ? undefined : top?.at);
    clearTimeout(scrolled.current);
    scrolled.current = setTimeout(() => setFloatingDay(undefined), floatingDayShownMs);
  };
  return { atEnd: end.atEnd, floatingDay, topSeq, onScroll, onResize: end.onResize, toLatest: end.follow };
}

interface End {
  readonly atEnd: boolean;
  readonly follow: () => void;
  readonly onResize: () => void;
  /** After a scroll: whether the end is in sight. */
  readonly look: () => boolean;
}

/**
 * Follows the end until the reader leaves it.
 * Invariant: only a move upwards leaves it. What grows or shrinks moves the end away too, and is followed.
 */
function useEnd({ rows, list, scroller, headPx, shown, session }: FeedScrollInput): End {
  const [atEnd, setAtEnd] = useState(true);
  const following = useRef(true);
  // Where the feed was scrolled to when it was last known.
  const topPx = useRef(0);
  const lastRow = rows.at(-1);

  const arrive = (): void => {
    following.current = true;
    setAtEnd(true);
    if (isLookedAt(scroller.current)) session.seeEnd();
  };
  const leave = (): void => {
    following.current = false;
    setAtEnd(false);
  };
  const follow = (): void => {
    arrive();
    const [element, view] = [scroller.current, list.current];
    if (element === null || view === null || !isLaidOut(element)) return;
    // Why not `scrollToIndex`: it goes on scrolling while rows are measured, also against a reader who scrolls up
    // meanwhile. Why from the row: on iOS the rows may for a moment be drawn elsewhere than the height says.
    const last = rows.length - 1;
    element.scrollTop = headPx + view.getItemOffset(last) + view.getItemSize(last) - element.clientHeight;
    topPx.current = element.scrollTop;
  };
  const look = (): boolean => {
    const element = scroller.current;
    if (element === null || !isLaidOut(element)) return following.current;
    const up = element.scrollTop < topPx.current;
    topPx.current = element.scrollTop;
    if (element.scrollHeight - element.clientHeight - element.scrollTop <= endPx) arrive();
    else if (up && following.current) leave();
    return following.current;
  };
  const onResize = (): void => {
    if (following.current) follow();
  };

  useLayoutEffect(() => {
    const comeBack = (): void => {
      if (!isLookedAt(scroller.current)) return;
      session.comeBack();
      if (following.current) session.seeEnd();
    };
    comeBack();
    document.addEventListener("visibilitychange", comeBack);
    return () => document.removeEventListener("visibilitychange", comeBack);
  }, [shown, scroller, session]);
  useLayoutEffect(() => {
    // Why also after an own message: whoever writes wants to see it.
    if (lastRow?.own === true) follow();
    else if (following.current) {
      // Why: a reader can have left the end a moment ago, and the event that tells so is still to come.
      const element = scroller.current;
      const left = element !== null && isLaidOut(element) && topPx.current - element.scrollTop > endPx;
      if (left) leave();
      else follow();
    }
    if (following.current) session.forgetFirst();
    // oxlint-disable-next-line react/exhaustive-deps -- once for each new last row
  }, [lastRow?.key]);
  // oxlint-disable-next-line react/exhaustive-deps -- once whenever the window is shown, and when its first rows have gone
  useLayoutEffect(onResize, [shown, rows[0]?.key]);
  return { atEnd, follow, onResize, look };
}

// A window that is not shown has no height, and scrolls to nowhere.
function isLaidOut(element: HTMLElement): boolean {
  return element.clientHeight > 0;
}

function isLookedAt(element: HTMLElement | null): boolean {
  return element !== null && isLaidOut(element) && document.visibilityState === "visible";
}
