import path from "node:path";
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import type { ToMember } from "../../../../test/support/crew-member-process.ts";
import { eventually } from "../../../../test/support/eventually.ts";
import { repositoryRoot } from "../../../../test/support/process.ts";
import { SimulatedClock } from "../../../../test/support/simulated-clock.ts";
import { isRunning } from "../../../../test/support/workers.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import { Crew } from "./crew.ts";
import type { WorkerProcess } from "./worker-process.ts";

const program = pathToFileURL(path.join(repositoryRoot, "test/support/crew-member-process.ts"));

interface Told {
  readonly workers?: number;
  readonly clock?: Clock;
  readonly first?: ToMember;
  readonly last?: ToMember;
}

/** `first`: what each process is told at its beginning, `last` at its end. */
function crewOf({ workers = 2, clock = systemClock, first = "begin", last = 0 }: Told, programNow = () => program) {
  const lost: object[] = [];
  const pids: number[] = [];
  const crew: Crew<ToMember, "ready"> = new Crew({
    workers,
    get program() {
      return programNow();
    },
    clock,
    seat: (process: WorkerProcess<ToMember, "ready">) => {
      pids.push(process.pid ?? 0);
      process.link.send(first);
      return { onMessage: () => crew.admit(process), leave: () => {} };
    },
    dismiss: ({ link }) => link.send(last),
    onLost: (worker, exit, againInMs) => lost.push({ worker, ...exit, againInMs }),
  });
  return { crew, lost, pids, [Symbol.asyncDispose]: () => crew.stop(0) };
}

test("a worker that ends is replaced, each time after a longer pause, and the others stay", async () => {
  await using member = crewOf({});
  const { crew, lost, pids } = member;
  await crew.start();
  const [first, second] = crew.ready;
  for (const againInMs of [100, 200, 400]) {
    crew.ready.find(({ number }) => number === 0)?.link.send(7);
    await eventually("the loss", () => lost.length === { 100: 1, 200: 2, 400: 3 }[againInMs] || undefined);
    expect(lost.at(-1)).toEqual({ worker: 0, code: 7, signal: null, againInMs });
    expect(crew.ready).toEqual([second]);
    await eventually("another", () => crew.ready.length === 2 || undefined);
  }
  expect(crew.ready).not.toContain(first);
  await crew.stop(20_000);
  expect(crew.ready).toEqual([]);
  expect(pids).toHaveLength(5);
  expect(pids.filter(isRunning)).toEqual([]);
}, 60_000);

test("a worker that closed its link and lives on is ended, and replaced", async () => {
  await using member = crewOf({});
  const { crew, lost, pids } = member;
  await crew.start();
  crew.ready.find(({ number }) => number === 0)?.link.send("unlink");
  await eventually("another", () => (lost.length > 0 && crew.ready.length === 2) || undefined);
  expect(lost).toEqual([{ worker: 0, code: null, signal: "SIGKILL", againInMs: 100 }]);
  expect(pids.filter(isRunning)).toHaveLength(2);
});

test("a start that fails says why and leaves no process", async () => {
  await using failing = crewOf({ first: 3 });
  await expect(failing.crew.start()).rejects.toThrow(/worker [12] ended before it was ready \(code 3\)/);
  expect(failing.pids.filter(isRunning)).toEqual([]);
  expect(failing.lost).toEqual([]);
});

test("who does not end when told is ended by force", async () => {
  await using stubborn = crewOf({ last: "ignored" });
  await stubborn.crew.start();
  await stubborn.crew.stop(50);
  expect(stubborn.pids).toHaveLength(2);
  expect(stubborn.pids.filter(isRunning)).toEqual([]);
});

/** A process of it cannot even be begun, as when the machine has no memory or no file descriptor left for one. */
const noProgram = new URL("https://example.invalid/");

test("a worker that cannot be begun again just now is tried again later, and the others stay", async () => {
  let wanted = program;
  await using member = crewOf({}, () => wanted);
  const { crew, lost } = member;
  await crew.start();
  const second = crew.ready.find(({ number }) => number === 1);
  wanted = noProgram;
  crew.ready.find(({ number }) => number === 0)?.link.send(7);
  await eventually("two losses", () => lost.length >= 2 || undefined);
  expect(lost[1]).toEqual({ worker: 0, code: null, signal: null, againInMs: 200 });
  expect(crew.ready).toEqual([second]);
  wanted = program;
  await eventually("another", () => crew.ready.length === 2 || undefined);
}, 60_000);

test("the pause before another worker has a bound, and is short again after one that lived for a minute", async () => {
  const clock = new SimulatedClock();
  let wanted = program;
  await using member = crewOf({ workers: 1, clock }, () => wanted);
  const { crew, lost } = member;
  await crew.start();
  wanted = noProgram;
  crew.ready[0]?.link.send(7);
  await eventually("the loss", () => lost.length > 0 || undefined);
  await clock.advance(30_000);
  const pauses = lost.map((loss) => Reflect.get(loss, "againInMs"));
  expect(pauses.slice(0, 8)).toEqual([100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
  wanted = program;
  await clock.advance(5_000);
  await eventually("another", () => crew.ready.length === 1 || undefined);
  await clock.advance(60_001);
  crew.ready[0]?.link.send(7);
  await eventually("its loss", () => lost.length > pauses.length || undefined);
  expect(lost.at(-1)).toMatchObject({ code: 7, againInMs: 100 });
});

test("a crew that is stopped while a worker is to follow begins no other", async () => {
  const clock = new SimulatedClock();
  await using member = crewOf({ clock });
  const { crew, lost, pids } = member;
  await crew.start();
  crew.ready[0]?.link.send(7);
  await eventually("the loss", () => lost.length > 0 || undefined);
  await crew.stop(20_000);
  expect(clock.waiting).toBe(0);
  await clock.advance(60_000);
  expect(pids).toHaveLength(2);
  expect(pids.filter(isRunning)).toEqual([]);
});

test("a start of which a process cannot be begun fails, and leaves no process", async () => {
  const programs = [program, noProgram];
  await using failing = crewOf({}, () => programs.shift() ?? program);
  await expect(failing.crew.start()).rejects.toThrow(/URL must be of scheme file/);
  expect(failing.pids).toHaveLength(1);
  expect(failing.pids.filter(isRunning)).toEqual([]);
});

test("of a process that the system does not begin, its crew hears and nothing else does", async () => {
  await using failing = crewOf({ workers: 1 });
  const { execPath } = process;
  process.execPath = path.join(repositoryRoot, "no-such-program");
  try {
    await expect(failing.crew.start()).rejects.toThrow("could not be begun");
  } finally {
    process.execPath = execPath;
  }
  expect(failing.pids).toEqual([]);
});
