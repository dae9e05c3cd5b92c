import { z } from "zod";
import { parseOffset } from "../../packages/server/src/core/entry-event.ts";
import type { SimulatedClock } from "./simulated-clock.ts";

/** What a client saw of one log: the epoch and the last seq, from where it began. */
export interface Seen {
  readonly epoch: string;
  readonly seq: number;
}

interface Place extends Seen {
  readonly room: string;
}

export interface Delivery extends Place {
  readonly at: number;
  readonly event: string;
}

/** A message as the client shows it, and the seq of what it knows last of it. */
interface Shown {
  readonly text: string;
  readonly asOf: number;
}

const roomSchema = z.looseObject({ roomId: z.string() });
const gapSchema = z.looseObject({ roomId: z.string(), reason: z.string(), epoch: z.string(), head: z.number() });
const messageSchema = z.looseObject({ roomId: z.string(), seq: z.number(), text: z.string() });
const pageSchema = z.array(messageSchema);
const changeSchema = z.looseObject({ roomId: z.string(), messageSeq: z.number(), text: z.string().default("") });
const noticeSchema = z.looseObject({ number: z.number() });

export const leaveAcknowledged = "leave acknowledged";

/**
 * What one client was sent, checked as it grows: entries of a log come in order, each once, without a gap, from where
 * the client asked to begin; what cannot follow is told before (FEED-1).
 */
export class Transcript {
  readonly rooms = new Set<string>();
  /** Of these: closed, and perhaps joined again since. */
  readonly uncertain = new Set<string>();
  readonly seen = new Map<string, Seen>();
  /** What broke a rule. */
  readonly faults: string[] = [];
  readonly deliveries: Delivery[] = [];
  readonly gaps: { readonly room: string; readonly reason: string }[] = [];
  readonly closings: { readonly room: string; readonly reason: string }[] = [];
  /** Pages of history, by where they end. */
  readonly pages: Delivery[] = [];
  /** Who comes back to a session whose last node cannot be asked may get again what it has: entries with the same seq, and pages. */
  mayRepeat = false;
  repeats = 0;
  /** How often each numbered notice came. */
  readonly notices = new Map<number, number>();
  readonly signals: { readonly event: string; readonly room: string; readonly userId: string }[] = [];
  /** Messages as the client shows them, by room and seq. */
  readonly shown = new Map<string, Map<number, Shown>>();
  /** What a stock client remembers and presents when it comes back. */
  offset: string | undefined;
  readonly #clock: SimulatedClock;
  readonly #userId: string;
  /** The epoch that it was told of last by a `room_gap`, by room. */
  readonly #begun = new Map<string, string>();
  /** Pages that the client has asked for, by room, and rooms whose page was announced by `room_gap`. */
  readonly #asked = new Map<string, number>();
  readonly #told = new Set<string>();
  /** Rooms that were joined on a connection which ended meanwhile. */
  readonly #mayBeAsked = new Set<string>();
  readonly #leaving = new Map<string, number>();

  constructor(clock: SimulatedClock, userId: string) {
    this.#clock = clock;
    this.#userId = userId;
  }

  /** The client asks for the room, from its position or else from a page. */
  joining(room: string, from: Seen | undefined): void {
    this.rooms.add(room);
    if (from === undefined) this.#asked.set(room, (this.#asked.get(room) ?? 0) + 1);
    else this.seen.set(room, from);
  }

  /** A join was refused: no page comes of it, and a room that was joined before goes on. */
  refused(room: string, from: Seen | undefined): void {
    const asked = Math.max(0, (this.#asked.get(room) ?? 0) - (from === undefined ? 1 : 0));
    this.#asked.set(room, asked);
    const goesOn = asked > 0 || this.seen.has(room) || this.#told.has(room);
    if (from !== undefined || !goesOn) this.forget(room);
  }

  /** A join ended with its connection: the client does not know what became of it. */
  unasked(room: string): void {
    this.#mayBeAsked.add(room);
    this.#asked.set(room, Math.max(0, (this.#asked.get(room) ?? 0) - 1));
  }

  /** The client has left; until `leaveAcknowledged` comes, what was under way may still come. */
  leaving(room: string): void {
    this.forget(room);
    this.#leaving.set(room, (this.#leaving.get(room) ?? 0) + 1);
  }

  forget(room: string): void {
    this.rooms.delete(room);
    this.uncertain.delete(room);
    this.seen.delete(room);
    this.shown.delete(room);
    this.#asked.delete(room);
    this.#mayBeAsked.delete(room);
    this.#told.delete(room);
  }

  /** Another connection: acknowledgements of the last one do not come any more. */
  reconnecting(): void {
    this.#leaving.clear();
  }

  /** Another session, which is in no room. */
  restart(): void {
    for (const room of [...this.rooms, ...this.seen.keys()]) this.forget(room);
  }

  /** Acknowledgements with an id are the requests' own affair. */
  take(payload: string): void {
    if (payload[2] !== "[") return;
    const args = z.array(z.unknown()).parse(JSON.parse(payload.slice(2)));
    const event = String(args[0]);
    const last = args.at(-1);
    const at = typeof last === "string" && args.length > 1 ? parseOffset(last) : undefined;
    if (typeof last === "string" && args.length > 1) this.offset = last;
    if (at === undefined) this.#takeReply(event, args[1]);
    else if (!this.#isLeft(at.room, event)) this.#takePlaced(event, args[1], at);
  }

  /** Until the leave is acknowledged, what was under way is of no account; afterwards nothing may come. */
  #isLeft(room: string, event: string): boolean {
    if ((this.#leaving.get(room) ?? 0) > 0) return true;
    const isLeft = !room.startsWith("@") && !this.rooms.has(room);
    if (isLeft) this.faults.push(`${room}: ${event} of a room not joined`);
    return isLeft;
  }

  #takeReply(event: string, body: unknown): void {
    switch (event) {
      case leaveAcknowledged: {
        const room = roomSchema.parse(body).roomId;
        this.#leaving.set(room, Math.max(0, (this.#leaving.get(room) ?? 0) - 1));
        return;
      }
      case "room_gap":
        return this.#gap(gapSchema.parse(body));
      case "room_closed": {
        const { roomId, reason } = z.looseObject({ roomId: z.string(), reason: z.string() }).parse(body);
        this.closings.push({ room: roomId, reason });
        // Until a leave is acknowledged, what comes is of the time before it.
        if ((this.#leaving.get(roomId) ?? 0) === 0) this.#closed(roomId);
        return;
      }
      case "user_typing":
      case "user_joined":
      case "user_left":
        return this.#signal(event, z.looseObject({ roomId: z.string(), userId: z.string() }).parse(body));
    }
  }

  #closed(room: string): void {
    const asked = this.#asked.get(room) ?? 0;
    this.forget(room);
    if (asked === 0) return;
    // Whether the pages it asked for were asked for before the room was closed, or after, it cannot know.
    this.rooms.add(room);
    this.uncertain.add(room);
    this.#asked.set(room, asked);
  }

  #gap({ roomId: room, reason, epoch, head }: z.infer<typeof gapSchema>): void {
    if (this.#isLeft(room, "room_gap")) return;
    this.gaps.push({ room, reason });
    const seen = this.seen.get(room);
    const isRepeat = this.mayRepeat && reason === "epoch" && this.#begun.get(room) === epoch;
    this.#begun.set(room, epoch);
    if (seen !== undefined && !isRepeat && !isTrue(reason, seen, { epoch, head }))
      this.faults.push(`${room}: gap ${reason} to ${epoch}:${head} at ${seen.epoch}:${seen.seq}`);
    this.seen.delete(room);
    this.shown.delete(room);
    if (!room.startsWith("@")) this.#told.add(room);
  }

  #signal(event: string, { roomId: room, userId }: { roomId: string; userId: string }): void {
    this.signals.push({ event, room, userId });
    if (userId === this.#userId && event === "user_typing") this.faults.push(`${room}: its own ${event}`);
    this.#isLeft(room, event);
  }

  #takePlaced(event: string, body: unknown, place: Place): void {
    const { room, seq } = place;
    if (event === "room_history") this.#page(pageSchema.parse(body), place);
    else this.#entry(event, place);
    if (event === "new_message") this.#show(room, seq, messageSchema.parse(body).text, seq);
    if (event === "message_edited" || event === "message_deleted") {
      const { messageSeq, text } = changeSchema.parse(body);
      if (this.shown.get(room)?.has(messageSeq) === true) this.#show(room, messageSeq, text, seq);
    }
    const notice = noticeSchema.safeParse(body);
    if (event === "notice" && notice.success)
      this.notices.set(notice.data.number, (this.notices.get(notice.data.number) ?? 0) + 1);
  }

  #page(messages: z.infer<typeof pageSchema>, { room, epoch, seq }: Place): void {
    const asked = this.#asked.get(room) ?? 0;
    const seen = this.seen.get(room);
    // Why nothing is missed: what follows the page comes once more, too.
    const isRepeat = this.mayRepeat && !this.#told.has(room) && seen?.epoch === epoch && seq <= seen.seq;
    if (isRepeat) {
      this.repeats += 1;
      return;
    }
    if (this.#told.has(room)) this.#told.delete(room);
    else if (asked > 0) this.#asked.set(room, asked - 1);
    else if (this.mayRepeat && this.#mayBeAsked.has(room)) this.#mayBeAsked.delete(room);
    else this.faults.push(`${room}: a page up to ${seq} that nobody asked for, at ${seen?.seq}`);
    if (seen?.epoch === epoch && seq < seen.seq) this.faults.push(`${room}: a page up to ${seq} after ${seen.seq}`);
    this.uncertain.delete(room);
    // As clients do, it puts the page in the place of what it showed.
    this.shown.delete(room);
    this.pages.push({ room, epoch, seq, at: this.#clock.now(), event: "room_history" });
    this.seen.set(room, { epoch, seq });
    for (const message of messages) this.#show(room, message.seq, message.text, seq);
  }

  #entry(event: string, { room, epoch, seq }: Place): void {
    const seen = this.seen.get(room);
    if (this.mayRepeat && seen?.epoch === epoch && seq <= seen.seq) {
      this.repeats += 1;
      return;
    }
    // An inbox in another life begins at its first entry, with nothing to tell: what is missed in it is never skipped.
    const beginsAnew = room.startsWith("@user:") && seq === 1;
    if (seen !== undefined && seen.epoch !== epoch) {
      if (!beginsAnew) this.faults.push(`${room}: epoch ${epoch} after ${seen.epoch}`);
    } else if (seen !== undefined && seq !== seen.seq + 1) this.faults.push(`${room}: ${seq} after ${seen.seq}`);
    if (seen === undefined && !room.startsWith("@")) this.faults.push(`${room}: ${seq} before any history`);
    this.seen.set(room, { epoch, seq });
    this.deliveries.push({ room, epoch, seq, at: this.#clock.now(), event });
  }

  #show(room: string, seq: number, text: string, asOf: number): void {
    const messages = this.shown.get(room) ?? new Map<number, Shown>();
    this.shown.set(room, messages);
    if ((messages.get(seq)?.asOf ?? 0) <= asOf) messages.set(seq, { text, asOf });
  }
}

/** Whether the reason of a gap can be true of one who stood at `seen`. */
function isTrue(reason: string, seen: Seen, now: { epoch: string; head: number }): boolean {
  switch (reason) {
    case "epoch":
      return seen.epoch !== now.epoch;
    case "ahead":
      return seen.epoch === now.epoch && seen.seq > now.head;
    default:
      return seen.epoch === now.epoch && seen.seq < now.head;
  }
}
