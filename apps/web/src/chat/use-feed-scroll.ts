import { type RefObject, useEffect, useLayoutEffect, useRef, useState } from "react";
import type { VirtualizerHandle } from "virtua";
import type { ChatSession } from "./chat-session.ts";
import type { Row } from "./rows.ts";
import type { Timeline } from "./timeline.ts";

interface FeedScroll {
  readonly atEnd: boolean;
  /** Messages of others that came while the end was out of sight. */
  readonly newCount: number;
  /** ISO 8601 of the uppermost message in sight, while the feed is scrolled. */
  readonly floatingDay: string | undefined;
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

/** What the reader looks at. `seenSeq`: the last message that was there when the end went out of sight. */
type Place = { readonly at: "end" } | { readonly at: "earlier"; readonly seenSeq: number };

// Nearer to the end than this the feed follows what comes.
const endPx = 40;
// Nearer to the start than this the page before it is asked for.
const startPx = 600;
const floatingDayShownMs = 1_500;

/** Keeps the end in sight while it is, asks for earlier pages near the start, and counts what came unseen. */
export function useFeedScroll(input: FeedScrollInput): FeedScroll {
  const { rows, list, older, session } = input;
  const end = useEnd(input);

  useLayoutEffect(() => {
    // Why not in `onScroll` alone: a short feed has no scroll events to come by.
    const view = list.current;
    if (view !== null && view.viewportSize > 0 && older === "some" && view.scrollSize < view.viewportSize + startPx)
      session.loadOlder();
  });

  const [floatingDay, setFloatingDay] = useState<string>();
  const scrolled = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(scrolled.current), []);
  const onScroll = (offsetPx: number): void => {
    const atEnd = end.look();
    if (older === "some" && offsetPx < startPx) session.loadOlder();
    const top = list.current?.findItemIndex(offsetPx) ?? 0;
    setFloatingDay(atEnd ? undefined : rows[top]?.at);
    clearTimeout(scrolled.current);
    scrolled.current = setTimeout(() => setFloatingDay(undefined), floatingDayShownMs);
  };
  const { place } = end;
  return {
    atEnd: place.at === "end",
    newCount: place.at === "end" ? 0 : countAfter(rows, place.seenSeq),
    floatingDay,
    onScroll,
    onResize: end.onResize,
    toLatest: end.follow,
  };
}

interface End {
  readonly place: Place;
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
  const [place, setPlace] = useState<Place>({ at: "end" });
  const following = useRef(true);
  // Where the feed was scrolled to, and which message was the last, when either was last known.
  const topPx = useRef(0);
  const seenSeq = useRef(0);
  const lastRow = rows.at(-1);
  const lastSeq = rows.findLast((row) => row.seq !== null)?.seq ?? 0;

  const arrive = (): void => {
    following.current = true;
    seenSeq.current = lastSeq;
    setPlace((before) => (before.at === "end" ? before : { at: "end" }));
  };
  const leave = (): void => {
    following.current = false;
    setPlace({ at: "earlier", seenSeq: seenSeq.current });
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
  return { place, follow, onResize, look };
}

// A window that is not shown has no height, and scrolls to nowhere.
function isLaidOut(element: HTMLElement): boolean {
  return element.clientHeight > 0;
}

function countAfter(rows: readonly Row[], seenSeq: number): number {
  return rows.filter((row) => row.seq !== null && row.seq > seenSeq && !row.own).length;
}
