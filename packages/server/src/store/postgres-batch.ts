import { z } from "zod";
import type { LogId, Millis, Seq } from "../core/log.ts";
import { bodyDigest } from "./client-ids.ts";
import type { Judged } from "./postgres-plan.ts";
import { epochOf } from "./postgres-session.ts";
import { type Row, textOf } from "./rows.ts";
import type { Append, AppendResult } from "./store.ts";

/** An append as the database gets it. */
export interface BatchRow {
  readonly append: Append;
  readonly digest: string | null;
  /** Its place in the batch, from 0. */
  readonly place: number;
  /** Its log: the place in `logs`, from 1. */
  readonly log: number;
  /** Which of its log's rows it is, from 1. */
  readonly rank: number;
}

export interface Arranged {
  /** Each log once, in the order of their bytes, with the number of its rows. */
  readonly logs: readonly { readonly log: LogId; readonly rows: number }[];
  /** Log by log, in the batch's order. */
  readonly rows: readonly BatchRow[];
  /** Appends under a client id of an earlier one, which alone becomes a row: their places, and the earlier one's. */
  readonly repeats: readonly (readonly [place: number, first: number])[];
}

/** The rows of the appends that are not refused. What depends on the batch alone is decided here. */
export function arrange(judged: readonly Judged[]): Arranged {
  const logs = new Map<LogId, { readonly places: number[]; readonly firsts: Map<string, number> }>();
  const repeats: (readonly [place: number, first: number])[] = [];
  for (const [place, { append, digest, refusal }] of judged.entries()) {
    if (refusal !== null) continue;
    let log = logs.get(append.log);
    if (log === undefined) logs.set(append.log, (log = { places: [], firsts: new Map() }));
    const first = digest === null ? undefined : log.firsts.get(digest);
    if (first !== undefined) {
      repeats.push([place, first]);
      continue;
    }
    if (digest !== null) log.firsts.set(digest, place);
    log.places.push(place);
  }
  const rows: BatchRow[] = [];
  const inOrder = [...logs].map(([log, { places }]) => ({ log, bytes: Buffer.from(log), places }));
  inOrder.sort((one, other) => Buffer.compare(one.bytes, other.bytes));
  for (const [index, { places }] of inOrder.entries()) {
    for (const [before, place] of places.entries()) {
      const one = judged[place];
      if (one === undefined) continue;
      rows.push({ append: one.append, digest: one.digest, place, log: index + 1, rank: before + 1 });
    }
  }
  return { logs: inOrder.map(({ log, places }) => ({ log, rows: places.length })), rows, repeats };
}

const refusedSchema = z.array(z.tuple([z.int(), z.enum(["conflict", "not_found", "forbidden", "bad_request"])]));
/** Of a row, from 1: `seq`, id, time, life and body of its first commit. */
const knownSchema = z.array(z.tuple([z.int(), z.int(), z.string(), z.int(), z.int(), z.string()]));

/** What a journal row keeps of its batch's refusals. */
export function writeRefused(judged: readonly Judged[]): string {
  return JSON.stringify(judged.flatMap(({ refusal }, place) => (refusal === null ? [] : [[place, refusal]])));
}

/**
 * The results of a batch, from its journal row alone: the refusals are those of when it was committed.
 * `heads`: those of the row.
 */
export function readResults(
  batch: readonly Judged[],
  heads: readonly { readonly log: LogId; readonly life: number; readonly head: Seq }[],
  generation: string,
  row: Row,
): readonly AppendResult[] {
  const refused = new Map(refusedSchema.parse(JSON.parse(textOf(row["refused"]))));
  const { rows, repeats } = arrange(
    batch.map(({ append, digest }, place) => ({ append, digest, refusal: refused.get(place) ?? null })),
  );
  const commits = commitsOf(rows, heads, generation, row);
  for (const [place, first] of repeats) {
    const commit = commits[first];
    if (commit !== undefined) commits[place] = { ...commit, isFirst: false };
  }
  return batch.map(({ append }, place): AppendResult => {
    const code = refused.get(place);
    const commit = commits[place];
    if (code !== undefined || commit === undefined) return { ok: false, code: code ?? "bad_request" };
    const { seq, id, at, epoch, isFirst } = commit;
    if (!isFirst && commit.body() !== bodyDigest(append.type, append.data)) return { ok: false, code: "conflict" };
    return { ok: true, seq, id, at, epoch, repeat: !isFirst };
  });
}

/** The commit under which an append is known; `isFirst`: it is its own. */
interface Commit {
  readonly seq: Seq;
  readonly id: string;
  readonly at: Millis;
  readonly epoch: string;
  readonly isFirst: boolean;
  body(): string;
}

/** By places in the batch. */
function commitsOf(
  rows: readonly BatchRow[],
  heads: Parameters<typeof readResults>[1],
  generation: string,
  row: Row,
): (Commit | undefined)[] {
  const commits: (Commit | undefined)[] = [];
  const known = new Map(
    knownSchema.parse(JSON.parse(textOf(row["known"]))).map(([nth, ...commit]) => [nth - 1, commit]),
  );
  const ends = new Map(heads.map(({ log, life, head }) => [log, { seq: head, epoch: epochOf(life, generation) }]));
  // From each log's new head down.
  for (let nth = rows.length - 1; nth >= 0; nth--) {
    const { append, place } = rows[nth] ?? {};
    if (append === undefined || place === undefined) continue;
    const first = known.get(nth);
    const end = ends.get(append.log);
    if (first !== undefined) {
      const [seq, id, at, life, body] = first;
      commits[place] = { seq, id, at, epoch: epochOf(life, generation), isFirst: false, body: () => body };
    } else if (end !== undefined) {
      const { id, at, type, data } = append;
      commits[place] = { seq: end.seq, id, at, epoch: end.epoch, isFirst: true, body: () => bodyDigest(type, data) };
      end.seq -= 1;
    }
  }
  return commits;
}
