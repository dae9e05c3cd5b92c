import { expect, test } from "vitest";
import { BusyClock } from "../../../../test/support/busy-clock.ts";
import { LocalPresence } from "./local-presence.ts";
import type { LogId } from "./log.ts";
import { Sessions } from "./sessions.ts";
import { inTurns } from "./turns.ts";

const many = 1_000;
/** What one step takes, and the most that all of a turn may. */
const stepMs = 1;
const turnMsMax = 3;
const graceMs = 5_000;
const room: LogId = "default/alpha";

function* work(clock: BusyClock, done: number[]): Generator<void> {
  for (let number = 0; number < many; number += 1) {
    done.push(number);
    clock.spend(stepMs);
    yield;
  }
}

test("much work takes a little of each turn, in order, and says when it is done", async () => {
  const clock = new BusyClock();
  const done: number[] = [];
  let isDone = false;
  inTurns(clock, work(clock, done), () => (isDone = true));
  expect(done).toEqual([]);
  await clock.settle();
  expect(done).toEqual(Array.from({ length: many }, (_, number) => number));
  expect([isDone, clock.longestTurnMs <= turnMsMax]).toEqual([true, true]);
});

test("work that is ended stops where it is", async () => {
  const clock = new BusyClock();
  const done: number[] = [];
  const end = inTurns(clock, work(clock, done), () => done.push(Number.NaN));
  await clock.turn();
  end();
  const before = done.length;
  await clock.settle();
  expect([before > 0, done.length]).toEqual([true, before]);
});

test("[PRES-1] users who are gone all at once leave over many turns, with one timer; who is back meanwhile stays", async () => {
  const clock = new BusyClock();
  const gone: string[] = [];
  const users = Array.from({ length: many }, (_, number) => `user-${number}`);
  const back = `user-${many - 1}`;
  const presence = new LocalPresence(clock, graceMs, {
    onEntered: () => {},
    onGone: (_, userId) => {
      gone.push(userId);
      clock.spend(stepMs);
      if (gone.length === 1) presence.entered(room, back);
    },
  });
  for (const userId of users) presence.entered(room, userId);
  for (const userId of users) presence.left(room, userId, false);
  expect(clock.waiting).toBe(1);
  await clock.advance(graceMs - 1);
  expect(gone).toEqual([]);
  await clock.advance(1);
  expect(gone).toEqual(users.slice(0, -1));
  expect([presence.count(room), clock.waiting, clock.longestTurnMs <= turnMsMax]).toEqual([1, 0, true]);
});

interface Crowd {
  readonly clock: BusyClock;
  readonly sessions: Sessions;
  readonly ended: string[];
  readonly expired: string[];
}

/** Many sessions of a node, each of its own user, whose end takes time. */
function crowd(expiresAt: number | null): Crowd {
  const clock = new BusyClock();
  const ended: string[] = [];
  const expired: string[] = [];
  const nothing = (): void => {};
  const sessions = new Sessions({
    clock,
    limits: {
      maxDisconnectionDurationMs: 2_000,
      detachedSessionsMax: many,
      connectionsPerUserMax: 1,
      expiringNoticeMs: 0,
    },
    sessionEvents: { onDue: nothing, onBehind: nothing, onArrived: nothing, delivered: nothing },
    events: {
      onUserCame: nothing,
      onUserGone: nothing,
      onDetached: nothing,
      onDropped: nothing,
      onEnded: ({ user }) => {
        ended.push(user.id);
        clock.spend(stepMs);
      },
      onExpiring: nothing,
      onExpired: (session) => {
        expired.push(session.user.id);
        clock.spend(stepMs);
        sessions.detach(session);
      },
    },
  });
  const connection = { id: "c", free: () => Infinity, write: nothing, confirm: nothing, close: nothing };
  for (let number = 0; number < many; number += 1) {
    const user = { id: `user-${number}`, tenant: "default", roles: [], expiresAt, issuedAt: 0 };
    sessions.create(user, connection, { recovery: true, kept: false });
  }
  sessions.start();
  return { clock, sessions, ended, expired };
}

test("sessions whose clients all stayed away as long end over many turns", async () => {
  const { clock, sessions, ended } = crowd(null);
  for (const session of [...sessions.connected]) sessions.detach(session);
  await clock.advance(2_000);
  expect([ended.length, sessions.detachedCount, clock.longestTurnMs <= turnMsMax]).toEqual([many, 0, true]);
  sessions.stop();
});

test("[ACC-2] tokens that all end at once end their connections over many turns", async () => {
  const { clock, sessions, expired } = crowd(1_700_000_000_500);
  await clock.advance(1_000);
  expect([expired.length, sessions.connected.size, clock.longestTurnMs <= turnMsMax]).toEqual([many, 0, true]);
  sessions.stop();
});
