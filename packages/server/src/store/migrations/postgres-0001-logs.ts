/**
 * The first schema. Every key of what belongs to a log begins with the log's id, so that tables can be partitioned or
 * distributed by it. Names are compared by their bytes (`COLLATE "C"`), as SQLite does.
 *
 * - `log`: `life` is the random part of its epoch. A log that was deleted and made again has another life, and the
 *   rows of the former one wait in `garbage` to be deleted. Half of each page is left free, so that a head moves without
 *   touching an index.
 * - `entry`: every entry of a log, messages and others, which Postgres merges by `seq` from the two tables. One table
 *   with an index of its messages would cost each append a second index. `data` is the present state; `edited_by` is
 *   the `seq` of the edit that a message's text comes from.
 * - `garbage`: entries of this life below `until` are not visible any more, and are to be deleted.
 * - `client_key`: `digest` stands for an actor and a client id, `body` for the type and data of their first commit. Each is
 *   there once because it is looked for while its log's head is locked. Why by a hash index: a unique B-tree of such
 *   keys, in random places, took more than half of the work of an append.
 * - `journal`: `heads` is a list of `[log, life, head]`, of which follow the places of all new entries; `refused` of
 *   `[place in the batch, code]`; `known` of `[place among the rows of the batch, seq, id, at, life, body]`, of the first
 *   commits of those that are repeats.
 */
const tables = `
CREATE TABLE store (
  name text COLLATE "C" PRIMARY KEY,
  value text NOT NULL
);

CREATE TABLE log (
  name text COLLATE "C" PRIMARY KEY,
  life bigint NOT NULL,
  head bigint NOT NULL,
  floor bigint NOT NULL,
  retain_entries_max bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE message (
  log text COLLATE "C" NOT NULL,
  life bigint NOT NULL,
  seq bigint NOT NULL,
  at bigint NOT NULL,
  v bigint NOT NULL,
  edited_by bigint,
  id text NOT NULL,
  actor text NOT NULL,
  client_id text,
  data text NOT NULL,
  PRIMARY KEY (log, life, seq)
);
CREATE TABLE other_entry (
  log text COLLATE "C" NOT NULL,
  life bigint NOT NULL,
  seq bigint NOT NULL,
  at bigint NOT NULL,
  v bigint NOT NULL,
  id text NOT NULL,
  type text NOT NULL,
  actor text NOT NULL,
  client_id text,
  data text NOT NULL,
  PRIMARY KEY (log, life, seq)
);
CREATE VIEW entry AS
  SELECT log, life, seq, id, 'message'::text AS type, actor, at, v, client_id, edited_by, data FROM message
  UNION ALL
  SELECT log, life, seq, id, type, actor, at, v, client_id, NULL::bigint, data FROM other_entry;

CREATE TABLE garbage (
  log text COLLATE "C" NOT NULL,
  life bigint NOT NULL,
  until bigint NOT NULL,
  PRIMARY KEY (log, life)
);

CREATE TABLE client_key (
  log text COLLATE "C" NOT NULL,
  life bigint NOT NULL,
  digest text COLLATE "C" NOT NULL,
  seq bigint NOT NULL,
  at bigint NOT NULL,
  id text NOT NULL,
  body text NOT NULL
);
CREATE INDEX client_key_known ON client_key USING hash ((log || digest));
CREATE INDEX client_key_at ON client_key (at);

CREATE TABLE journal (
  node text COLLATE "C" NOT NULL,
  n bigint NOT NULL,
  at bigint NOT NULL,
  generation text NOT NULL,
  batch_key text NOT NULL,
  heads text NOT NULL,
  refused text NOT NULL,
  known text NOT NULL,
  PRIMARY KEY (node, n)
);
CREATE INDEX journal_at ON journal (at);

CREATE TABLE room (
  log text COLLATE "C" PRIMARY KEY,
  access text NOT NULL,
  retain_entries_max bigint NOT NULL,
  created_at bigint NOT NULL
);

CREATE TABLE membership (
  log text COLLATE "C" NOT NULL,
  user_id text COLLATE "C" NOT NULL,
  role text NOT NULL,
  PRIMARY KEY (log, user_id)
);
CREATE INDEX membership_user ON membership (user_id, log);

CREATE TABLE inbox (
  log text COLLATE "C" PRIMARY KEY,
  epoch text NOT NULL,
  seq bigint NOT NULL
);

CREATE TABLE revocation (
  tenant text COLLATE "C" NOT NULL,
  user_id text COLLATE "C" NOT NULL,
  issued_before bigint NOT NULL,
  banned boolean NOT NULL,
  PRIMARY KEY (tenant, user_id)
);

CREATE TABLE session (
  pid text COLLATE "C" PRIMARY KEY,
  id text NOT NULL,
  tenant text NOT NULL,
  user_id text NOT NULL,
  owner text NOT NULL,
  generation bigint NOT NULL,
  keep_ms bigint NOT NULL,
  ends_at bigint NOT NULL,
  cursors text NOT NULL
);
CREATE INDEX session_ends_at ON session (ends_at);

CREATE TABLE lease (
  node text COLLATE "C" PRIMARY KEY,
  ends_at bigint NOT NULL
);
`;

/**
 * Functions, so that a batch is one round trip and yet several statements: each has its own snapshot under READ
 * COMMITTED. Why that matters: a statement that locks and dedupes in one uses a snapshot older than its locks, and does
 * not see what the transaction committed for which it waited.
 * Nodes of this version go on calling them while newer ones run: one that must change gets another name.
 */
const functions = `
CREATE FUNCTION now_ms() RETURNS bigint LANGUAGE sql STABLE AS
  $$ SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;

-- A batch whose answer was lost may still run; its repeat waits here until that is decided.
CREATE FUNCTION lock_node(p_node text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('parley node ' || current_schema() || ' ' || p_node, 0));
END $$;

-- Locks, and creates, the heads of a batch in the order of their ids; all that lock several heads do so in this order.
CREATE FUNCTION lock_batch(p_node text, p_names text[], p_seed bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM lock_node(p_node);
  INSERT INTO log (name, life, head, floor, retain_entries_max)
    SELECT name, hashtextextended(name, p_seed) & 9007199254740991, 0, 1, 0
    FROM (SELECT DISTINCT name COLLATE "C" AS name FROM unnest(p_names) AS names (name)) AS distinct_names
    ORDER BY name
  -- Locks a row that is there already, and does not write it.
  ON CONFLICT (name) DO UPDATE SET head = log.head WHERE false;
END $$;

-- What core's rules for changes need to know: heads, targets, and which client ids are known. Leaves all locked.
CREATE FUNCTION begin_batch(
  p_node text, p_names text[], p_seed bigint,
  p_target_logs text[], p_targets bigint[], p_digest_logs text[], p_digests text[]
) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM lock_batch(p_node, p_names, p_seed);
  RETURN (SELECT json_build_object(
    'logs', (
      SELECT coalesce(json_agg(json_build_array(l.name, l.life, l.head, l.floor)), '[]')
      FROM unnest(p_names) AS given (name) JOIN log l ON l.name = given.name),
    'targets', (
      SELECT coalesce(json_agg(json_build_array(e.log, e.seq, e.type, e.actor, e.data, e.edited_by)), '[]')
      FROM unnest(p_target_logs, p_targets) AS given (log, seq)
      JOIN log l ON l.name = given.log
      CROSS JOIN LATERAL (SELECT * FROM entry WHERE log = l.name AND life = l.life AND seq = given.seq LIMIT 1) e),
    'known', (
      SELECT coalesce(json_agg(json_build_array(k.log, k.digest)), '[]')
      FROM unnest(p_digest_logs, p_digests) AS given (log, digest)
      JOIN log l ON l.name = given.log
      CROSS JOIN LATERAL (
        SELECT * FROM client_key
        WHERE log || digest = l.name || given.digest AND log = l.name AND life = l.life LIMIT 1) k)
  ));
END $$;

-- Appends a batch and gives its journal row; or the row of the same batch, if it was committed before. A row of the
-- batch names its log by its place in p_names, which are in order and each there once, and p_rank counts the rows of a
-- log: 1, 2, 3, …; no two rows have the same log and digest.
-- Why rows are placed by arithmetic alone, and heads are locked and moved in one: sorts, windows and a second version of
-- each head were more than half of the work.
CREATE FUNCTION append_batch(
  p_node text, p_n bigint, p_written_at bigint, p_batch_key text, p_cluster text, p_seed bigint, p_refused text,
  p_names text[], p_counts bigint[],
  p_log int[], p_rank int[], p_id text[], p_type text[], p_actor text[], p_at bigint[], p_v bigint[],
  p_client_id text[], p_digest text[], p_body text[], p_data text[],
  p_changed_log text[], p_changed_life bigint[], p_changed_seq bigint[], p_changed_data text[], p_changed_by bigint[],
  p_emptied_log text[], p_emptied_life bigint[], p_emptied_seq bigint[],
  p_member_log text[], p_member_user text[], p_member_role text[]
) RETURNS SETOF journal LANGUAGE plpgsql AS $$
DECLARE
  names text[]; lives bigint[]; ends bigint[]; starts bigint[]; retained bigint;
  places int[] := p_rank;
  known_rows text; known_places bigint[];
  cut_log text[]; cut_life bigint[]; cut_from bigint[]; cut_until bigint[];
BEGIN
  PERFORM lock_node(p_node);
  RETURN QUERY SELECT * FROM journal WHERE node = p_node AND n = p_n;
  IF FOUND THEN RETURN; END IF;

  WITH advanced AS (
    INSERT INTO log (name, life, head, floor, retain_entries_max)
    SELECT name, hashtextextended(name, p_seed) & 9007199254740991, grown, 1, 0
    FROM unnest(p_names, p_counts) AS given (name, grown)
    ORDER BY name COLLATE "C"
    ON CONFLICT (name) DO UPDATE SET head = log.head + excluded.head
    RETURNING log.name, log.life, log.head, log.retain_entries_max
  )
  SELECT coalesce(array_agg(name ORDER BY name), '{}'), array_agg(life ORDER BY name), array_agg(head ORDER BY name),
    max(retain_entries_max)
  INTO names, lives, ends, retained FROM advanced;
  IF names IS DISTINCT FROM p_names THEN
    RAISE 'the logs of a batch are not in order' USING ERRCODE = 'syntax_error_or_access_rule_violation';
  END IF;

  -- Why lateral, with a limit: a plan made while the table is small must look all three columns up nevertheless.
  SELECT json_agg(json_build_array(place, k.seq, k.id, k.at, k.life, k.body) ORDER BY place)::text, array_agg(place)
  INTO known_rows, known_places
  FROM unnest(p_log, p_digest) WITH ORDINALITY AS given (log, digest, place)
  CROSS JOIN LATERAL (
    SELECT * FROM client_key
    WHERE log || digest = names[given.log] || given.digest AND log = names[given.log] AND life = lives[given.log] LIMIT 1
  ) AS k;
  IF known_places IS NOT NULL THEN
    SELECT array_agg(CASE WHEN fresh THEN nth::int END ORDER BY place) INTO places FROM (
      SELECT place, fresh, count(*) FILTER (WHERE fresh) OVER (PARTITION BY log ORDER BY place) AS nth
      FROM (
        SELECT log, place, place <> ALL (known_places) AS fresh FROM unnest(p_log) WITH ORDINALITY AS given (log, place)
      ) AS told
    ) AS counted;
    UPDATE log SET head = log.head - repeated.times
    FROM (
      SELECT names[p_log[place]] AS name, count(*) AS times FROM unnest(known_places) AS known (place) GROUP BY 1
    ) AS repeated
    WHERE log.name = repeated.name;
    SELECT array_agg(l.head ORDER BY l.name) INTO ends FROM unnest(names) AS given (name) JOIN log l ON l.name = given.name;
    SELECT array_agg(fresh ORDER BY log) INTO p_counts FROM (
      SELECT log, count(place) AS fresh FROM unnest(p_log, places) AS given (log, place) GROUP BY log
    ) AS counted;
  END IF;
  SELECT array_agg(stop - grown ORDER BY place) INTO starts
  FROM unnest(ends, p_counts) WITH ORDINALITY AS given (stop, grown, place);

  INSERT INTO message (log, life, seq, id, actor, at, v, client_id, data)
  SELECT names[log], lives[log], starts[log] + place, id, actor, at, v, client_id, data
  FROM unnest(p_log, places, p_id, p_type, p_actor, p_at, p_v, p_client_id, p_data)
    AS given (log, place, id, type, actor, at, v, client_id, data)
  WHERE place IS NOT NULL AND type = 'message';
  IF 'message' <> ANY (p_type) THEN
    INSERT INTO other_entry (log, life, seq, id, type, actor, at, v, client_id, data)
    SELECT names[log], lives[log], starts[log] + place, id, type, actor, at, v, client_id, data
    FROM unnest(p_log, places, p_id, p_type, p_actor, p_at, p_v, p_client_id, p_data)
      AS given (log, place, id, type, actor, at, v, client_id, data)
    WHERE place IS NOT NULL AND type <> 'message';
  END IF;
  INSERT INTO client_key (log, life, digest, seq, at, id, body)
  SELECT names[log], lives[log], digest, starts[log] + place, at, id, body
  FROM unnest(p_log, places, p_digest, p_at, p_id, p_body) AS given (log, place, digest, at, id, body)
  WHERE place IS NOT NULL AND digest IS NOT NULL;

  IF retained > 0 THEN
    WITH raised AS (
      UPDATE log SET floor = log.head + 1 - log.retain_entries_max
      FROM (
        SELECT l.name, l.floor FROM unnest(names) AS given (name) JOIN log l ON l.name = given.name
        WHERE l.retain_entries_max > 0 AND l.floor <= l.head - l.retain_entries_max
      ) AS former
      WHERE log.name = former.name
      RETURNING log.name, log.life, log.floor, former.floor AS floor_before
    )
    SELECT array_agg(name), array_agg(life), array_agg(floor_before), array_agg(floor)
    INTO cut_log, cut_life, cut_from, cut_until FROM raised;
  END IF;

  IF cardinality(p_changed_log) > 0 THEN
    UPDATE message SET data = changed.data, edited_by = changed.edited_by
    FROM unnest(p_changed_log, p_changed_life, p_changed_seq, p_changed_data, p_changed_by)
      AS changed (log, life, seq, data, edited_by)
    WHERE message.log = changed.log AND message.life = changed.life AND message.seq = changed.seq;
  END IF;
  IF cardinality(p_emptied_log) > 0 THEN
    UPDATE other_entry SET type = 'erased', actor = '', client_id = NULL, data = '{}'
    FROM unnest(p_emptied_log, p_emptied_life, p_emptied_seq) AS emptied (log, life, seq)
    WHERE other_entry.log = emptied.log AND other_entry.life = emptied.life AND other_entry.seq = emptied.seq;
    WITH gone AS (
      DELETE FROM message USING unnest(p_emptied_log, p_emptied_life, p_emptied_seq) AS emptied (log, life, seq)
      WHERE message.log = emptied.log AND message.life = emptied.life AND message.seq = emptied.seq
      RETURNING message.*
    )
    INSERT INTO other_entry (log, life, seq, id, type, actor, at, v, client_id, data)
    SELECT log, life, seq, id, 'erased', '', at, v, NULL, '{}' FROM gone;
  END IF;
  IF cardinality(p_member_log) > 0 THEN
    DELETE FROM membership USING unnest(p_member_log, p_member_user, p_member_role) AS gone (log, user_id, role)
    WHERE gone.role IS NULL AND membership.log = gone.log AND membership.user_id = gone.user_id;
    INSERT INTO membership (log, user_id, role)
    SELECT log, user_id, role FROM unnest(p_member_log, p_member_user, p_member_role) AS put (log, user_id, role)
    WHERE role IS NOT NULL
    ON CONFLICT (log, user_id) DO UPDATE SET role = excluded.role;
  END IF;
  -- At most as many as the batch has: who lowers a retention raises the floor, and leaves the rest to the garbage.
  IF cut_log IS NOT NULL THEN
    DELETE FROM message USING unnest(cut_log, cut_life, cut_from, cut_until) AS cut (log, life, first, until)
    WHERE message.log = cut.log AND message.life = cut.life AND message.seq >= cut.first AND message.seq < cut.until;
    DELETE FROM other_entry USING unnest(cut_log, cut_life, cut_from, cut_until) AS cut (log, life, first, until)
    WHERE other_entry.log = cut.log AND other_entry.life = cut.life AND other_entry.seq >= cut.first AND other_entry.seq < cut.until;
  END IF;

  RETURN QUERY INSERT INTO journal (node, n, at, generation, batch_key, heads, refused, known)
  VALUES (p_node, p_n, p_written_at, (SELECT value FROM store WHERE name = 'generation') || '.' || p_cluster, p_batch_key,
    (
      SELECT coalesce(json_agg(json_build_array(name, life, head)), '[]')::text
      FROM unnest(names, lives, ends, p_counts) AS given (name, life, head, grown) WHERE grown > 0
    ),
    p_refused, coalesce(known_rows, '[]'))
  RETURNING *;
END $$;

-- Why not one statement: what was appended while it waits for the log's lock would stay.
CREATE FUNCTION delete_room(p_log text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  had_log boolean; had_room boolean;
BEGIN
  WITH gone AS (DELETE FROM log WHERE name = p_log RETURNING name, life, head), left_over AS (
    INSERT INTO garbage (log, life, until) SELECT name, life, head + 1 FROM gone
    ON CONFLICT (log, life) DO UPDATE SET until = excluded.until
  )
  SELECT EXISTS (SELECT FROM gone) INTO had_log;
  DELETE FROM room WHERE log = p_log;
  had_room := FOUND;
  DELETE FROM membership WHERE log = p_log;
  DELETE FROM inbox WHERE log = p_log;
  RETURN had_log OR had_room;
END $$;
`;

export const sql = `${tables}${functions}`;
