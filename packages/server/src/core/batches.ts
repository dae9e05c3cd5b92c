import type { Clock } from "./clock.ts";

/**
 * Questions that clients on their way in have, in one call: so many that a storm's are few calls, so few that what
 * follows from their answers does not hold up the event loop.
 */
export const arrivalsPerCall = 256;

interface Asked<Question, Answer> {
  readonly question: Question;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Questions of one kind, asked many at once. One call is in flight: what is asked meanwhile goes with the next one, so
 * that calls grow with the load and their number does not.
 *
 * Bounded by those who ask: each waits for its answer. Every answer is as of a time after its question.
 */
export class Batches<Question, Answer> {
  readonly #clock: Clock;
  readonly #questionsMax: number;
  readonly #call: (questions: readonly Question[]) => Promise<readonly Answer[]>;
  #asked: Asked<Question, Answer>[] = [];
  #calling = false;

  /** `call` answers at most `questionsMax` questions, in their order; when it rejects, all of them are rejected. */
  constructor(
    clock: Clock,
    questionsMax: number,
    call: (questions: readonly Question[]) => Promise<readonly Answer[]>,
  ) {
    this.#clock = clock;
    this.#questionsMax = questionsMax;
    this.#call = call;
  }

  ask(question: Question): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#asked.push({ question, resolve, reject });
      if (this.#calling) return;
      this.#calling = true;
      // Why: all that this turn of the event loop read from its sockets goes into the first call.
      this.#clock.immediate(() => void this.#callAll());
    });
  }

  /** Never rejects. */
  async #callAll(): Promise<void> {
    while (this.#asked.length > 0) await this.#callOnce(this.#asked.splice(0, this.#questionsMax));
    this.#calling = false;
  }

  async #callOnce(batch: readonly Asked<Question, Answer>[]): Promise<void> {
    try {
      const answers = await this.#call(batch.map(({ question }) => question));
      for (const [index, answer] of answers.entries()) batch[index]?.resolve(answer);
      if (answers.length < batch.length) throw new Error("a call left questions without an answer");
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }
}
