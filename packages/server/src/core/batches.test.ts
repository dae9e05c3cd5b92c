import { expect, test } from "vitest";
import { SimulatedClock } from "../../../../test/support/simulated-clock.ts";
import { Batches } from "./batches.ts";

const callMs = 10;

function setUp(questionsMax: number) {
  const clock = new SimulatedClock();
  const calls: (readonly number[])[] = [];
  const batches = new Batches<number, number>(clock, questionsMax, async (questions) => {
    calls.push(questions);
    await new Promise<void>((resolve) => void clock.after(callMs, resolve));
    if (questions.includes(0)) throw new Error("no answer to 0");
    return questions.filter((question) => question > 0).map((question) => question * 10);
  });
  const ask = (...questions: readonly number[]) =>
    questions.map((question) => batches.ask(question).catch((error: unknown) => String(error)));
  return { clock, calls, ask };
}

test("what is asked in one turn is one call, what is asked during a call is the next, each gets its own answer", async () => {
  const { clock, calls, ask } = setUp(3);
  const first = ask(1, 2);
  await clock.advance(1);
  const next = ask(3, 4, 5, 6);
  expect(calls).toEqual([[1, 2]]);
  await clock.advance(3 * callMs);
  expect(calls).toEqual([[1, 2], [3, 4, 5], [6]]);
  expect(await Promise.all([...first, ...next])).toEqual([10, 20, 30, 40, 50, 60]);
  const later = ask(7);
  await clock.advance(callMs);
  expect(await Promise.all(later)).toEqual([70]);
});

test("a call that fails fails its own questions alone; one that leaves a question out fails that one", async () => {
  const { clock, ask } = setUp(2);
  const answers = ask(1, 0, 2, -1, 3);
  await clock.advance(3 * callMs);
  const none = "Error: no answer to 0";
  expect(await Promise.all(answers)).toEqual([none, none, 20, "Error: a call left questions without an answer", 30]);
});
