import path from "node:path";
import type { DatabaseSync } from "node:sqlite";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { createTemporaryFolder } from "../../../../test/support/temporary-folder.ts";
import { type LogId, logId } from "../core/log.ts";
import { append, bytesMax, changing, deletionOf, editOf, erasureOf, membership } from "./contract-steps.contract.ts";
import { SqliteDatabase } from "./sqlite-database.ts";
import { openFile } from "./sqlite-file.ts";
import type { Append } from "./store.ts";

async function openConnection() {
  await using opening = new AsyncDisposableStack();
  const folder = opening.use(await createTemporaryFolder());
  const file = path.join(folder.path, "parley.db");
  const connection = opening.use(openFile({ file, synchronous: "OFF", create: true }));
  const opened = opening.move();
  return { connection, [Symbol.asyncDispose]: () => opened.disposeAsync() };
}

/** A store on an open file that begins anew from what the file holds as often as it is told to. */
class Subject {
  readonly #connection: DatabaseSync;
  readonly #logsMin: number;
  store: SqliteDatabase;
  n = 0;

  constructor(connection: DatabaseSync, logsMin: number) {
    this.#connection = connection;
    this.#logsMin = logsMin;
    this.store = new SqliteDatabase(connection, "OFF", logsMin);
  }

  begin(): void {
    this.store = new SqliteDatabase(this.#connection, "OFF", this.#logsMin);
  }

  append(...appends: readonly Append[]) {
    this.n += 1;
    return this.store.append({ node: "node-1", n: this.n, appends }, 1).results;
  }

  /** A batch that finds no room in the file. */
  fail(...appends: readonly Append[]): void {
    this.#connection.exec("PRAGMA max_page_count = 1");
    const large = Array.from({ length: 50 }, () => append("x".repeat(10_000), { log: logId("default", "large") }));
    try {
      this.append(...appends, ...large);
      throw new Error("there was room");
    } catch (error) {
      if (!String(error).includes("full")) throw error;
    }
    this.#connection.exec("PRAGMA max_page_count = 1000000");
  }

  /** All that can be read of a log, but for its epoch. */
  read(log: LogId) {
    const { store } = this;
    const withoutEpoch = (page: { epoch: string } | undefined) => page && { ...page, epoch: "" };
    const first = store.readMessages(log, { limit: 3, bytesMax });
    return [
      store.readAfter(log, 0, 500, bytesMax),
      store.readAfter(log, 3, 2, bytesMax),
      store.readAfter(log, 2, 500, 60),
      first,
      store.readMessages(log, { limit: 3, bytesMax, before: first?.messages[0]?.seq ?? 4 }),
      store.readMessages(log, { limit: 4, bytesMax, after: 2 }),
      store.states([log])[0],
    ].map(withoutEpoch);
  }

  waiting(text: string): number {
    const row = this.#connection.prepare("SELECT count(*) AS found FROM arrival WHERE instr(rows, ?) > 0").get(text);
    return Number(row?.["found"]);
  }
}

const logs = ["a", "b", "c"].map((room) => logId("default", room));
const anyLog = fc.constantFrom(...logs);
const anySeq = fc.integer({ min: 1, max: 12 });

/** One append, made twice: ids must be the same in both stores. */
const anyAppend = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .record({ log: anyLog, text: fc.string({ maxLength: 8 }) })
      .map(({ log, text }) => append(text, { log })),
  },
  fc
    .record({ log: anyLog, client: fc.constantFrom("one", "two") })
    .map(({ log, client }) => append("same", { log, clientId: client })),
  fc
    .record({ log: anyLog, target: anySeq, text: fc.string() })
    .map(({ log, target, text }) => editOf(target, text, { log })),
  fc.record({ log: anyLog, target: anySeq }).map(({ log, target }) => deletionOf(target, { log })),
  fc.record({ log: anyLog, target: anySeq }).map(({ log, target }) => ({ ...erasureOf(target), log })),
  anyLog.map((log) => membership("bert", "member", log)),
  anyLog.map((log) => append("x".repeat(2_000), { log })),
  anyLog.map((log) => append("\0", { log })),
);

type Step = (subject: Subject) => unknown;

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.array(anyAppend, { minLength: 1, maxLength: 6 }).map(
      (appends): Step =>
        (subject) =>
          subject.append(...appends),
    ),
  },
  fc.array(anyAppend, { maxLength: 4 }).map(
    (appends): Step =>
      (subject) =>
        subject.fail(...appends),
  ),
  fc.constant<Step>((subject) => subject.begin()),
  fc.record({ log: anyLog, floor: anySeq }).map(
    ({ log, floor }): Step =>
      (subject) =>
        subject.store.trim(log, floor),
  ),
  anyLog.map(
    (log): Step =>
      (subject) =>
        subject.store.deleteRoom(log),
  ),
  fc.record({ log: anyLog, retainEntriesMax: fc.constantFrom(0, 0, 3) }).map(
    ({ log, retainEntriesMax }): Step =>
      (subject) =>
        subject.store.putRoom({ log, access: "public", retainEntriesMax, createdAt: 1 }),
  ),
  // What is left to be purged is not the same: entries that are written where they stay take some along.
  fc.constant<Step>((subject) => void subject.store.purgeSome()),
);

test("[LOG-2] messages that are kept as they arrive are read as those that are not, whatever happens between", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyStep, { minLength: 1, maxLength: 25 }), async (steps) => {
      await using one = await openConnection();
      await using other = await openConnection();
      const arriving = new Subject(one.connection, 1);
      const direct = new Subject(other.connection, Number.POSITIVE_INFINITY);
      for (const step of steps) {
        const results = [arriving, direct].map((subject) =>
          JSON.stringify(step(subject) ?? null).replaceAll(/"[^"]*\.[^"]*"/g, ""),
        );
        expect(results[0]).toEqual(results[1]);
        for (const log of logs) expect(arriving.read(log)).toEqual(direct.read(log));
      }
      arriving.begin();
      for (const log of logs) expect(arriving.read(log)).toEqual(direct.read(log));
    }),
    { numRuns: 100 },
  );
});

test("[LOG-2] many messages move on among those of their logs, and are there after a restart at any moment", async () => {
  await using opened = await openConnection();
  const subject = new Subject(opened.connection, 16);
  const rooms = Array.from({ length: 100 }, (_, index) => logId("default", `room-${index}`));
  const text = "x".repeat(900);
  for (let round = 1; round <= 120; round += 1) {
    expect(new Set(subject.append(...rooms.map((log) => append(text, { log }))))).toEqual(new Set([round]));
    if (round % 40 === 0) subject.begin();
  }
  const moved = opened.connection.prepare("SELECT count(*) AS found FROM message").get()?.["found"];
  const rows = opened.connection.prepare("SELECT sum(length(rows)) AS bytes FROM arrival").get()?.["bytes"];
  expect(moved).toBeGreaterThan(2_000);
  expect(rows).toBeLessThan(8_500_000);
  for (const log of rooms) {
    const entries = subject.store.readAfter(log, 0, 500, bytesMax)?.entries ?? [];
    expect(entries.map(({ seq }) => seq)).toEqual(Array.from({ length: 120 }, (_, index) => index + 1));
  }
});

test("[LOG-2] a log of which much waits is written where it stays once all of it was moved, some with each batch", async () => {
  await using opened = await openConnection();
  const subject = new Subject(opened.connection, 1);
  const [log = logId("default", "a")] = logs;
  const total = 1_500;
  for (let seq = 1; seq <= total; seq += 1) expect(subject.append(append("hello", { log }))).toEqual([seq]);
  const inTable = () => Number(opened.connection.prepare("SELECT count(*) AS found FROM message").get()?.["found"]);
  const counts: number[] = [];
  for (let head = total; head < total + 15; head += 3) {
    const three = [append("one", { log }), append("two", { log }), append("three", { log })];
    expect(subject.append(...three)).toEqual([head + 1, head + 2, head + 3]);
    counts.push(inTable());
    const last = subject.store.readAfter(log, head - 2, 500, bytesMax)?.entries.map(({ seq }) => seq);
    expect(last).toEqual([head - 1, head, head + 1, head + 2, head + 3]);
  }
  expect(counts).toEqual([512, 1_024, 1_509, 1_512, 1_515]);
});

test("[LOG-2] nothing is left of the text of a message that was changed, erased, trimmed, or gone with its room", async () => {
  await using opened = await openConnection();
  const subject = new Subject(opened.connection, 1);
  const [room = logId("default", "a"), other = room] = logs;
  const secrets = ["secret-1", "secret-2", "secret-3", "secret-4", "secret-5"];
  for (const secret of secrets) subject.append(append(secret, { log: room }), append("hello", { log: other }));
  const left = () => secrets.filter((secret) => subject.waiting(secret) > 0);
  expect(left()).toEqual(secrets);
  subject.append(editOf(1, "changed", { log: room }));
  subject.append(deletionOf(2, { log: room }));
  subject.append(changing({ kind: "erase", target: 3 }, { log: room }));
  expect(left()).toEqual(["secret-4", "secret-5"]);
  subject.store.trim(room, 6);
  expect(left()).toEqual([]);
  subject.append(append("secret-1", { log: room }));
  expect(left()).toEqual(["secret-1"]);
  subject.store.deleteRoom(room);
  expect(left()).toEqual([]);
  expect(subject.waiting("hello")).toBeGreaterThan(0);
});
