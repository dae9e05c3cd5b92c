import type { Message } from "@parley/protocol";
import type { ParleyError } from "./errors.ts";
import type { OutgoingMessage, Sending, SendOptions } from "./outbox.ts";
import type { Room } from "./room.ts";
import { systemTimers, type Timers } from "./timers.ts";

/** One room as a page shows it; a new object at each change. */
export interface RoomView {
  readonly room: Room;
  /** `room.send`, to hand on alone. */
  readonly send: (text: string, options?: SendOptions) => Sending;
  /** As `room.discard`, and takes the message out of `outgoing`; one that the outbox had no room for, too. */
  readonly discard: (clientId: string) => boolean;
  /** `joined` stays while the connection is away; `closed`: refused, left, or taken out of the room, for `error`. */
  readonly state: "joining" | "joined" | "closed";
  readonly error: ParleyError | undefined;
  /** The latest ones in their present state, oldest first; 1,000 at most. */
  readonly messages: readonly Message[];
  /** This user's own, on their way or failed, oldest first; the last 2,000 at most. */
  readonly outgoing: readonly OutgoingMessage[];
  readonly typing: readonly string[];
  /** Who is there, in a large room some of them; `peopleCount` counts all. */
  readonly people: readonly string[];
  readonly peopleCount: number;
}

type RoomStoreState = Omit<RoomView, "room" | "send" | "discard">;

const messagesMax = 1_000;
// Twice what the outbox keeps by default: what it has no room for stays beside it until it is discarded.
const outgoingMax = 2_000;
// A little longer than the pause between two signals of one writer.
const typingShownMs = 3_500;

const emptyState: RoomStoreState = {
  state: "joining",
  error: undefined,
  messages: [],
  outgoing: [],
  typing: [],
  people: [],
  peopleCount: 0,
};

/** The events of a room in, one view out: in the room as long as anyone subscribes, and longer if the app has joined it. */
export class RoomStore {
  readonly #room: Room;
  readonly #timers: Timers;
  readonly #listeners = new Set<() => void>();
  readonly #typing = new Map<string, () => void>();
  #stopListening: readonly (() => void)[] = [];
  #view: RoomView;

  constructor(room: Room, timers: Timers = systemTimers) {
    this.#room = room;
    this.#timers = timers;
    this.#view = {
      ...emptyState,
      room,
      send: (text, options) => room.send(text, options),
      discard: (clientId) => this.#discard(clientId),
    };
  }

  readonly view = (): RoomView => this.#view;

  /** Calls `listener` at each change, until the returned function is called. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    this.#enter();
    return () => {
      this.#listeners.delete(listener);
      // Why later: React ends a subscription and begins the next in one go; the room is not left between.
      queueMicrotask(() => this.#leave());
    };
  };

  #enter(): void {
    if (this.#stopListening.length > 0) return;
    const kept = this.#room.subscription.wanted;
    this.#stopListening = this.#listen();
    this.#change({ outgoing: this.#room.outgoing() });
    // Why: when the app has joined the room itself, its first page may be gone by.
    this.#room.subscription.restart();
    // A refusal comes as `closed`, too.
    this.#room.join().catch(() => undefined);
    this.#room.kept = kept;
  }

  #leave(): void {
    if (this.#listeners.size > 0 || this.#stopListening.length === 0) return;
    for (const stop of this.#stopListening) stop();
    this.#stopListening = [];
    for (const cancel of this.#typing.values()) cancel();
    this.#typing.clear();
    this.#view = { ...this.#view, ...emptyState };
    if (!this.#room.kept) void this.#room.leave();
  }

  #listen(): readonly (() => void)[] {
    const room = this.#room;
    return [
      room.on("reset", ({ messages }) => this.#show(messages)),
      room.on("message", (message) => {
        this.#stopTyping(message.userId);
        this.#show([...this.#view.messages, message]);
      }),
      room.on("messageEdited", ({ messageSeq, text, editedAt }) => {
        this.#rewrite(messageSeq, (message) => ({ ...message, text, editedAt }));
      }),
      room.on("messageDeleted", ({ messageSeq, deletedAt }) => {
        this.#rewrite(messageSeq, (message) => ({ ...message, text: "", deletedAt }));
      }),
      room.on("erased", ({ seq, entrySeq = seq }) =>
        this.#show(this.#view.messages.filter((message) => message.seq !== entrySeq)),
      ),
      room.on("outgoing", (message) => this.#changeOutgoing(message)),
      room.on("typing", (userId) => this.#startTyping(userId)),
      room.on("subscribed", () => this.#change({ state: "joined", error: undefined })),
      room.followPeople(({ users, count }) => this.#change({ people: users, peopleCount: count })),
      room.on("closed", (error) => this.#change({ state: "closed", error, people: [], peopleCount: 0 })),
    ];
  }

  #show(messages: readonly Message[]): void {
    const shown = new Set(messages.map(({ clientId }) => clientId));
    const outgoing = this.#view.outgoing.filter(
      (message) => !shown.has(message.clientId) && !hasItsPlace(message, messages),
    );
    this.#change({ messages: messages.slice(-messagesMax), outgoing });
  }

  #rewrite(seq: number, change: (message: Message) => Message): void {
    this.#change({ messages: this.#view.messages.map((message) => (message.seq === seq ? change(message) : message)) });
  }

  /** One that was sent stays until the messages have come to its place. */
  #changeOutgoing(changed: OutgoingMessage): void {
    const { clientId } = changed;
    const isShown = hasItsPlace(changed, this.#view.messages);
    const isKnown = this.#view.outgoing.some((message) => message.clientId === clientId);
    const outgoing = this.#view.outgoing.flatMap((message) => {
      if (message.clientId !== clientId) return [message];
      return isShown ? [] : [changed];
    });
    this.#change({ outgoing: isKnown || isShown ? outgoing : [...outgoing, changed].slice(-outgoingMax) });
  }

  #discard(clientId: string): boolean {
    const outgoing = this.#view.outgoing.filter(
      (message) => message.clientId !== clientId || message.status !== "failed",
    );
    // Why not the room's word alone: the outbox does not know what it had no room for.
    const isDiscarded = this.#room.discard(clientId) || outgoing.length < this.#view.outgoing.length;
    if (isDiscarded) this.#change({ outgoing });
    return isDiscarded;
  }

  #startTyping(userId: string): void {
    this.#typing.get(userId)?.();
    this.#typing.set(
      userId,
      this.#timers.after(typingShownMs, () => this.#stopTyping(userId)),
    );
    this.#change({ typing: [...this.#typing.keys()] });
  }

  #stopTyping(userId: string): void {
    this.#typing.get(userId)?.();
    if (this.#typing.delete(userId)) this.#change({ typing: [...this.#typing.keys()] });
  }

  #change(changed: Partial<RoomStoreState>): void {
    this.#view = { ...this.#view, ...changed };
    for (const listener of this.#listeners) listener();
  }
}

/** Committed among the messages or before the first of them: below them it would stand in the wrong place. */
function hasItsPlace(message: OutgoingMessage, messages: readonly Message[]): boolean {
  return message.status === "sent" && message.seq <= (messages.at(-1)?.seq ?? 0);
}
