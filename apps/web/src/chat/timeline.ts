import type { Message, OutgoingMessage, RoomEvents } from "@parley/client";

type Edit = RoomEvents["messageEdited"][0];
type Deletion = RoomEvents["messageDeleted"][0];

/**
 * What a room's feed shows: messages as the server committed them, ascending by `seq`, and below them those of this
 * user that are on their way. Pure: each function gives the next timeline.
 */
export interface Timeline {
  readonly messages: readonly Message[];
  readonly outgoing: readonly OutgoingMessage[];
  /** The first page has arrived. */
  readonly loaded: boolean;
  /** Messages before the first one shown: there may be some, they are on their way, or asking for them failed. */
  readonly older: "none" | "some" | "loading" | "failed";
  /** The `seq` that the page on its way ends before. Why kept: the message that had it may be erased meanwhile. */
  readonly askedBefore: number | undefined;
  /** `seq` of the first message of each page that was loaded, where looking at the one before it came later. */
  readonly pageStarts: ReadonlySet<number>;
  /** The last change put messages before the others, or took the first ones away. */
  readonly startMoved: boolean;
}

/** How many messages stay when there are more than twice as many. */
const messagesKept = 1_000;

export const emptyTimeline: Timeline = {
  messages: [],
  outgoing: [],
  loaded: false,
  older: "none",
  askedBefore: undefined,
  pageStarts: new Set(),
  startMoved: false,
};

export function resetTimeline(timeline: Timeline, messages: readonly Message[], userId: string): Timeline {
  const arrived = new Set(messages.filter((message) => message.userId === userId).map(({ clientId }) => clientId));
  return {
    messages,
    outgoing: timeline.outgoing.filter((message) => !arrived.has(message.clientId) && !hasItsPlace(message, messages)),
    loaded: true,
    older: hasOlder(messages) ? "some" : "none",
    askedBefore: undefined,
    pageStarts: startsOf(messages),
    startMoved: false,
  };
}

/** `userId`: whose page this is. Why: only its own message replaces the one on its way; others know its `clientId`, too. */
export function addMessage(timeline: Timeline, message: Message, userId: string): Timeline {
  const last = timeline.messages.at(-1);
  if (last !== undefined && last.seq >= message.seq) return timeline;
  const outgoing =
    message.userId === userId
      ? timeline.outgoing.filter(({ clientId }) => clientId !== message.clientId)
      : timeline.outgoing;
  return { ...timeline, messages: [...timeline.messages, message], outgoing, startMoved: false };
}

/** Without the first messages, when there are very many: they can be asked for again. For who looks at the last ones. */
export function forgetFirst(timeline: Timeline): Timeline {
  if (timeline.messages.length <= 2 * messagesKept) return timeline;
  const messages = timeline.messages.slice(-messagesKept);
  return {
    ...timeline,
    messages,
    older: "some",
    askedBefore: undefined,
    pageStarts: startsOf(messages),
    startMoved: true,
  };
}

export function editMessage(timeline: Timeline, { messageSeq, text, editedAt }: Edit): Timeline {
  return change(timeline, messageSeq, (message) => ({ ...message, text, editedAt }));
}

export function deleteMessage(timeline: Timeline, { messageSeq, deletedAt }: Deletion): Timeline {
  return change(timeline, messageSeq, (message) => ({ ...message, text: "", deletedAt }));
}

/** The message is gone for good. */
export function eraseMessage(timeline: Timeline, seq: number): Timeline {
  return { ...timeline, messages: timeline.messages.filter((message) => message.seq !== seq), startMoved: false };
}

/** A message of this user has another state; one that is committed where the messages have come to adds nothing. */
export function changeOutgoing(timeline: Timeline, changed: OutgoingMessage): Timeline {
  const { clientId } = changed;
  const shown = hasItsPlace(changed, timeline.messages);
  const others = timeline.outgoing.filter((message) => message.clientId !== clientId);
  const known = timeline.outgoing.findIndex((message) => message.clientId === clientId);
  const outgoing = shown
    ? others
    : known < 0 || changed.status === "sending"
      ? [...others, changed]
      : timeline.outgoing.with(known, changed);
  return { ...timeline, outgoing, startMoved: false };
}

export function discardOutgoing(timeline: Timeline, discarded: string): Timeline {
  const outgoing = timeline.outgoing.filter(({ clientId }) => clientId !== discarded);
  return { ...timeline, outgoing, startMoved: false };
}

export function olderAsked(timeline: Timeline): Timeline {
  return { ...timeline, older: "loading", askedBefore: timeline.messages[0]?.seq, startMoved: false };
}

/** As `addOlder` when there is no page. */
export function olderFailed(timeline: Timeline, before: number): Timeline {
  if (timeline.askedBefore !== before) return timeline;
  return { ...timeline, older: "failed", askedBefore: undefined, startMoved: false };
}

/** A page that ends before `before`. Ignored when the timeline has started over meanwhile. */
export function addOlder(timeline: Timeline, page: readonly Message[], before: number, more: boolean): Timeline {
  if (timeline.askedBefore !== before) return timeline;
  return {
    ...timeline,
    messages: [...page, ...timeline.messages],
    older: more && page.length > 0 ? "some" : "none",
    askedBefore: undefined,
    pageStarts: new Set([...timeline.pageStarts, ...startsOf(page)]),
    startMoved: true,
  };
}

/** Committed among the messages or before the first of them: below them it would stand in the wrong place. */
function hasItsPlace(message: OutgoingMessage, messages: readonly Message[]): boolean {
  return message.status === "sent" && message.seq <= (messages.at(-1)?.seq ?? 0);
}

function change(timeline: Timeline, seq: number, apply: (message: Message) => Message): Timeline {
  const messages = timeline.messages.map((message) => (message.seq === seq ? apply(message) : message));
  return { ...timeline, messages, startMoved: false };
}

// The first message of all has seq 1, unless something else came before it; then the next page is empty.
function hasOlder([first]: readonly Message[]): boolean {
  return first !== undefined && first.seq > 1;
}

function startsOf([first]: readonly Message[]): ReadonlySet<number> {
  return new Set(first === undefined ? [] : [first.seq]);
}
