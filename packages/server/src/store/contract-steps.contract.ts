import { type Entry, type LogId, logId, type Seq } from "../core/log.ts";
import type { Append, AppendEffect, AppendResult, Store } from "./store.ts";

/** What the contract suite runs on: a fresh store, and how to have it restored from a backup of itself. */
export interface StoreHarness extends AsyncDisposable {
  readonly store: Store;
  /** Moves the store's clock: the time by which it dates its journal, and ends sessions and leases. */
  advance(ms: number): void | Promise<void>;
  /** The store as it was backed up now, restored elsewhere or in place. Called once. */
  restored(): Promise<Store>;
}

export const room = logId("default", "room-1");
export const startAt = 1_700_000_000_000;
export const bytesMax = 1_000_000;

let ids = 0;

/** A message, or what `change` makes of it. */
export function append(text: string, change: Partial<Append> = {}): Append {
  ids += 1;
  return {
    log: room,
    id: `id-${ids}`,
    type: "message",
    actor: "anna",
    at: startAt + ids,
    v: 1,
    data: JSON.stringify({ text }),
    clientId: null,
    effect: null,
    ...change,
  };
}

type Changing = Exclude<AppendEffect, { kind: "membership" }>;
const changeTypes = { edit: "edit", delete: "deletion", erase: "erasure" } as const;

/** An edit, deletion or erasure, as core appends it. */
export function changing(effect: Changing, change: Partial<Append> = {}): Append {
  const { target } = effect;
  const data = effect.kind === "edit" ? { target, text: effect.text } : { target };
  return append("", { type: changeTypes[effect.kind], data: JSON.stringify(data), effect, ...change });
}

export function editOf(target: Seq, text: string, change: Partial<Append> = {}): Append {
  return changing({ kind: "edit", target, text, byModerator: false }, change);
}

export function deletionOf(target: Seq, change: Partial<Append> = {}): Append {
  return changing({ kind: "delete", target, byModerator: false }, change);
}

export function erasureOf(target: Seq): Append {
  return changing({ kind: "erase", target });
}

export function membership(userId: string, role: "owner" | "member" | null, log: LogId = room): Append {
  const data = JSON.stringify({ userId, role });
  return append("", { log, type: "membership", data, effect: { kind: "membership", userId, role } });
}

/** A node that numbers its batches. */
export class Writer {
  readonly store: Store;
  readonly node: string;
  n = 0;

  constructor(store: Store, node = "node-1") {
    this.store = store;
    this.node = node;
  }

  append(...appends: readonly Append[]): Promise<readonly AppendResult[]> {
    this.n += 1;
    return this.store.append({ node: this.node, n: this.n, appends });
  }
}

/** The seqs of results; a refusal stands as its code. */
export function outcomes(results: readonly AppendResult[]): (Seq | string)[] {
  return results.map((result) => (result.ok ? result.seq : result.code));
}

export function epochsOf(results: readonly AppendResult[]): string[] {
  return results.flatMap((result) => (result.ok ? [result.epoch] : []));
}

/** All entries after a place, read in pages. */
export async function entriesAfter(store: Store, log: LogId, after: Seq, limit = 500): Promise<readonly Entry[]> {
  const entries: Entry[] = [];
  for (let cursor = after; ; ) {
    const page = await store.readAfter(log, cursor, limit, bytesMax);
    const last = page?.entries.at(-1);
    if (page === undefined || last === undefined) return entries;
    entries.push(...page.entries);
    cursor = last.seq;
  }
}

export function textsOf(entries: readonly Entry[]): string[] {
  return entries.map(({ data }) => String(JSON.parse(data)["text"]));
}

export function seqsOf(entries: readonly Entry[]): Seq[] {
  return entries.map(({ seq }) => seq);
}
