import type { DatabaseSync, StatementSync } from "node:sqlite";
import { z } from "zod";
import { deletedMessage, editedMessage } from "../core/entry-data.ts";
import { type LogId, type Millis, roomOf, type Seq, tenantOf } from "../core/log.ts";
import { batchKey, isErasable, isStorable, isStorableData } from "./append-check.ts";
import { bodyDigest, type ClientIds, clientIdKey } from "./client-ids.ts";
import { integerOf, integerOrNull, readLogId, textOf } from "./rows.ts";
import type { LogRow, Logs } from "./sqlite-logs.ts";
import type { Append, AppendBatch, AppendEffect, AppendResult, JournalHead } from "./store.ts";

type Refusal = Extract<AppendResult, { ok: false }>["code"];

const journalHeads = z.array(z.tuple([z.string(), z.string(), z.int()]));
const refusalCodes = z.enum(["conflict", "not_found", "forbidden", "bad_request"]);
/** A new entry's `seq`; a repeat's `seq`, id, time and epoch; or the code of a refusal. */
const journalResults = z.array(z.union([z.int(), z.tuple([z.int(), z.string(), z.int(), z.string()]), refusalCodes]));

/** The transaction of one append batch, all but its begin and end. */
export class Appends {
  readonly #logs: Logs;
  readonly #clientIds: ClientIds;
  readonly #statements: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync, logs: Logs, clientIds: ClientIds) {
    this.#logs = logs;
    this.#clientIds = clientIds;
    this.#statements = prepare(database);
  }

  /** Results of a batch that was committed before. Errors: throws when another batch has its number. */
  committed(batch: AppendBatch): readonly AppendResult[] | undefined {
    const row = this.#statements.findBatch.get(batch.node, batch.n);
    if (row === undefined) return undefined;
    if (textOf(row["batch_key"]) !== batchKey(batch)) {
      throw new Error(`node ${batch.node} gives number ${batch.n} to a second batch`);
    }
    const epochs = new Map(readHeads(textOf(row["heads"])).map(({ log, epoch }) => [log, epoch]));
    const results = journalResults.parse(JSON.parse(textOf(row["results"])));
    return batch.appends.map(({ log, id, at }, index): AppendResult => {
      const result = results[index] ?? "bad_request";
      if (typeof result === "string") return { ok: false, code: result };
      if (typeof result === "number") {
        return { ok: true, seq: result, id, at, epoch: epochs.get(log) ?? "", repeat: false };
      }
      const [seq, firstId, firstAt, epoch] = result;
      return { ok: true, seq, id: firstId, at: firstAt, epoch, repeat: true };
    });
  }

  /** Appends a batch; within a transaction. `now`: the journal row's time. */
  append(batch: AppendBatch, now: Millis): readonly AppendResult[] {
    const logs = new Map<LogId, LogRow>();
    const grown = new Map<LogId, number>();
    const results = batch.appends.map((append): AppendResult => {
      if (!isStorable(append)) return { ok: false, code: "bad_request" };
      const log = logs.get(append.log) ?? this.#logs.open(append.log);
      logs.set(append.log, log);
      const result = this.#appendOne(log, append);
      if (result.ok && !result.repeat) grown.set(append.log, (grown.get(append.log) ?? 0) + 1);
      return result;
    });
    const heads: (readonly [LogId, string, Seq])[] = [];
    for (const [name, entries] of grown) {
      const log = logs.get(name);
      if (log === undefined) continue;
      this.#logs.retain(log);
      // Why twice: a log whose retention was lowered comes down to it, a little with each append.
      this.#logs.purge(log, 2 * entries);
      this.#logs.save(log);
      heads.push([name, log.epoch, log.head]);
    }
    const { insertBatch } = this.#statements;
    const outcome = JSON.stringify(results.map(journalResult));
    insertBatch.run(batch.node, batch.n, now, JSON.stringify(heads), batchKey(batch), outcome);
    this.#clientIds.write();
    return results;
  }

  #appendOne(log: LogRow, append: Append): AppendResult {
    const { id, type, actor, at, v, data, clientId, effect } = append;
    const key = clientId === null ? null : clientIdKey(log.number, actor, clientId);
    const body = key === null ? "" : bodyDigest(type, data);
    const known = key === null ? undefined : this.#clientIds.find(key);
    if (known !== undefined) {
      if (known.body !== body) return { ok: false, code: "conflict" };
      return { ok: true, seq: known.seq, id: known.id, at: known.at, epoch: log.epoch, repeat: true };
    }
    const seq = log.head + 1;
    const refusal = effect === null ? null : this.#apply(effect, log, append, seq);
    if (refusal !== null) return { ok: false, code: refusal };
    if (type === "message") this.#statements.insertMessage.run(log.number, seq, id, actor, at, v, clientId, data);
    else this.#statements.insertOther.run(log.number, seq, id, type, actor, at, v, clientId, data);
    if (key !== null) this.#clientIds.add(key, { seq, id, at, body });
    log.head = seq;
    return { ok: true, seq, id, at, epoch: log.epoch, repeat: false };
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

/** The heads of a journal row, from its column. */
export function readHeads(text: string): JournalHead[] {
  return journalHeads.parse(JSON.parse(text)).map(([log, epoch, head]) => ({ log: readLogId(log), epoch, head }));
}

function journalResult(result: AppendResult): z.infer<typeof journalResults>[number] {
  if (!result.ok) return result.code;
  return result.repeat ? [result.seq, result.id, result.at, result.epoch] : result.seq;
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
