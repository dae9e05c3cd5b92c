import { deletedMessage, editedMessage } from "../../packages/server/src/core/entry-data.ts";
import type { Entry, Epoch, LogState, Millis, Seq } from "../../packages/server/src/core/log.ts";
import { isErasable, isStorableData } from "../../packages/server/src/store/append-check.ts";
import type {
  Append,
  AppendResult,
  EntryPage,
  MessagePage,
  MessageRange,
} from "../../packages/server/src/store/store.ts";

interface KnownClientId {
  readonly body: string;
  readonly seq: Seq;
  readonly id: string;
  readonly at: Millis;
}

/** An entry, and the `seq` of the edit that its text comes from. */
interface Row extends Entry {
  readonly editedBy?: Seq;
}

type Refusal = Extract<AppendResult, { ok: false }>["code"];

/** One log of the memory store: what the contract says, in the plainest way. */
export class MemoryLog {
  readonly life: string;
  retainEntriesMax = 0;
  #head = 0;
  #floor = 1;
  #rows = new Map<Seq, Row>();
  #clientIds = new Map<string, KnownClientId>();

  constructor(life: string) {
    this.life = life;
  }

  /** The same log as it is now, for a copy of the store. */
  copy(): MemoryLog {
    const copy = new MemoryLog(this.life);
    copy.retainEntriesMax = this.retainEntriesMax;
    copy.#head = this.#head;
    copy.#floor = this.#floor;
    copy.#rows = new Map(this.#rows);
    copy.#clientIds = new Map(this.#clientIds);
    return copy;
  }

  state(generation: string): LogState {
    return { epoch: `${this.life}.${generation}`, head: this.#head, floor: this.#floor };
  }

  append(append: Append, epoch: Epoch): AppendResult {
    const { log: _log, effect: _effect, ...fields } = append;
    const key = append.clientId === null ? null : JSON.stringify([append.actor, append.clientId]);
    const body = JSON.stringify([append.type, append.data]);
    const known = key === null ? undefined : this.#clientIds.get(key);
    if (known !== undefined) {
      if (known.body !== body) return { ok: false, code: "conflict" };
      return { ok: true, seq: known.seq, id: known.id, at: known.at, epoch, repeat: true };
    }
    const seq = this.#head + 1;
    const refusal = this.#change(append, seq);
    if (refusal !== null) return { ok: false, code: refusal };
    this.#head = seq;
    this.#rows.set(seq, { ...fields, seq });
    if (key !== null) this.#clientIds.set(key, { body, seq, id: append.id, at: append.at });
    return { ok: true, seq, id: append.id, at: append.at, epoch, repeat: false };
  }

  #change(append: Append, seq: Seq): Refusal | null {
    const { effect, actor, at } = append;
    if (effect === null || effect.kind === "membership") return null;
    const row = this.#rows.get(effect.target);
    if (row === undefined) return "not_found";
    if (effect.kind === "erase") {
      if (!isErasable(row.type)) return "not_found";
      this.#empty(row.editedBy);
      this.#empty(row.seq);
      return null;
    }
    if (row.type !== "message") return "not_found";
    const data = effect.kind === "edit" ? editedMessage(row.data, effect.text, at) : deletedMessage(row.data, at);
    if (data === undefined) return "not_found";
    if (row.actor !== actor && !effect.byModerator) return "forbidden";
    if (!isStorableData(data)) return "bad_request";
    this.#empty(row.editedBy);
    const { editedBy: _editedBy, ...plain } = row;
    this.#rows.set(row.seq, effect.kind === "edit" ? { ...plain, data, editedBy: seq } : { ...plain, data });
    return null;
  }

  #empty(seq: Seq | undefined): void {
    const row = seq === undefined ? undefined : this.#rows.get(seq);
    if (row === undefined) return;
    const { editedBy: _editedBy, ...plain } = row;
    this.#rows.set(row.seq, { ...plain, type: "erased", actor: "", data: "{}", clientId: null });
  }

  /** Raises the floor as far as the room's retention asks. */
  retain(): void {
    if (this.retainEntriesMax > 0) this.trim(this.#head + 1 - this.retainEntriesMax);
  }

  trim(floor: Seq): void {
    const until = Math.min(floor, this.#head + 1);
    while (this.#floor < until) this.#rows.delete(this.#floor++);
  }

  forgetClientIds(before: Millis): void {
    for (const [key, { at }] of this.#clientIds) if (at < before) this.#clientIds.delete(key);
  }

  readAfter(after: Seq, limit: number, bytesMax: number, generation: string): EntryPage {
    const entries: Entry[] = [];
    let bytes = 0;
    for (let seq = Math.max(after + 1, this.#floor); seq <= this.#head && entries.length < limit; seq++) {
      const entry = this.#entry(seq);
      if (entry === undefined) continue;
      bytes += entry.data.length;
      if (entries.length > 0 && bytes > bytesMax) break;
      entries.push(entry);
    }
    return { ...this.state(generation), entries };
  }

  readMessages({ before, after, limit, bytesMax }: MessageRange, generation: string): MessagePage {
    const forward = after !== undefined;
    const from = forward ? Math.max(after + 1, this.#floor) : Math.min(before ?? Infinity, this.#head + 1) - 1;
    const step = forward ? 1 : -1;
    const messages: Entry[] = [];
    let bytes = 0;
    let more = false;
    for (let seq = from; seq >= this.#floor && seq <= this.#head && !more; seq += step) {
      const entry = this.#entry(seq);
      if (entry?.type !== "message") continue;
      bytes += entry.data.length;
      more = messages.length === limit || (messages.length > 0 && bytes > bytesMax);
      if (!more) messages.push(entry);
    }
    if (!forward) messages.reverse();
    return { ...this.state(generation), messages, more };
  }

  #entry(seq: Seq): Entry | undefined {
    const row = this.#rows.get(seq);
    if (row === undefined) return undefined;
    const { editedBy: _editedBy, ...entry } = row;
    return entry;
  }
}
