import { type Message, RefusalError } from "@parley/protocol";
import type { MessagePage, Store } from "../store/store.ts";
import { eventPacket, messageText, pageOffsetOf, readable } from "./entry-event.ts";
import type { Feed } from "./feed.ts";
import { textFrame } from "./frame.ts";
import { randomNumber } from "./ids.ts";
import { type Entry, type LogId, logId, roomOf, type Seq } from "./log.ts";

/** A page of messages in their present state, oldest first; `bytes`: of its JSON. */
export interface HistoryRange {
  readonly messages: readonly Message[];
  readonly head: Seq;
  readonly epoch: string;
  readonly more: boolean;
  readonly bytes: number;
}

/** All have 10 digits, so that pages are as long whatever their numbers; and are small integers, since sessions keep them. */
const pageNumberMin = 1_000_000_000;

export interface LatestPage {
  /** Tells its offset from that of another page of the room. */
  readonly number: number;
  /** Where it ends: what follows is not in it. */
  readonly head: Seq;
  /** The head of the log as it was read: what its messages look like. */
  readonly asOf: Seq;
  readonly epoch: string;
  readonly json: string;
  readonly frames: Map<boolean, Buffer>;
}

/** Pages of messages: the latest one, which many ask for at once, and any other range. */
export class HistoryPages {
  readonly #store: Store;
  /** Bytes of message data in one page. */
  readonly #bytesMax: number;
  /** Reads of latest pages that are under way, by log and number of messages. */
  readonly #reading = new Map<string, Promise<LatestPage>>();
  readonly #known = new WeakMap<Feed, { readonly limit: number; readonly page: LatestPage }>();
  /** Why at random: a client may still remember a page of a node that served it before. */
  #count = randomNumber(pageNumberMin, 1.5 * pageNumberMin);

  constructor(store: Store, bytesMax: number) {
    this.#store = store;
    this.#bytesMax = bytesMax;
  }

  /** The right to read was checked before. */
  async range(
    tenant: string,
    range: { roomId: string; before?: number | undefined; after?: number | undefined; limit: number },
  ): Promise<HistoryRange> {
    const log = logId(tenant, range.roomId);
    const { before, after, limit } = range;
    const bytesMax = this.#bytesMax;
    const page = await this.#store.readMessages(log, {
      limit,
      bytesMax,
      ...(before === undefined ? {} : { before }),
      ...(after === undefined ? {} : { after }),
    });
    if (page === undefined) return { messages: [], head: 0, epoch: "", more: false, bytes: 0 };
    const json = messagesJson(log, page);
    return {
      messages: JSON.parse(json),
      head: page.head,
      epoch: page.epoch,
      more: page.more,
      bytes: Buffer.byteLength(json),
    };
  }

  /**
   * The latest messages as of a head; those who ask meanwhile share the read, and the frame while the head stands. A page
   * that was being read already may be older than `headMin`; the next one is not.
   */
  latest(feed: Feed, limit: number, headMin: Seq): Promise<LatestPage> {
    const known = this.#known.get(feed);
    if (
      known !== undefined &&
      known.limit === limit &&
      known.page.head === feed.head &&
      known.page.head >= headMin &&
      known.page.epoch === feed.epoch
    ) {
      return Promise.resolve(known.page);
    }
    const key = `${limit} ${feed.log}`;
    const reading = this.#reading.get(key);
    if (reading !== undefined) return reading;
    const promise = this.#read(feed, limit).finally(() => this.#reading.delete(key));
    this.#reading.set(key, promise);
    return promise;
  }

  /**
   * The messages up to `end`, in their present state, as a page that ends there: whoever had it before, and entries after
   * it, misses nothing when those follow it again.
   */
  async upTo(feed: Feed, limit: number, end: Seq): Promise<LatestPage> {
    const asked = feed.epoch;
    const page = await this.#store.readMessages(feed.log, { before: end + 1, limit, bytesMax: this.#bytesMax });
    if (page === undefined) throw new RefusalError("not_found", "the room was deleted");
    feed.learn(page, asked);
    const { head: asOf, epoch } = page;
    return this.anew({ head: Math.min(end, asOf), asOf, epoch, json: messagesJson(feed.log, page) });
  }

  async #read(feed: Feed, limit: number): Promise<LatestPage> {
    const asked = feed.epoch;
    const page = await this.#store.readMessages(feed.log, { limit, bytesMax: this.#bytesMax });
    if (page === undefined) throw new RefusalError("not_found", "the room was deleted");
    const latest = this.anew({
      head: page.head,
      asOf: page.head,
      epoch: page.epoch,
      json: messagesJson(feed.log, page),
    });
    // Why: the page may be ahead of the feed, whose hint is still on its way.
    feed.learn(page, asked);
    this.#known.set(feed, { limit, page: latest });
    return latest;
  }

  /** The same page under a number of its own. */
  anew(page: Pick<LatestPage, "head" | "asOf" | "epoch" | "json">): LatestPage {
    this.#count += 1;
    const { head, asOf, epoch, json } = page;
    return { number: this.#count, head, asOf, epoch, json, frames: new Map() };
  }
}

/** The frame is kept with the page: all who join at one head share it. */
export function historyFrame(log: LogId, page: LatestPage, offsets: boolean): Buffer {
  const known = page.frames.get(offsets);
  if (known !== undefined) return known;
  const offset = offsets ? pageOffsetOf(log, page.epoch, page.head, page.number) : null;
  const frame = textFrame(eventPacket(`["room_history",${page.json}`, offset));
  page.frames.set(offsets, frame);
  return frame;
}

function messagesJson(log: LogId, page: MessagePage): string {
  const room = JSON.stringify(roomOf(log));
  return `[${page.messages
    .map(readable)
    .filter(isMessage)
    .map((entry) => messageText(room, entry))
    .join(",")}]`;
}

function isMessage({ type }: Entry): boolean {
  return type === "message";
}
