import { hash, randomInt } from "node:crypto";
import type { Millis } from "../core/log.ts";
import { batchKey, isStorable } from "./append-check.ts";
import { bodyDigest } from "./client-ids.ts";
import { bigintArray, intArray, textArray } from "./postgres-arrays.ts";
import { arrange, readResults, writeRefused } from "./postgres-batch.ts";
import type { Connections } from "./postgres-connections.ts";
import { failureOf, portError } from "./postgres-errors.ts";
import { readHeads } from "./postgres-journal.ts";
import { batchBegunSchema, type Effects, type Judged, noEffects, planEffects } from "./postgres-plan.ts";
import type { Session, Statement } from "./postgres-session.ts";
import { type Row, textOf } from "./rows.ts";
import { type Append, type AppendBatch, type AppendResult, StoreUnavailable } from "./store.ts";

/** Lost races are run again so often. */
const triesMax = 5;

/** The appends of one store. */
export class Appends {
  readonly #connections: Connections;
  readonly #now: () => Millis;

  constructor(connections: Connections, now: () => Millis) {
    this.#connections = connections;
    this.#now = now;
  }

  /** Errors: as the port says. */
  append(batch: AppendBatch): Promise<readonly AppendResult[]> {
    return this.#connections.append(async (session) => {
      const judged = batch.appends.map(judge);
      const row = await this.#commit(session, batch, judged);
      if (textOf(row["batch_key"]) !== batchKey(batch)) {
        throw new Error(`node ${batch.node} gives number ${batch.n} to a second batch`);
      }
      const generation = textOf(row["generation"]);
      const heads = readHeads(row);
      const last = heads.at(-1);
      if (last !== undefined) this.#connections.witness(last.log, last.life, last.head, generation);
      return readResults(judged, heads, generation, row);
    });
  }

  /** The batch's journal row. What the database refuses for its data is found and refused alone. */
  async #commit(session: Session, batch: AppendBatch, unrefused: readonly Judged[]): Promise<Row> {
    let judged = unrefused;
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#run(session, batch, judged, "COMMIT");
      } catch (error) {
        const failure = failureOf(error);
        if (tries === triesMax) throw failure === "data" ? refusedWhole(error) : portError(error, "write");
        if (failure === "data") judged = await this.#refuseBad(session, batch, judged);
        else if (failure !== "again") throw portError(error, "write");
      }
    }
  }

  /** Tries ever smaller parts, in transactions that are taken back, until the bad ones are alone. */
  async #refuseBad(session: Session, batch: AppendBatch, judged: readonly Judged[]): Promise<Judged[]> {
    try {
      await this.#run(session, batch, judged, "ROLLBACK");
      return [...judged];
    } catch (error) {
      if (failureOf(error) !== "data") throw portError(error, "read");
    }
    if (judged.length === 1) return judged.map(({ append }) => ({ append, digest: null, refusal: "bad_request" }));
    const half = Math.ceil(judged.length / 2);
    const good = await this.#refuseBad(session, batch, judged.slice(0, half));
    return [...good, ...(await this.#refuseBad(session, batch, judged.slice(half)))];
  }

  /** One transaction: in one round trip, or, when the batch has effects, in two. */
  async #run(
    session: Session,
    batch: AppendBatch,
    judged: readonly Judged[],
    end: "COMMIT" | "ROLLBACK",
  ): Promise<Row> {
    const hasEffects = judged.some(({ append, refusal }) => append.effect !== null && refusal === null);
    if (!hasEffects && end === "COMMIT") return first(await this.#appendBatch(session, batch, judged, noEffects));
    const planned = await this.#plan(session, batch, judged);
    const [appended, ended] = await Promise.allSettled([
      this.#appendBatch(session, batch, planned.judged, planned.effects),
      session.control(end),
    ]);
    if (appended.status === "rejected") throw appended.reason;
    if (ended.status === "rejected") throw ended.reason;
    if (ended.value !== end) throw new StoreUnavailable(`Postgres ended a transaction with ${ended.value}`);
    return first(appended.value);
  }

  /** Begins the transaction and locks its logs; if that fails, there is none. */
  async #plan(session: Session, batch: AppendBatch, judged: readonly Judged[]) {
    const [begun, told] = await Promise.allSettled([session.control("BEGIN"), beginBatch(session, batch, judged)]);
    try {
      if (begun.status === "rejected") throw begun.reason;
      if (told.status === "rejected") throw told.reason;
      const row = textOf(first(told.value)["begun"]);
      return planEffects(judged, batchBegunSchema.parse(JSON.parse(row)));
    } catch (error) {
      // Nothing was written yet, whatever became of the connection.
      if (failureOf(error) === "lost") throw portError(error, "read");
      await session.control("ROLLBACK");
      throw error;
    }
  }

  #appendBatch(
    session: Session,
    batch: AppendBatch,
    judged: readonly Judged[],
    { changed, emptied, members }: Effects,
  ): Promise<readonly Row[]> {
    const { logs, rows } = arrange(judged);
    return session.rows(statements.appendBatch, [
      batch.node,
      batch.n,
      this.#now(),
      batchKey(batch),
      session.cluster,
      newSeed(),
      writeRefused(judged),
      textArray(logs.map(({ log }) => log)),
      bigintArray(logs.map(({ rows: count }) => count)),
      intArray(rows.map(({ log }) => log)),
      intArray(rows.map(({ rank }) => rank)),
      textArray(rows.map(({ append: { id } }) => id)),
      textArray(rows.map(({ append: { type } }) => type)),
      textArray(rows.map(({ append: { actor } }) => actor)),
      bigintArray(rows.map(({ append: { at } }) => at)),
      bigintArray(rows.map(({ append: { v } }) => v)),
      textArray(rows.map(({ append: { clientId } }) => clientId)),
      textArray(rows.map(({ digest }) => digest)),
      textArray(rows.map(({ append: { type, data }, digest }) => (digest === null ? "" : bodyDigest(type, data)))),
      textArray(rows.map(({ append: { data } }) => data)),
      changed.map(({ log }) => log),
      changed.map(({ life }) => life),
      changed.map(({ seq }) => seq),
      changed.map(({ data }) => data),
      changed.map(({ editedBy }) => editedBy),
      emptied.map(({ log }) => log),
      emptied.map(({ life }) => life),
      emptied.map(({ seq }) => seq),
      members.map(({ log }) => log),
      members.map(({ userId }) => userId),
      members.map(({ role }) => role),
    ]);
  }
}

function judge(append: Append): Judged {
  if (!isStorable(append)) return { append, digest: null, refusal: "bad_request" };
  const { actor, clientId } = append;
  const digest = clientId === null ? null : hash("sha1", `${actor}\0${clientId}`, "base64url").slice(0, 22);
  return { append, digest, refusal: null };
}

function beginBatch(session: Session, batch: AppendBatch, judged: readonly Judged[]): Promise<readonly Row[]> {
  const kept = judged.filter(({ refusal }) => refusal === null);
  const targets = kept.flatMap(({ append: { log, effect } }) =>
    effect === null || effect.kind === "membership" ? [] : [{ log, target: effect.target }],
  );
  const keyed = kept.filter(({ digest }) => digest !== null);
  return session.rows(statements.beginBatch, [
    batch.node,
    namesOf(judged),
    newSeed(),
    targets.map(({ log }) => log),
    targets.map(({ target }) => target),
    keyed.map(({ append }) => append.log),
    keyed.map(({ digest }) => digest),
  ]);
}

/** The logs of a batch, without those of appends that no store can keep. */
function namesOf(judged: readonly Judged[]): string[] {
  return [...new Set(judged.flatMap(({ append, refusal }) => (refusal === "bad_request" ? [] : append.log)))];
}

/** Makes the lives of the logs that a batch creates. */
export function newSeed(): number {
  return randomInt(2 ** 48 - 1);
}

function first(rows: readonly Row[]): Row {
  const [row] = rows;
  if (row === undefined) throw new TypeError("a statement gave no row");
  return row;
}

function refusedWhole(error: unknown): StoreUnavailable {
  return new StoreUnavailable("Postgres refuses a batch whose parts it takes", { cause: error });
}

const statements = {
  beginBatch: { name: "begin_batch", text: "SELECT begin_batch($1, $2, $3, $4, $5, $6, $7) AS begun" },
  appendBatch: {
    name: "append_batch",
    text: `SELECT generation, batch_key, heads, refused, known FROM append_batch(${Array.from({ length: 31 }, (_, index) => `$${index + 1}`).join(", ")})`,
  },
} as const satisfies Record<string, Statement>;
