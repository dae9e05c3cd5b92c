/**
 * The first schema. Every key of what belongs to a log begins with it (its number, or its tenant and room by name).
 *
 * - `log`: a deleted one has no name, and goes when its entries have been purged. Numbers are never used again.
 * - `entry`: every entry of a log, messages and others, which SQLite merges by `seq` from the two tables. An index of
 *   the messages among all entries would cost a second page for each append, half the speed when rooms are many. (The
 *   casts give the columns the same affinity on both sides, without which SQLite scans and sorts instead.)
 *   `data` is the present state; `edited_by` is the `seq` of the edit that a message's text comes from. Entries with
 *   `purged <= seq < floor` are no longer visible and wait to be deleted.
 * - `client_batch`, `client_id`, `client_segment`: see `client-ids.ts`.
 */
export const sql = `
CREATE TABLE store (
  name TEXT NOT NULL PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE log (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT UNIQUE,
  life TEXT NOT NULL,
  head INTEGER NOT NULL,
  floor INTEGER NOT NULL,
  purged INTEGER NOT NULL,
  retain_entries_max INTEGER NOT NULL
) STRICT;
CREATE INDEX log_garbage ON log (number) WHERE purged < floor;

CREATE TABLE message (
  log INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  id TEXT NOT NULL,
  actor TEXT NOT NULL,
  at INTEGER NOT NULL,
  v INTEGER NOT NULL,
  client_id TEXT,
  edited_by INTEGER,
  data TEXT NOT NULL,
  PRIMARY KEY (log, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE other_entry (
  log INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  id TEXT NOT NULL,
  type TEXT NOT NULL,
  actor TEXT NOT NULL,
  at INTEGER NOT NULL,
  v INTEGER NOT NULL,
  client_id TEXT,
  data TEXT NOT NULL,
  PRIMARY KEY (log, seq)
) STRICT, WITHOUT ROWID;
CREATE VIEW entry AS
  SELECT log, seq, id, CAST('message' AS TEXT) AS type, actor, at, v, client_id, edited_by, data FROM message
  UNION ALL
  SELECT log, seq, id, type, actor, at, v, client_id, CAST(NULL AS INTEGER) AS edited_by, data FROM other_entry;

CREATE TABLE journal (
  node TEXT NOT NULL,
  n INTEGER NOT NULL,
  at INTEGER NOT NULL,
  heads TEXT NOT NULL,
  batch_key TEXT NOT NULL,
  results TEXT NOT NULL,
  PRIMARY KEY (node, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX journal_at ON journal (at);

CREATE TABLE client_batch (
  number INTEGER PRIMARY KEY,
  rows TEXT NOT NULL
) STRICT;
CREATE TABLE client_id (
  segment INTEGER NOT NULL,
  first_key TEXT NOT NULL,
  rows TEXT NOT NULL,
  PRIMARY KEY (segment, first_key)
) STRICT, WITHOUT ROWID;
CREATE TABLE client_segment (
  number INTEGER PRIMARY KEY,
  newest_at INTEGER NOT NULL,
  filter BLOB NOT NULL
) STRICT;

CREATE TABLE room (
  tenant TEXT NOT NULL,
  room TEXT NOT NULL,
  access TEXT NOT NULL,
  retain_entries_max INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (tenant, room)
) STRICT, WITHOUT ROWID;

CREATE TABLE membership (
  tenant TEXT NOT NULL,
  room TEXT NOT NULL,
  user_id TEXT NOT NULL,
  role TEXT NOT NULL,
  PRIMARY KEY (tenant, room, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX membership_user ON membership (tenant, user_id, room);

CREATE TABLE inbox (
  log TEXT NOT NULL PRIMARY KEY,
  epoch TEXT NOT NULL,
  seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE revocation (
  tenant TEXT NOT NULL,
  user_id TEXT NOT NULL,
  issued_before INTEGER NOT NULL,
  banned INTEGER NOT NULL,
  PRIMARY KEY (tenant, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE session (
  pid TEXT NOT NULL PRIMARY KEY,
  id TEXT NOT NULL,
  tenant TEXT NOT NULL,
  user_id TEXT NOT NULL,
  owner TEXT NOT NULL,
  generation INTEGER NOT NULL,
  keep_ms INTEGER NOT NULL,
  ends_at INTEGER NOT NULL,
  cursors TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX session_end ON session (ends_at);

CREATE TABLE lease (
  node TEXT NOT NULL PRIMARY KEY,
  ends_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`;
