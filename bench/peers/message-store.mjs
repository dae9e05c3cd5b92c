// How the peers keep messages: one statement per message, each its own transaction.
import { DatabaseSync } from "node:sqlite";

/** `save` gives what is to be added to the message, at once or later; `recent` the newest 50 of a room, oldest first. */
export async function openMessages({ sqlite, postgres }) {
  if (sqlite !== undefined) return openSqlite(sqlite);
  if (postgres !== undefined) return openPostgres(postgres);
  return undefined;
}

/** On the event loop, with fsync; numbers the messages of each room, as Parley does. */
function openSqlite(file) {
  const database = new DatabaseSync(file);
  database.exec(`
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE entry (
      log_id TEXT NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL, actor TEXT NOT NULL,
      at INTEGER NOT NULL, v INTEGER NOT NULL, data TEXT NOT NULL, client_id TEXT, PRIMARY KEY (log_id, seq)
    ) WITHOUT ROWID`);
  const insert = database.prepare(`
    INSERT INTO entry (log_id, seq, id, type, actor, at, v, data, client_id)
    VALUES (:log, 1 + coalesce((SELECT max(seq) FROM entry WHERE log_id = :log), 0), :id, 'message', :actor, :at, 1, :data, :client)
    RETURNING seq`);
  return {
    save({ id, roomId, userId, text, createdAt, clientId }) {
      const data = JSON.stringify({ text });
      const at = Date.parse(createdAt);
      const row = insert.get({ log: `default/${roomId}`, id, actor: userId, at, data, client: clientId });
      return { seq: Number(row.seq) };
    },
  };
}

/** The tutorial's `saveMessage` and `getRecentMessages`. */
async function openPostgres(connectionString) {
  const { Pool } = await import("pg");
  const pool = new Pool({ connectionString, max: 10 });
  await pool.query(`
    CREATE TABLE IF NOT EXISTS messages (
      id uuid PRIMARY KEY, room_id text NOT NULL, user_id text NOT NULL, text text NOT NULL,
      client_id text, created_at timestamptz NOT NULL
    )`);
  await pool.query("CREATE INDEX IF NOT EXISTS messages_by_room ON messages (room_id, created_at)");
  return {
    async save({ id, roomId, userId, text, createdAt, clientId }) {
      await pool.query({
        name: "save",
        text: "INSERT INTO messages (id, room_id, user_id, text, client_id, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
        values: [id, roomId, userId, text, clientId, createdAt],
      });
      return {};
    },
    async recent(roomId) {
      const { rows } = await pool.query({
        name: "recent",
        text: `SELECT id, room_id AS "roomId", user_id AS "userId", text, created_at AS "createdAt"
          FROM messages WHERE room_id = $1 ORDER BY created_at DESC LIMIT 50`,
        values: [roomId],
      });
      return rows.toReversed();
    },
  };
}
