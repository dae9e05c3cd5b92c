import { type RefObject, useEffect, useLayoutEffect, useRef, useState } from "react";
import type { VirtualizerHandle } from "virtua";
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
  readonly older: Timeline["older"];
  readonly shown: boolean;
  readonly onNearStart: () => void;
}

// Nearer to the end than this the feed follows what comes.
const endPx = 40;
// Nearer to the start than this the page before it is asked for.
const startPx = 600;
const floatingDayShownMs = 1_500;

/** Keeps the end in sight while it is, asks for earlier pages near the start, and counts what came unseen. */
export function useFeedScroll({ rows, list, older, shown, onNearStart }: FeedScrollInput): FeedScroll {
  const [atEnd, setAtEnd] = useState(true);
  const [seenKey, setSeenKey] = useState<string>();
  const [floatingDay, setFloatingDay] = useState<string>();
  const following = useRef(true);
  const lastKey = rows.at(-1)?.key;
  const lastOwn = rows.at(-1)?.own === true;

  const follow = (): void => {
    if (rows.length > 0) list.current?.scrollToIndex(rows.length - 1, { align: "end" });
  };
  const look = (): void => {
    const view = list.current;
    if (view === null) return;
    const end = view.scrollOffset + view.viewportSize >= view.scrollSize - endPx;
    following.current = end;
    setAtEnd(end);
    if (older === "some" && view.scrollOffset < startPx) onNearStart();
  };

  useLayoutEffect(() => {
    // Why also after an own message: whoever writes wants to see it.
    if (following.current || lastOwn) follow();
    // oxlint-disable-next-line react/exhaustive-deps -- once for each new last row, and when the window is shown
  }, [lastKey, shown]);
  useLayoutEffect(() => {
    // Why not `look`: the first scroll to the end is still to come. A short feed has no scroll events to come by.
    const view = list.current;
    if (view !== null && view.viewportSize > 0 && older === "some" && view.scrollSize < view.viewportSize + startPx)
      onNearStart();
  });
  if (atEnd && seenKey !== lastKey) setSeenKey(lastKey);

  const scrolled = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(scrolled.current), []);
  const onScroll = (offsetPx: number): void => {
    look();
    const top = list.current?.findItemIndex(offsetPx) ?? 0;
    setFloatingDay(following.current ? undefined : rows[top]?.at);
    clearTimeout(scrolled.current);
    scrolled.current = setTimeout(() => setFloatingDay(undefined), floatingDayShownMs);
  };
  const onResize = (): void => {
    if (following.current) follow();
  };
  return { atEnd, newCount: countNew(rows, seenKey), floatingDay, onScroll, onResize, toLatest: follow };
}

function countNew(rows: readonly Row[], seenKey: string | undefined): number {
  const seen = rows.findLastIndex((row) => row.key === seenKey);
  return seen < 0 ? 0 : rows.slice(seen + 1).filter((row) => !row.own).length;
}
