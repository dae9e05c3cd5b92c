import type { DatabaseSync, StatementSync } from "node:sqlite";
import { z } from "zod";
import { deletedMessage, editedMessage } from "../core/entry-data.ts";
import { type LogId, type Millis, roomOf, type Seq, tenantOf } from "../core/log.ts";
import { batchKey, isErasable, isStorable, isStorableData } from "./append-check.ts";
import { bodyDigest, type ClientIds, clientIdKey } from "./client-ids.ts";
import { integerOf, integerOrNull, readLogId, textOf } from "./rows.ts";
import type { Arrivals } from "./sqlite-arrivals.ts";
import type { LogRow, Logs } from "./sqlite-logs.ts";
import { type BatchResults, type ShortResult, shortResults } from "./sqlite-results.ts";
import type { Append, AppendBatch, AppendEffect, AppendResult, JournalHead } from "./store.ts";

type Refusal = Extract<AppendResult, { ok: false }>["code"];

const journalHeads = z.array(z.tuple([z.string(), z.string(), z.int()]));

/** Logs in a batch, and fewer than two appends for each, from which its messages are kept in the order of their arrival. */
export const arrivalLogsMin = 16;
const appendsPerLogMax = 2;
/** Larger messages take a good part of a page for themselves. */
const arrivalLengthMax = 1_024;

/** A log that a batch appends to. */
interface Grown {
  readonly row: LogRow;
  /** Its entries are written where they stay. */
  isDirect: boolean;
  entries: number;
}

/** The transaction of one append batch, all but its begin and end. */
export class Appends {
  readonly #logs: Logs;
  readonly #arrivals: Arrivals;
  readonly #logsMin: number;
  readonly #clientIds: ClientIds;
  readonly #statements: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync, logs: Logs, arrivals: Arrivals, clientIds: ClientIds, logsMin: number) {
    this.#logs = logs;
    this.#arrivals = arrivals;
    this.#logsMin = logsMin;
    this.#clientIds = clientIds;
    this.#statements = prepare(database);
  }

  /** Results of a batch that was committed before. Errors: throws when another batch has its number. */
  committed(batch: AppendBatch): BatchResults | undefined {
    const row = this.#statements.findBatch.get(batch.node, batch.n);
    if (row === undefined) return undefined;
    if (textOf(row["batch_key"]) !== batchKey(batch)) {
      throw new Error(`node ${batch.node} gives number ${batch.n} to a second batch`);
    }
    const epochs = new Map(readHeads(textOf(row["heads"])).map(({ log, epoch }) => [log, epoch]));
    const results = shortResults.parse(JSON.parse(textOf(row["results"])));
    return { results, epochs: batch.appends.map(({ log }) => epochs.get(log) ?? "") };
  }

  /** Appends a batch; within a transaction. `now`: the journal row's time. */
  append(batch: AppendBatch, now: Millis): BatchResults {
    const logs = new Map<LogId, Grown>();
    const isDirect = !this.#isSpread(batch);
    const results = batch.appends.map((append) => this.#appendTo(logs, append, isDirect));
    const heads: (readonly [LogId, string, Seq])[] = [];
    for (const [name, { row, isDirect: isWritten, entries }] of logs) {
      if (entries === 0) continue;
      if (isWritten) this.#logs.saveGrown(row, entries);
      heads.push([name, row.epoch, row.head]);
    }
    this.#arrivals.write();
    const { insertBatch } = this.#statements;
    insertBatch.run(batch.node, batch.n, now, JSON.stringify(heads), batchKey(batch), JSON.stringify(results));
    this.#clientIds.write();
    return { results, epochs: batch.appends.map(({ log }) => logs.get(log)?.row.epoch ?? "") };
  }

  #isSpread({ appends }: AppendBatch): boolean {
    if (appends.length < this.#logsMin) return false;
    const logs = new Set(appends.map(({ log }) => log)).size;
    return logs >= this.#logsMin && appends.length < logs * appendsPerLogMax;
  }

  #appendTo(logs: Map<LogId, Grown>, append: Append, isDirect: boolean): ShortResult {
    if (!isStorable(append)) return "bad_request";
    const grown = logs.get(append.log) ?? this.#grow(append.log, isDirect);
    logs.set(append.log, grown);
    if (!grown.isDirect && !mayWait(append)) {
      grown.isDirect = true;
      this.#arrivals.moveAll(grown.row.number);
    }
    const result = this.#appendOne(grown, append);
    if (typeof result === "number") grown.entries += 1;
    return result;
  }

  #grow(log: LogId, isDirect: boolean): Grown {
    const row = this.#logs.openKept(log);
    return { row, isDirect: row.retainEntriesMax > 0 || (isDirect && this.#arrivals.drain(row.number)), entries: 0 };
  }

  #appendOne({ row: log, isDirect }: Grown, append: Append): ShortResult {
    const { id, type, actor, at, v, data, clientId, effect } = append;
    const key = clientId === null ? null : clientIdKey(log.number, actor, clientId);
    const body = key === null ? "" : bodyDigest(type, data);
    const known = key === null ? undefined : this.#clientIds.find(key);
    if (known !== undefined) {
      return known.body === body ? [known.seq, known.id, known.at, log.epoch] : "conflict";
    }
    const seq = log.head + 1;
    const refusal = effect === null ? null : this.#apply(effect, log, append, seq);
    if (refusal !== null) return refusal;
    if (!isDirect) this.#arrivals.add([log.number, seq, id, actor, at, v, clientId, data]);
    else if (type === "message") this.#statements.insertMessage.run(log.number, seq, id, actor, at, v, clientId, data);
    else this.#statements.insertOther.run(log.number, seq, id, type, actor, at, v, clientId, data);
    if (key !== null) this.#clientIds.add(key, { seq, id, at, body });
    log.head = seq;
    return seq;
  }

  /** Does what the entry says, or gives why not; then nothing was changed. */
  #apply(effect: AppendEffect, log: LogRow, append: Append, seq: Seq): Refusal | null {
    if (effect.kind !== "membership") return this.#change(effect, log, append, seq);
    const tenant = tenantOf(append.log);
    const room = roomOf(append.log);
    if (effect.role === null) this.#statements.deleteMember.run(tenant, room, effect.userId);
    else this.#statements.putMember.run(tenant, room, effect.userId, effect.role);
    return null;
  }

  #change(
    effect: Exclude<AppendEffect, { kind: "membership" }>,
    log: LogRow,
    { actor, at }: Append,
    seq: Seq,
  ): Refusal | null {
    const { target } = effect;
    const row = target < log.floor ? undefined : this.#statements.target.get(log.number, target);
    if (row === undefined) return "not_found";
    const type = textOf(row["type"]);
    const editedBy = integerOrNull(row["edited_by"]);
    if (effect.kind === "erase") {
      if (!isErasable(type)) return "not_found";
      this.#empty(log, target);
    } else {
      if (type !== "message") return "not_found";
      const before = textOf(row["data"]);
      const data = effect.kind === "edit" ? editedMessage(before, effect.text, at) : deletedMessage(before, at);
      if (data === undefined) return "not_found";
      if (row["actor"] !== actor && !effect.byModerator) return "forbidden";
      if (!isStorableData(data)) return "bad_request";
      this.#statements.change.run(data, effect.kind === "edit" ? seq : null, log.number, target);
    }
    this.#arrivals.strip(log.number, target);
    // Why: the text of a superseded edit would outlive the deletion of its message.
    if (editedBy !== null) this.#empty(log, editedBy);
    return null;
  }

  #empty(log: LogRow, seq: Seq): void {
    const message = this.#statements.deleteMessage.get(log.number, seq);
    if (message === undefined) {
      this.#statements.empty.run(log.number, seq);
    } else {
      const { insertOther } = this.#statements;
      const { id, at, v } = message;
      insertOther.run(log.number, seq, textOf(id), "erased", "", integerOf(at), integerOf(v), null, "{}");
    }
  }
}

/** A message of which nothing is known but that it was sent. */
function mayWait({ type, effect, data }: Append): boolean {
  return type === "message" && effect === null && data.length <= arrivalLengthMax;
}

/** The heads of a journal row, from its column. */
export function readHeads(text: string): JournalHead[] {
  return journalHeads.parse(JSON.parse(text)).map(([log, epoch, head]) => ({ log: readLogId(log), epoch, head }));
}

function prepare(database: DatabaseSync) {
  const statement = (sql: string): StatementSync => database.prepare(sql);
  return {
    findBatch: statement("SELECT heads, batch_key, results FROM journal WHERE node = ? AND n = ?"),
    insertBatch: statement("INSERT INTO journal (node, n, at, heads, batch_key, results) VALUES (?, ?, ?, ?, ?, ?)"),
    insertMessage: statement(
      "INSERT INTO message (log, seq, id, actor, at, v, client_id, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    ),
    insertOther: statement(
      "INSERT INTO other_entry (log, seq, id, type, actor, at, v, client_id, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    ),
    target: statement("SELECT type, actor, data, edited_by FROM entry WHERE log = ? AND seq = ?"),
    change: statement("UPDATE message SET data = ?, edited_by = ? WHERE log = ? AND seq = ?"),
    deleteMessage: statement("DELETE FROM message WHERE log = ? AND seq = ? RETURNING id, at, v"),
    empty: statement(
      "UPDATE other_entry SET type = 'erased', actor = '', data = '{}', client_id = NULL WHERE log = ? AND seq = ?",
    ),
    putMember: statement(
      "INSERT INTO membership (tenant, room, user_id, role) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET role = excluded.role",
    ),
    deleteMember: statement("DELETE FROM membership WHERE tenant = ? AND room = ? AND user_id = ?"),
  };
}
