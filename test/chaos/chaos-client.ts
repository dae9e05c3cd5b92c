import { Transcript } from "../support/transcript.ts";

/** A message that the server has acknowledged to its sender. */
export interface Acknowledged {
  readonly room: string;
  readonly seq: number;
  readonly clientId: string;
  readonly text: string;
}

/** How fast clients come back: as their defaults say, or at once, for short tests. */
export type Reconnecting = "as_by_default" | "at_once";

/** One user who sends and reads in every room, whatever client software is behind. */
export interface ChaosClient extends Disposable {
  /** `alice over websocket (SDK)`: who, by what way, with which software. */
  readonly name: string;
  readonly journal: Journal;
  readonly connected: boolean;
  /** Whether it is connected, and entries of every room follow. */
  readonly following: boolean;
  /** Messages that were sent and are not acknowledged. */
  readonly unacknowledged: number;
  /** Connects, and joins the rooms. */
  start(): void;
  send(room: string, text: string): void;
}

/** What one client got and was told, to be checked against the log. */
export class Journal {
  readonly acknowledged: Acknowledged[] = [];
  /** Refusals that no client should meet under this load, by code; to send less fast for a while is none. */
  readonly refused: string[] = [];
  /** Client ids of messages that were refused for now, and sent again after others that were under way. */
  readonly retried = new Set<string>();
  /** Entries that came again after a recovery, which a client that leaves it to the server must expect (REC-2). */
  repeats = 0;
  /** Times that it came back as another socket, though it might have recovered. */
  unrecovered = 0;
  readonly #rooms = new Map<string, { transcript: Transcript; textOf: Map<number, string> }>();

  constructor(rooms: readonly string[]) {
    for (const room of rooms) this.#rooms.set(room, { transcript: new Transcript(), textOf: new Map() });
  }

  transcript(room: string): Transcript {
    return this.#of(room).transcript;
  }

  /** Texts by seq, pages included. */
  texts(room: string): ReadonlyMap<number, string> {
    return this.#of(room).textOf;
  }

  entry(room: string, seq: number, text: string): void {
    const { transcript, textOf } = this.#of(room);
    transcript.entry(seq);
    textOf.set(seq, text);
  }

  page(room: string, messages: readonly { readonly seq: number; readonly text: string }[]): void {
    const { transcript, textOf } = this.#of(room);
    // Why the last message: these rooms hold nothing but messages.
    transcript.page(messages.at(-1)?.seq ?? 0);
    for (const { seq, text } of messages) textOf.set(seq, text);
  }

  #of(room: string): { transcript: Transcript; textOf: Map<number, string> } {
    const known = this.#rooms.get(room);
    if (known === undefined) throw new Error(`nobody joined ${room}`);
    return known;
  }
}
