import { DatabaseError } from "pg";
import { OutcomeUnknown, StoreUnavailable } from "./store.ts";

/**
 * What became of a statement that failed. `data`: rolled back, because of what it was given. `again`: rolled back, and
 * the same may succeed at once. `away`: rolled back. `lost`: nobody knows. `bug`: rolled back, and no time will mend it.
 */
export type Failure = "data" | "again" | "away" | "lost" | "bug";

// https://www.postgresql.org/docs/current/errcodes-appendix.html: the classes of data, of constraints, of program limits (as of
// an index row that would be too long); deadlocks and lost races; the ends of connections, and internal errors, after
// which we assume nothing; and statements that do not fit the schema.
const failures: readonly (readonly [pattern: RegExp, failure: Failure])[] = [
  [/^(22|23|54)/, "data"],
  [/^(40001|40P01|55P03)$/, "again"],
  [/^(08|57P|XX|25P03|25P04)/, "lost"],
  [/^(42|3F)/, "bug"],
];

export function failureOf(error: unknown): Failure {
  const code = sqlStateOf(error);
  if (code === undefined) return error instanceof TypeError || error instanceof RangeError ? "bug" : "lost";
  return failures.find(([pattern]) => pattern.test(code))?.[1] ?? "away";
}

/** The five characters of an error that the server sent; undefined for one of the connection. */
export function sqlStateOf(error: unknown): string | undefined {
  return error instanceof DatabaseError ? error.code : undefined;
}

/** The error of the port for a failed call. A lost read changed nothing; of a lost write nobody knows. */
export function portError(error: unknown, kind: "read" | "write"): unknown {
  if (error instanceof StoreUnavailable || error instanceof OutcomeUnknown) return error;
  const reason = reasonOf(error);
  switch (failureOf(error)) {
    case "data":
    case "bug":
      return error;
    case "again":
    case "away":
      return new StoreUnavailable(`Postgres: ${reason}`, { cause: error });
    case "lost":
      return kind === "read"
        ? new StoreUnavailable(`the connection to Postgres was lost: ${reason}`, { cause: error })
        : new OutcomeUnknown(`the connection to Postgres was lost during a write: ${reason}`, { cause: error });
  }
}

export function reasonOf(error: unknown): string {
  // A refused connection to each of several addresses has its reasons inside.
  if (error instanceof AggregateError) return error.errors.map(reasonOf).join(", ");
  return error instanceof Error ? error.message : String(error);
}
