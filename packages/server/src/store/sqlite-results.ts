import { z } from "zod";
import type { Epoch } from "../core/log.ts";
import type { AppendBatch, AppendResult } from "./store.ts";

const refusalCodes = z.enum(["conflict", "not_found", "forbidden", "bad_request"]);

/** A new entry's `seq`; a repeat's `seq`, id, time and epoch; or the code of a refusal. */
const shortResult = z.union([z.int(), z.tuple([z.int(), z.string(), z.int(), z.string()]), refusalCodes]);
export type ShortResult = z.infer<typeof shortResult>;

/** As the journal keeps them, in the order of the batch. */
export const shortResults = z.array(shortResult);

/** The results of a batch without what its caller knows: to bring them to another thread takes a fifth of the time. */
export interface BatchResults {
  readonly results: readonly ShortResult[];
  /** Of the log of each append; empty where nothing was appended. */
  readonly epochs: readonly Epoch[];
}

export function appendResults(batch: AppendBatch, { results, epochs }: BatchResults): readonly AppendResult[] {
  return batch.appends.map(({ id, at }, index): AppendResult => {
    const result = results[index] ?? "bad_request";
    if (typeof result === "string") return { ok: false, code: result };
    if (typeof result === "number") return { ok: true, seq: result, id, at, epoch: epochs[index] ?? "", repeat: false };
    const [seq, firstId, firstAt, epoch] = result;
    return { ok: true, seq, id: firstId, at: firstAt, epoch, repeat: true };
  });
}
