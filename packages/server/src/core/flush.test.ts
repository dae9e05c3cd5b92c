import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BusyClock } from "../../../../test/support/busy-clock.ts";
import { MemoryStore } from "../../../../test/support/memory-store.ts";
import type { Connection } from "../gateway/connection.ts";
import { Confirmation } from "./confirmation.ts";
import { parseOffset } from "./entry-event.ts";
import { Feed } from "./feed.ts";
import { defaultFeedsLimits } from "./feeds.ts";
import { Flusher } from "./flush.ts";
import { payloadsOf } from "./frame.ts";
import { type LogId, logId } from "./log.ts";
import { Session, type SessionEvents } from "./session.ts";
import { attach, detach, type Subscriber } from "./subscriber.ts";
import { Tails } from "./tails.ts";

/** A socket that takes all, and for each write as much time as a real one would. */
class FastConnection implements Connection {
  readonly id = "c";
  readonly writes: (readonly Buffer[])[] = [];
  readonly #onWrite: () => void;

  constructor(onWrite: () => void) {
    this.#onWrite = onWrite;
  }

  free(): number {
    return Infinity;
  }

  write(frames: readonly Buffer[]): void {
    this.writes.push([...frames]);
    this.#onWrite();
  }

  confirm(): void {}
  close(): void {}

  /** Places of the entries that were written, in order. */
  get places(): string[] {
    return this.writes.flat().flatMap((frames) =>
      [...payloadsOf(frames)].map(({ payload }) => {
        const args: unknown = JSON.parse(payload.toString().slice(2));
        const offset = parseOffset(Array.isArray(args) ? String(args.at(-1)) : "");
        return `${offset?.room} ${offset?.seq}`;
      }),
    );
  }
}

interface Reader {
  readonly session: Session;
  readonly connection: FastConnection;
}

/** Feeds without a store behind them, and a flusher that has `budgetMs` of a turn, in which a write takes `writeMs`. */
function setUp({ budgetMs = 5, writeMs = 0 } = {}) {
  const clock = new BusyClock();
  const flusher = new Flusher(clock, budgetMs, new Confirmation(clock, true));
  const store = new MemoryStore({ clock });
  const order: string[] = [];
  const createFeed = (room: string): Feed =>
    new Feed(
      logId("default", room),
      { epoch: "e", head: 0, floor: 1 },
      {
        store,
        clock,
        limits: defaultFeedsLimits,
        tails: new Tails(clock),
        events: { onAdvanced: (feed) => flusher.feedAdvanced(feed), onReset: () => {} },
      },
    );
  const advance = (feed: Feed, count = 1): void => {
    const from = feed.head + 1;
    const events = Array.from({ length: count }, (_, index) => `["new_message",{"seq":${from + index}}`);
    feed.accept({ log: feed.log, epoch: "e", from, events });
  };
  const events: SessionEvents = {
    onDue: (session) => flusher.sessionDue(session),
    onBehind: () => {
      throw new Error("all is in the tail");
    },
    onArrived: () => {},
    delivered: () => {},
  };
  const user = { id: "user", tenant: "default", roles: [], expiresAt: null, issuedAt: 0 };
  const createReader = (name = "reader"): Reader => {
    const connection = new FastConnection(() => {
      clock.spend(writeMs);
      order.push(name);
    });
    const session = new Session({ id: "s", pid: null, offsets: true, user, kept: false, generation: 0 }, events);
    session.connect(connection);
    session.open();
    return { session, connection };
  };
  const follow = ({ session }: Reader, feed: Feed): Subscriber => {
    const subscriber = session.add(feed.log, feed.epoch, feed.head);
    attach(subscriber, feed);
    return subscriber;
  };
  return { clock, order, createFeed, advance, createReader, follow };
}

function placesOf(log: LogId, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${log.slice(8)} ${index + 1}`);
}

describe("a turn's flush", () => {
  test("[FEED-1] is one write per socket, whatever came in however many rooms", async () => {
    const { clock, createFeed, advance, createReader, follow } = setUp();
    const feeds = ["alpha", "beta", "gamma"].map(createFeed);
    const reader = createReader();
    for (const feed of feeds) follow(reader, feed);
    for (const feed of feeds) {
      advance(feed);
      advance(feed, 3);
    }
    await clock.settle();
    expect(reader.connection.writes).toHaveLength(1);
    expect(reader.connection.places.toSorted()).toEqual(feeds.flatMap(({ log }) => placesOf(log, 4)).toSorted());
  });

  test("[FEED-4] gives subscribers at one cursor the very same buffer", async () => {
    const { clock, createFeed, advance, createReader, follow } = setUp();
    const feed = createFeed("alpha");
    const readers = Array.from({ length: 5 }, () => createReader());
    for (const reader of readers) follow(reader, feed);
    for (const count of [1, 10]) {
      advance(feed, count);
      await clock.settle();
      const written = readers.map(({ connection }) => connection.writes.at(-1));
      for (const frames of written) {
        expect(frames).toHaveLength(1);
        expect(frames?.[0]).toBe(written[0]?.[0]);
      }
    }
    expect(readers[4]?.connection.places).toEqual(placesOf(feed.log, 11));
  });

  test("[FEED-1] a room of 15,000 delays no small one, and no turn takes longer than its budget", async () => {
    const budgetMs = 5;
    const writeMs = 0.05;
    const { clock, order, createFeed, advance, createReader, follow } = setUp({ budgetMs, writeMs });
    const [large, small] = [createFeed("large"), createFeed("small")];
    for (let count = 0; count < 15_000; count += 1) follow(createReader("large"), large);
    for (let count = 0; count < 10; count += 1) follow(createReader("small"), small);
    await clock.settle();
    advance(large);
    advance(small);
    let longestMs = 0;
    for (let turns = 0; order.length < 15_010 && turns < 1_000; turns += 1) {
      const begun = clock.monotonic();
      await clock.turn();
      longestMs = Math.max(longestMs, clock.monotonic() - begun);
    }
    expect(order).toHaveLength(15_010);
    // Between two looks at the clock lie sixteen writes.
    expect(longestMs).toBeLessThan(budgetMs + 17 * writeMs);
    expect(order.lastIndexOf("small")).toBeLessThan(300);
  });

  test("[FEED-1] whoever joins and leaves during a pass: each gets each entry once, in order, and nobody is left out", async () => {
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.record({ do: fc.constant("advance" as const), at: fc.integer({ min: 1, max: 3 }) }) },
      { weight: 4, arbitrary: fc.record({ do: fc.constant("turn" as const), at: fc.constant(0) }) },
      { weight: 4, arbitrary: fc.record({ do: fc.constantFrom("leave" as const, "join" as const), at: fc.nat() }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const { clock, createFeed, advance, createReader, follow } = setUp({ budgetMs: 1, writeMs: 0.02 });
        const feed = createFeed("alpha");
        const readers = Array.from({ length: 600 }, () => createReader());
        const began = new Map(readers.map((reader) => [follow(reader, feed), { reader, head: 0 }]));
        for (const { do: what, at } of steps) {
          const subscriber = feed.subscribers[at % Math.max(1, feed.subscribers.length)];
          if (what === "advance") advance(feed, at);
          else if (what === "turn") await clock.turn();
          else if (what === "leave" && subscriber !== undefined) detach(subscriber, 0);
          else if (what === "join") {
            const reader = createReader();
            began.set(follow(reader, feed), { reader, head: feed.head });
          }
        }
        await clock.settle();
        for (const [subscriber, { reader, head }] of began) {
          const { cursor } = subscriber;
          expect(cursor).toBe(subscriber.feed === null ? cursor : feed.head);
          expect(reader.connection.places).toEqual(placesOf(feed.log, cursor).slice(head));
        }
      }),
      { numRuns: 40 },
    );
  }, 60_000);
});
