-- An empty one that somebody has made needs no right to make one.
DO $$ BEGIN IF to_regnamespace('mnemon') IS NULL THEN CREATE SCHEMA mnemon; END IF; END $$;

CREATE TABLE mnemon.version (one boolean PRIMARY KEY DEFAULT true CHECK (one), version integer NOT NULL);

-- One row for each space: its owner, its lease and its watermark. Written by every transaction that writes.
CREATE TABLE mnemon.spaces (
    space integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    epoch bigint NOT NULL DEFAULT 0,
    boot uuid,
    resumes uuid,
    owner text,
    lease_until timestamptz,
    followed_until timestamptz,
    watermark bigint NOT NULL DEFAULT 0,
    committed_at timestamptz,
    clean boolean NOT NULL DEFAULT true
) WITH (fillfactor = 20);

COMMENT ON COLUMN mnemon.spaces.epoch IS 'number of openings and releases so far';
COMMENT ON COLUMN mnemon.spaces.boot IS 'the opening that had the space last: none but it, in its epoch, writes';
COMMENT ON COLUMN mnemon.spaces.resumes IS 'the opening that wrote last, until the owner writes: its spill is to be applied, if it has left one';

-- No index names a column that counts, grows or fades, so that an update of those stays on its page.
CREATE TABLE mnemon.traces (
    space integer NOT NULL,
    id uuid NOT NULL,
    strength double precision NOT NULL,
    peak_strength double precision NOT NULL,
    base_decay_rate double precision NOT NULL,
    emotional_valence double precision NOT NULL,
    emotional_intensity double precision NOT NULL,
    confidence double precision NOT NULL,
    last_reinforced bigint NOT NULL,
    last_decayed bigint NOT NULL,
    revision bigint NOT NULL,
    reinforcement_count bigint NOT NULL,
    tier text NOT NULL,
    unresolved boolean NOT NULL,
    consolidation_candidate boolean NOT NULL,
    pinned boolean NOT NULL,
    type text NOT NULL,
    origin text NOT NULL,
    created_at bigint NOT NULL,
    partition text COLLATE "C" NOT NULL,
    source_agent text,
    encryption_key_id text,
    parent uuid,
    children bytea,
    tags text,
    embedding bytea,
    payload text NOT NULL,
    valid_until bigint,
    superseded_by uuid,
    PRIMARY KEY (space, id)
) WITH (fillfactor = 80);

CREATE TABLE mnemon.links (
    space integer NOT NULL,
    a uuid NOT NULL,
    b uuid NOT NULL,
    count bigint NOT NULL,
    first_at bigint NOT NULL,
    last_at bigint NOT NULL,
    PRIMARY KEY (space, a, b),
    CHECK (a < b)
) WITH (fillfactor = 80);

-- What each cut has changed, for followers.
CREATE TABLE mnemon.cuts (
    space integer NOT NULL,
    previous bigint NOT NULL,
    watermark bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ids uuid[] NOT NULL,
    links uuid[] NOT NULL,
    PRIMARY KEY (space, watermark)
);

-- For people and dashboards.
CREATE VIEW mnemon.readable AS
SELECT s.name AS space, t.id, t.type, t.partition, t.tags, t.payload, t.strength, t.confidence, t.tier, t.revision,
    to_timestamp(t.created_at / 1e6) AS created_at, to_timestamp(t.last_reinforced / 1e6) AS last_reinforced,
    to_timestamp(t.valid_until / 1e6) AS valid_until, t.superseded_by
FROM mnemon.traces t JOIN mnemon.spaces s USING (space);
