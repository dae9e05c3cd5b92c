import { z } from "zod";
import { deletedMessage, editedMessage } from "../core/entry-data.ts";
import type { LogId, Seq } from "../core/log.ts";
import { isErasable, isStorableData } from "./append-check.ts";
import { readLogId } from "./rows.ts";
import type { Append, AppendEffect, AppendResult } from "./store.ts";

export type Refusal = Extract<AppendResult, { ok: false }>["code"];

/** An append, with the digest of its actor and client id, and why it is refused, as far as that is known. */
export interface Judged {
  readonly append: Append;
  readonly digest: string | null;
  readonly refusal: Refusal | null;
}

/** What a batch does besides its inserts; each place, and each member, at most once. */
export interface Effects {
  readonly changed: readonly { log: LogId; life: number; seq: Seq; data: string; editedBy: Seq | null }[];
  readonly emptied: readonly { log: LogId; life: number; seq: Seq }[];
  readonly members: readonly { log: LogId; userId: string; role: string | null }[];
}

export const noEffects: Effects = { changed: [], emptied: [], members: [] };

/** What the database's `begin_batch` tells of locked logs. */
export const batchBegunSchema = z.object({
  /** log, life, head, floor */
  logs: z.array(z.tuple([z.string(), z.int(), z.int(), z.int()])),
  /** log, seq, type, actor, data, edited by */
  targets: z.array(z.tuple([z.string(), z.int(), z.string(), z.string(), z.string(), z.int().nullable()])),
  /** log, digest */
  known: z.array(z.tuple([z.string(), z.string()])),
});
export type BatchBegun = z.infer<typeof batchBegunSchema>;

type Changing = Exclude<AppendEffect, { kind: "membership" }>;

interface Target {
  readonly type: string;
  readonly actor: string;
  readonly data: string;
  readonly editedBy: Seq | null;
}

interface PlannedLog {
  readonly life: number;
  head: Seq;
  readonly floor: Seq;
  readonly known: Set<string>;
  readonly targets: Map<Seq, Target>;
  readonly changed: Map<Seq, { data: string; editedBy: Seq | null }>;
  readonly emptied: Set<Seq>;
}

/**
 * Decides what a batch with effects does, on logs that stay locked until it is done: which appends are refused, and what
 * the others change. The places that it counts on are those that the database then gives.
 */
export function planEffects(
  batch: readonly Judged[],
  begun: BatchBegun,
): { readonly judged: readonly Judged[]; readonly effects: Effects } {
  const logs = plannedLogs(begun);
  const members = new Map<string, Effects["members"][number]>();
  const judged = batch.map((one): Judged => {
    const { append, digest, refusal } = one;
    const log = logs.get(append.log);
    if (refusal !== null || log === undefined || (digest !== null && log.known.has(digest))) return one;
    const seq = log.head + 1;
    const code = applyEffect(log, append, seq, members);
    if (code !== null) return { append, digest, refusal: code };
    log.head = seq;
    log.targets.set(seq, { type: append.type, actor: append.actor, data: append.data, editedBy: null });
    if (digest !== null) log.known.add(digest);
    return one;
  });
  return { judged, effects: { ...changesOf(logs), members: [...members.values()] } };
}

function plannedLogs({ logs, targets, known }: BatchBegun): Map<string, PlannedLog> {
  const planned = new Map<string, PlannedLog>();
  for (const [name, life, head, floor] of logs) {
    planned.set(name, {
      life,
      head,
      floor,
      known: new Set(),
      targets: new Map(),
      changed: new Map(),
      emptied: new Set(),
    });
  }
  for (const [name, digest] of known) planned.get(name)?.known.add(digest);
  for (const [name, seq, type, actor, data, editedBy] of targets) {
    planned.get(name)?.targets.set(seq, { type, actor, data, editedBy });
  }
  return planned;
}

function applyEffect(
  log: PlannedLog,
  append: Append,
  seq: Seq,
  members: Map<string, Effects["members"][number]>,
): Refusal | null {
  const { effect } = append;
  if (effect === null) return null;
  if (effect.kind !== "membership") return change(log, append, effect, seq);
  const { userId, role } = effect;
  members.set(JSON.stringify([append.log, userId]), { log: append.log, userId, role });
  return null;
}

function change(log: PlannedLog, { actor, at }: Append, effect: Changing, seq: Seq): Refusal | null {
  const target = effect.target < log.floor ? undefined : log.targets.get(effect.target);
  if (target === undefined) return "not_found";
  if (effect.kind === "erase") {
    if (!isErasable(target.type)) return "not_found";
    empty(log, effect.target);
  } else {
    if (target.type !== "message") return "not_found";
    const data = effect.kind === "edit" ? editedMessage(target.data, effect.text, at) : deletedMessage(target.data, at);
    if (data === undefined) return "not_found";
    if (target.actor !== actor && !effect.byModerator) return "forbidden";
    if (!isStorableData(data)) return "bad_request";
    const editedBy = effect.kind === "edit" ? seq : null;
    log.targets.set(effect.target, { ...target, data, editedBy });
    log.changed.set(effect.target, { data, editedBy });
  }
  // Why: the text of a superseded edit would outlive the deletion of its message.
  if (target.editedBy !== null) empty(log, target.editedBy);
  return null;
}

function empty(log: PlannedLog, seq: Seq): void {
  log.targets.set(seq, { type: "erased", actor: "", data: "{}", editedBy: null });
  log.changed.delete(seq);
  log.emptied.add(seq);
}

function changesOf(logs: ReadonlyMap<string, PlannedLog>): Pick<Effects, "changed" | "emptied"> {
  return {
    changed: [...logs].flatMap(([name, { life, changed }]) =>
      [...changed].map(([seq, { data, editedBy }]) => ({ log: readLogId(name), life, seq, data, editedBy })),
    ),
    emptied: [...logs].flatMap(([name, { life, emptied }]) =>
      [...emptied].map((seq) => ({ log: readLogId(name), life, seq })),
    ),
  };
}
