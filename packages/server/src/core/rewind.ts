import type { LastEvent } from "./last-event.ts";
import type { Session } from "./session.ts";
import { fromHistory, type Run } from "./unconfirmed.ts";

/** What a client was found to lack as it came back. */
export interface Rewound {
  readonly run: Run;
  /** Its subscriber was still the session's. */
  readonly isCurrent: boolean;
}

/** What was stored of the session may be older than what its client remembers. */
export function advanceTo(session: Session, { log, epoch, seq }: LastEvent): void {
  const subscriber = session.find(log);
  if (subscriber?.epoch === epoch && !subscriber.again) subscriber.cursor = Math.max(subscriber.cursor, seq);
}

/**
 * Moves the session's cursors back to before what its client lacks. A subscriber whose first history page may not have
 * arrived stands before it (`fromHistory`). Notices are told again, as far as they still apply.
 */
export function rewindTo(session: Session, lacking: readonly Run[]): readonly Rewound[] {
  const rewound = lacking.map((run) => ({ run, isCurrent: session.find(run.subscriber.log) === run.subscriber }));
  for (const { subscriber, epoch, from, to, notice } of lacking) {
    if (epoch === subscriber.epoch) subscriber.cursor = Math.min(subscriber.cursor, from);
    if (from === fromHistory && subscriber.gap === null) subscriber.pageEnd = to;
    const isJoined = session.find(subscriber.log) !== undefined;
    if (notice !== undefined && notice.joined === isJoined) session.tell(subscriber, notice);
  }
  return rewound;
}

/**
 * Nothing was written to the connection for which the session was rewound, so that its client may have what it had
 * before: moves the cursors back to there. Gives what is unconfirmed then, in order.
 */
export function undoRewind(session: Session, rewound: readonly Rewound[]): readonly Run[] {
  const unconfirmed: Run[] = [];
  for (const { run, isCurrent } of rewound) {
    // A notice is among the replies again.
    if (run.notice !== undefined) continue;
    const subscriber = isCurrent ? session.find(run.subscriber.log) : undefined;
    if (subscriber?.epoch !== run.epoch) {
      unconfirmed.push(run);
    } else {
      subscriber.cursor = Math.max(subscriber.cursor, run.to);
      unconfirmed.push({ ...run, subscriber });
    }
  }
  return unconfirmed;
}
