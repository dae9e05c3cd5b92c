import type { HandedRun, HandedSession } from "../bus/bus.ts";
import { type Epoch, inboxOf, type LogId, type SessionCursor, type Seq } from "./log.ts";
import type { Session } from "./session.ts";
import { Subscriber } from "./subscriber.ts";
import { fromHistory, type Run } from "./unconfirmed.ts";

/**
 * A session as it is stored, and as it is handed to another node: what follows from its cursors and from what was
 * written to its client without being known to have arrived.
 */

/** Where the session's client stands for certain: nothing before has to be sent again. */
export function safeCursors(session: Session): readonly SessionCursor[] {
  const runs = session.unarrived();
  const lowest = lowestPlaces(session, runs);
  const safe = (subscriber: Subscriber): SessionCursor => {
    const seq = lowest.get(subscriber) ?? subscriber.cursor;
    return { ...cursorAt(subscriber, seq, seq), page: seq === fromHistory ? pageEndOf(subscriber, runs) : null };
  };
  const closed = closedRooms(session, runs).map((subscriber) => ({ ...safe(subscriber), again: true }));
  return [...session.subscribers.map(safe), ...closed];
}

/** The whole state, for the node that goes on with the session. */
export function handOver(session: Session): HandedSession {
  const runs = session.unarrived();
  const lowest = lowestPlaces(session, runs);
  const current = new Set(session.subscribers);
  return {
    cursors: session.subscribers.map((subscriber) => ({
      ...cursorAt(subscriber, subscriber.cursor, lowest.get(subscriber) ?? subscriber.cursor),
      page: subscriber.cursor === fromHistory ? pageEndOf(subscriber, runs) : null,
    })),
    runs: runs.map((run) => handedRun(run, current.has(run.subscriber))),
  };
}

/** Fills a new session with what another node knew of it: the store's cursors, or all that its last node hands over. */
export function takeOver(session: Session, stored: readonly SessionCursor[], handed: HandedSession | null): void {
  const { tenant, id } = session.user;
  const inbox = inboxOf(tenant, id);
  const runs = handed?.runs ?? [];
  const begun = new Set(runs.filter(isBeginning).map(({ log }) => log));
  for (const { log, epoch, seq, gap, again, page } of handed?.cursors ?? stored) {
    const subscriber = session.add(log, epoch, seq);
    subscriber.pageEnd = page;
    subscriber.gap = gap;
    subscriber.again = again;
    subscriber.confirms = log === inbox;
    // Why: how far the client had got before is not known, but it is not beyond the head. What follows a page or a gap is
    // new, but to a client that may have had that from the node that is gone.
    const isNew = handed !== null && (seq === fromHistory || begun.has(log));
    if (again && !isNew) subscriber.repeatsTo = Infinity;
  }
  session.takeOver(handed === null ? null : runsOf(session, runs));
}

/** A first page; or that a client was told of a gap: announcements have no pages. */
function isBeginning({ from, notice }: HandedRun): boolean {
  return from === fromHistory || notice?.joined === true;
}

/** What the client may lack begins there. */
function lowestPlaces(session: Session, runs: readonly Run[]): Map<Subscriber, Seq> {
  const lowest = new Map<Subscriber, Seq>();
  for (const { subscriber, epoch, from, notice } of runs) {
    const isGap = notice?.joined === true;
    // Why: who has come back since it was told of a gap goes on by another cursor.
    const lacking = isGap ? session.find(subscriber.log) : subscriber;
    if (lacking?.epoch !== epoch) continue;
    // Why: what a client was told of a gap is told again only to one who waits for a page.
    const place = isGap ? fromHistory : from;
    lowest.set(lacking, Math.min(place, lowest.get(lacking) ?? lacking.cursor));
  }
  return lowest;
}

/** Where the first page ended that the client was sent; null when it was sent none, or was told that it starts over. */
function pageEndOf(subscriber: Subscriber, runs: readonly Run[]): Seq | null {
  if (subscriber.gap !== null) return null;
  const sent = runs.find(
    ({ subscriber: of, from, notice }) => of === subscriber && from === fromHistory && notice === undefined,
  );
  return sent?.to ?? subscriber.pageEnd;
}

function cursorAt(subscriber: Subscriber, seq: Seq, lowest: Seq): SessionCursor {
  const { log, epoch } = subscriber;
  const { gap, again } = subscriber;
  if (lowest === fromHistory) return { log, epoch, seq, gap, again, page: null };
  return { log, epoch, seq, gap: null, again: lowest < subscriber.repeatsTo, page: null };
}

/** Rooms that were closed, whose clients may not know: who comes back asks for the right again, and is told again. */
function closedRooms(session: Session, runs: readonly Run[]): readonly Subscriber[] {
  const closed = new Map<LogId, Subscriber>();
  for (const { subscriber, notice } of runs) {
    if (notice?.joined === false && session.find(subscriber.log) === undefined) closed.set(subscriber.log, subscriber);
  }
  return [...closed.values()];
}

function handedRun({ subscriber, epoch, from, to, page, notice }: Run, current: boolean): HandedRun {
  const told = notice === undefined ? null : { frame: notice.frame.toString("base64"), joined: notice.joined };
  return { log: subscriber.log, epoch, from, to, page, current, notice: told };
}

/** Runs of a room that the session is not in any more are of one subscriber: it stands where the first of them began. */
function runsOf(session: Session, handed: readonly HandedRun[]): readonly Run[] {
  const left = new Map<LogId, Subscriber>();
  const leftAt = (log: LogId, epoch: Epoch, to: Seq): Subscriber => {
    const known = left.get(log);
    if (known?.epoch === epoch) return known;
    const subscriber = new Subscriber(session, log, epoch, to);
    left.set(log, subscriber);
    return subscriber;
  };
  return handed.map(({ log, epoch, from, to, page, current, notice }) => {
    const subscriber = (current ? session.find(log) : undefined) ?? leftAt(log, epoch, to);
    const run = { subscriber, epoch, from, to, page };
    if (notice === null) return run;
    return { ...run, notice: { frame: Buffer.from(notice.frame, "base64"), joined: notice.joined } };
  });
}
