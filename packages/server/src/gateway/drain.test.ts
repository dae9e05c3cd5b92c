import { expect, test } from "vitest";
import { SimulatedClock } from "../../../../test/support/simulated-clock.ts";
import { drain, type Drained } from "./drain.ts";

/** Connections that go `leaveAfterMs` after they were told, or stay until they are closed (null). */
function crowd(clock: SimulatedClock, count: number, leaveAfterMs: number | null) {
  const connections = new Map<string, Drained>();
  const told: number[] = [];
  const closed: number[] = [];
  for (let index = 0; index < count; index += 1) {
    const id = `connection-${index}`;
    const connection = {
      closed: false,
      events: {
        onDraining: () => {
          told.push(clock.now());
          if (leaveAfterMs !== null) clock.after(leaveAfterMs, leave);
        },
      },
      close: () => {
        if (connection.closed) return;
        closed.push(clock.now());
        leave();
      },
    };
    const leave = (): void => {
      connection.closed = true;
      connections.delete(id);
    };
    connections.set(id, connection);
  }
  return { connections, told, closed };
}

test("[OUT-1] clients are told evenly over the drain, and closed once their time to move has passed", async () => {
  const clock = new SimulatedClock();
  const begun = clock.now();
  const { connections, told, closed } = crowd(clock, 10_000, null);
  let done = false;
  void drain(connections.values(), clock, { drainMs: 10_000, moveMs: 5_000 }).then(() => (done = true));
  await clock.advance(15_200);
  expect(done).toBe(true);
  expect(told).toHaveLength(10_000);
  for (let second = 0; second < 10; second += 1) {
    const within = told.filter((at) => Math.floor((at - begun) / 1_000) === second);
    expect(within).toHaveLength(1_000);
  }
  expect(closed.map((at, index) => at - (told[index] ?? 0))).toEqual(told.map(() => 5_000));
});

test("[OUT-1] a node whose clients move by themselves is done before their time is up", async () => {
  const clock = new SimulatedClock();
  const { connections, closed } = crowd(clock, 100, 200);
  let done = false;
  void drain(connections.values(), clock, { drainMs: 1_000, moveMs: 5_000 }).then(() => (done = true));
  await clock.advance(1_500);
  expect(done).toBe(true);
  expect(closed).toEqual([]);
});

test("[OUT-1] without clients there is nothing to wait for", async () => {
  await expect(drain([], new SimulatedClock(), { drainMs: 10_000, moveMs: 5_000 })).resolves.toBeUndefined();
});

test("a drain that is called off tells and closes nobody else", async () => {
  const clock = new SimulatedClock();
  const { connections, told, closed } = crowd(clock, 100, null);
  const calledOff = new AbortController();
  let done = false;
  const drained = drain(connections.values(), clock, { drainMs: 1_000, moveMs: 5_000 }, calledOff.signal);
  void drained.then(() => (done = true));
  await clock.advance(450);
  calledOff.abort();
  await clock.advance(10_000);
  expect(done).toBe(true);
  expect(told).toHaveLength(50);
  expect(closed).toEqual([]);
  expect(connections.size).toBe(100);
});
