import {
  type AppEvent,
  type Client,
  connect,
  type ConnectionState,
  type JsonValue,
  type OutgoingMessage,
  type ParleyError,
  type Room,
} from "@parley/client";
import { keepReadSeq, readSeqOf, unsentOf } from "./browser-storage.ts";
import * as readings from "./reading.ts";
import * as timelines from "./timeline.ts";

/** A window's user, and how it gets in. */
export interface ChatUser {
  readonly userId: string;
  readonly roomId: string;
  readonly getToken: () => Promise<string>;
}

export interface Notice {
  readonly key: string;
  readonly name: string;
  readonly text: string;
}

/** Everything that one window shows. */
export interface ChatState {
  readonly connection: ConnectionState;
  readonly timeline: timelines.Timeline;
  readonly reading: readings.Reading;
  readonly people: readonly string[];
  readonly peopleCount: number;
  readonly typing: readonly string[];
  readonly announcement: Notice | undefined;
  readonly notices: readonly Notice[];
  /** Why the room is closed to this user. */
  readonly roomError: ParleyError | undefined;
  /** The last message of somebody else, for who listens instead of looks. */
  readonly heard: { readonly userId: string; readonly text: string } | undefined;
  /** Messages of others since the window opened. */
  readonly heardCount: number;
}

const pageMessages = 50;
// A little longer than the SDK's pause between two signals of one writer.
const typingShownMs = 3_500;
const noticesMax = 3;
const noticeShownMs = 10_000;

/** Connects a user; what was left unsent in this browser goes out first. */
export function openChat(user: ChatUser): ChatSession {
  const storage = unsentOf(user);
  const kept = storage === undefined ? {} : { storage };
  const session = new ChatSession(user, connect({ getToken: user.getToken, ...kept }));
  session.open();
  return session;
}

/** One user in one room, as a store that React reads: the client's events in, one state out. */
export class ChatSession {
  readonly user: ChatUser;
  readonly #client: Client;
  readonly #room: Room;
  readonly #listeners = new Set<() => void>();
  readonly #typingTimers = new Map<string, ReturnType<typeof setTimeout>>();
  readonly #noticeTimers = new Set<ReturnType<typeof setTimeout>>();
  #state: ChatState;

  constructor(user: ChatUser, client: Client) {
    this.user = user;
    this.#client = client;
    this.#room = this.#client.room(user.roomId);
    this.#state = {
      connection: this.#client.state,
      timeline: timelines.emptyTimeline,
      reading: { readSeq: undefined, newAfterSeq: undefined },
      people: [],
      peopleCount: 0,
      typing: [],
      announcement: undefined,
      notices: [],
      roomError: undefined,
      heard: undefined,
      heardCount: 0,
    };
  }

  /** Joins the room, and goes on until `close`. */
  open(): void {
    this.#listenToClient();
    this.#listenToRoom();
    // A refusal comes as the room's `closed`, too.
    this.#room.join({ history: pageMessages }).catch(() => undefined);
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  };

  readonly snapshot = (): ChatState => this.#state;

  send(text: string): void {
    this.#room.send(text);
  }

  /** Sends a failed message again; as a new one when the outbox had no room for it, and does not know it. */
  retry(clientId: string): void {
    const isMeant = (message: OutgoingMessage): boolean => message.clientId === clientId;
    const { outgoing } = this.#state.timeline;
    if (this.#room.outgoing().some(isMeant)) {
      this.#room.retry(clientId);
    } else {
      const message = outgoing.find(isMeant);
      this.discard(clientId);
      if (message !== undefined) this.send(message.text);
    }
  }

  discard(clientId: string): void {
    this.#room.discard(clientId);
    this.#changeTimeline((timeline) => timelines.discardOutgoing(timeline, clientId));
  }

  typing(): void {
    this.#room.typing();
  }

  retryNow(): void {
    this.#client.retryNow();
  }

  dismiss(key: string): void {
    this.#change({
      notices: this.#state.notices.filter((notice) => notice.key !== key),
      announcement: this.#state.announcement?.key === key ? undefined : this.#state.announcement,
    });
  }

  /** Asks for the page before the first message shown, unless it is on its way. */
  loadOlder(): void {
    const { messages, older } = this.#state.timeline;
    const before = messages[0]?.seq;
    if (before === undefined || older === "loading" || older === "none") return;
    this.#changeTimeline(timelines.olderAsked);
    this.#room.history({ before, limit: pageMessages }).then(
      (page) => this.#changeTimeline((timeline) => timelines.addOlder(timeline, page.messages, before, page.more)),
      () => this.#changeTimeline((timeline) => timelines.olderFailed(timeline, before)),
    );
  }

  /** The last messages are looked at: of very many the first ones go. Why: each that comes costs more, the more there are. */
  forgetFirst(): void {
    const timeline = timelines.forgetFirst(this.#state.timeline);
    if (timeline !== this.#state.timeline) this.#change({ timeline });
  }

  /** The room is looked at again. */
  comeBack(): void {
    const { timeline, reading } = this.#state;
    if (!timeline.loaded) return;
    // Why what the browser keeps: another tab may have read on.
    const readSeq = readSeqOf(this.user) ?? reading.readSeq;
    this.#changeReading(readings.comeBack({ ...reading, readSeq }, timeline, this.user.userId));
  }

  /** The end is in sight of someone who looks. */
  seeEnd(): void {
    const { timeline, reading } = this.#state;
    if (timeline.loaded) this.#changeReading(readings.seeEnd(reading, timeline));
  }

  close(): void {
    this.#client.close();
    for (const timer of [...this.#typingTimers.values(), ...this.#noticeTimers]) clearTimeout(timer);
  }

  #listenToClient(): void {
    this.#client.on("state", (connection) => this.#change({ connection }));
    this.#client.on("announcement", ({ id, message }) => {
      this.#change({ announcement: { key: id, name: "", text: describe(message) } });
    });
    this.#client.on("notification", (event) => this.#notify(event));
  }

  #listenToRoom(): void {
    const room = this.#room;
    const { userId } = this.user;
    room.on("reset", ({ messages }) => {
      this.#changeTimeline((timeline) => timelines.resetTimeline(timeline, messages, userId));
      this.comeBack();
    });
    room.on("message", (message) => {
      this.#changeTimeline((timeline) => timelines.addMessage(timeline, message, userId));
      this.#stopTyping(message.userId);
      if (message.userId === userId) {
        this.#changeReading(readings.answer(message.seq));
        return;
      }
      this.#change({
        heard: { userId: message.userId, text: message.text },
        heardCount: this.#state.heardCount + 1,
      });
    });
    room.on("messageEdited", (edit) => this.#changeTimeline((timeline) => timelines.editMessage(timeline, edit)));
    room.on("messageDeleted", (deletion) => {
      this.#changeTimeline((timeline) => timelines.deleteMessage(timeline, deletion));
    });
    room.on("erased", ({ seq, entrySeq = seq }) => {
      this.#changeTimeline((timeline) => timelines.eraseMessage(timeline, entrySeq));
    });
    room.on("outgoing", (message) => {
      this.#changeTimeline((timeline) => timelines.changeOutgoing(timeline, message));
    });
    room.on("event", (event) => this.#notify(event));
    room.followPeople(({ users, count }) => this.#change({ people: users, peopleCount: count }));
    room.on("typing", (typist) => this.#showTyping(typist));
    room.on("closed", (roomError) => this.#change({ roomError, people: [], peopleCount: 0 }));
  }

  #showTyping(userId: string): void {
    if (userId === this.user.userId) return;
    this.#stopTyping(userId);
    this.#typingTimers.set(
      userId,
      setTimeout(() => this.#stopTyping(userId), typingShownMs),
    );
    this.#change({ typing: [...this.#typingTimers.keys()] });
  }

  #stopTyping(userId: string): void {
    clearTimeout(this.#typingTimers.get(userId));
    if (this.#typingTimers.delete(userId)) this.#change({ typing: [...this.#typingTimers.keys()] });
  }

  #notify({ id, name, data }: AppEvent): void {
    const notice = { key: id, name, text: describe(data) };
    this.#change({ notices: [...this.#state.notices, notice].slice(-noticesMax) });
    const timer = setTimeout(() => {
      this.#noticeTimers.delete(timer);
      this.dismiss(id);
    }, noticeShownMs);
    this.#noticeTimers.add(timer);
  }

  #changeReading(reading: readings.Reading): void {
    const before = this.#state.reading;
    if (reading.readSeq === before.readSeq && reading.newAfterSeq === before.newAfterSeq) return;
    if (reading.readSeq !== undefined) keepReadSeq(this.user, reading.readSeq);
    this.#change({ reading });
  }

  #changeTimeline(next: (timeline: timelines.Timeline) => timelines.Timeline): void {
    this.#change({ timeline: next(this.#state.timeline) });
  }

  #change(changed: Partial<ChatState>): void {
    this.#state = { ...this.#state, ...changed };
    for (const listener of this.#listeners) listener();
  }
}

/** What an app sent, as text: it may be any JSON. */
function describe(data: JsonValue): string {
  if (typeof data === "string") return data;
  if (typeof data === "object" && data !== null && "text" in data && typeof data.text === "string") return data.text;
  return JSON.stringify(data);
}
