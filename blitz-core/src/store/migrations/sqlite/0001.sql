-- The first schema. Never edited once released.
-- Times are UTC microseconds, money nano-USD, JSON is text, booleans are 0 and 1.

CREATE TABLE store_info (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- People and their sessions -------------------------------------------------------------------

CREATE TABLE users (
    id              INTEGER PRIMARY KEY,
    email           TEXT NOT NULL,
    name            TEXT NOT NULL,
    role            TEXT NOT NULL,
    active          INTEGER NOT NULL,
    session_version INTEGER NOT NULL,
    failed_logins   INTEGER NOT NULL DEFAULT 0,
    locked_until    INTEGER,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    deleted_at      INTEGER
) STRICT;
CREATE UNIQUE INDEX users_email ON users (email) WHERE deleted_at IS NULL;

-- Sealed values: provider keys, password hashes. The table, row and column are sealed in with them.
CREATE TABLE secrets (
    owner_table  TEXT NOT NULL,
    owner_id     INTEGER NOT NULL,
    owner_column TEXT NOT NULL,
    key_id       TEXT NOT NULL,
    sealed       BLOB NOT NULL,
    updated_at   INTEGER NOT NULL,
    PRIMARY KEY (owner_table, owner_id, owner_column)
) STRICT;

-- The catalogue -------------------------------------------------------------------------------

-- Immutable bodies by the hash of their content: versions of resources, plans of executions.
CREATE TABLE definitions (
    hash TEXT PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE resources (
    id         INTEGER PRIMARY KEY,
    kind       TEXT NOT NULL,
    namespace  TEXT NOT NULL,
    name       TEXT NOT NULL,
    owner_id   INTEGER REFERENCES users (id),
    visibility TEXT NOT NULL,
    revision   INTEGER NOT NULL,
    hash       TEXT NOT NULL REFERENCES definitions (hash),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
) STRICT;
-- Names are unique among an owner's live records and, separately, among shared ones.
CREATE UNIQUE INDEX resources_own ON resources (namespace, coalesce(owner_id, 0), name) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX resources_shared ON resources (namespace, name)
    WHERE deleted_at IS NULL AND visibility = 'shared';
CREATE INDEX resources_kind ON resources (kind, id) WHERE deleted_at IS NULL;

CREATE TABLE resource_versions (
    resource_id INTEGER NOT NULL REFERENCES resources (id),
    version     INTEGER NOT NULL,
    hash        TEXT NOT NULL REFERENCES definitions (hash),
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (resource_id, version)
) STRICT;

-- A share opens a resource to a user or to a role, one of the two. Levels: 1 view, 2 use, 3 edit, 4 manage.
CREATE TABLE shares (
    resource_id INTEGER NOT NULL REFERENCES resources (id),
    user_id     INTEGER NOT NULL DEFAULT 0,
    role        TEXT NOT NULL DEFAULT '',
    level       INTEGER NOT NULL CHECK (level BETWEEN 1 AND 4),
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (resource_id, user_id, role)
) STRICT, WITHOUT ROWID;

-- Counts every change of what a run may use: what was found at one count holds while it lasts.
CREATE TABLE catalog_state (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    generation INTEGER NOT NULL
) STRICT;
INSERT INTO catalog_state (id, generation) VALUES (1, 1);
CREATE TRIGGER resources_insert_counts AFTER INSERT ON resources BEGIN UPDATE catalog_state SET generation = generation + 1; END;
CREATE TRIGGER resources_update_counts AFTER UPDATE ON resources BEGIN UPDATE catalog_state SET generation = generation + 1; END;
CREATE TRIGGER resources_delete_counts AFTER DELETE ON resources BEGIN UPDATE catalog_state SET generation = generation + 1; END;
CREATE TRIGGER shares_insert_counts AFTER INSERT ON shares BEGIN UPDATE catalog_state SET generation = generation + 1; END;
CREATE TRIGGER shares_update_counts AFTER UPDATE ON shares BEGIN UPDATE catalog_state SET generation = generation + 1; END;
CREATE TRIGGER shares_delete_counts AFTER DELETE ON shares BEGIN UPDATE catalog_state SET generation = generation + 1; END;
CREATE TRIGGER secrets_insert_counts AFTER INSERT ON secrets BEGIN UPDATE catalog_state SET generation = generation + 1; END;
CREATE TRIGGER secrets_update_counts AFTER UPDATE ON secrets BEGIN UPDATE catalog_state SET generation = generation + 1; END;
CREATE TRIGGER secrets_delete_counts AFTER DELETE ON secrets BEGIN UPDATE catalog_state SET generation = generation + 1; END;

-- Executions and their journal ----------------------------------------------------------------

CREATE TABLE executions (
    id               INTEGER PRIMARY KEY,
    root_id          INTEGER NOT NULL,
    parent_id        INTEGER,
    parent_key       TEXT,
    agent_id         INTEGER NOT NULL,
    name             TEXT NOT NULL,
    user_id          INTEGER,
    principal        TEXT NOT NULL,
    definition_hash  TEXT NOT NULL REFERENCES definitions (hash),
    depth            INTEGER NOT NULL,
    status           TEXT NOT NULL,
    waiting_for      TEXT,
    next_wake        INTEGER,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    boot_id          TEXT,
    epoch            INTEGER NOT NULL,
    resume_attempts  INTEGER NOT NULL DEFAULT 0,
    deadline         INTEGER NOT NULL,
    finished         TEXT,
    created_at       INTEGER NOT NULL,
    finished_at      INTEGER
) STRICT;
CREATE INDEX executions_open ON executions (boot_id) WHERE finished_at IS NULL;
CREATE INDEX executions_user ON executions (user_id, id) WHERE user_id IS NOT NULL;
CREATE INDEX executions_root ON executions (root_id, id) WHERE parent_id IS NOT NULL;
CREATE UNIQUE INDEX executions_child ON executions (parent_id, parent_key) WHERE parent_id IS NOT NULL;

-- One append-only table: a record is the durable step, the event that readers see, the trail.
CREATE TABLE journal (
    root_id      INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    execution_id INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    path         TEXT NOT NULL,
    type         TEXT NOT NULL,
    schema       INTEGER NOT NULL,
    data         TEXT,
    blob_hash    TEXT,
    PRIMARY KEY (root_id, seq)
) STRICT;

CREATE TABLE blobs (
    hash TEXT PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;

-- Money ---------------------------------------------------------------------------------------

-- amount NULL is without limit; scope_id 0 is each user or execution on its own. A budget without
-- a name is the cap of one root execution: no list shows it.
CREATE TABLE budgets (
    id         INTEGER PRIMARY KEY,
    name       TEXT,
    scope      TEXT NOT NULL,
    scope_id   INTEGER NOT NULL,
    amount     INTEGER CHECK (amount >= 0),
    hard       INTEGER NOT NULL,
    thresholds TEXT NOT NULL,
    revision   INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
) STRICT;
CREATE UNIQUE INDEX budgets_name ON budgets (name) WHERE deleted_at IS NULL;
CREATE INDEX budgets_scope ON budgets (scope, scope_id) WHERE deleted_at IS NULL;
CREATE INDEX budgets_listed ON budgets (id) WHERE name IS NOT NULL AND deleted_at IS NULL;

-- A window is a row, never reset. window_start is 0 for budgets without a period.
CREATE TABLE budget_windows (
    budget_id    INTEGER NOT NULL REFERENCES budgets (id),
    scope_id     INTEGER NOT NULL,
    window_start INTEGER NOT NULL,
    posted       INTEGER NOT NULL CHECK (posted >= 0),
    pending      INTEGER NOT NULL CHECK (pending >= 0),
    PRIMARY KEY (budget_id, scope_id, window_start)
) STRICT, WITHOUT ROWID;

-- A reservation holds its legs: [[budget id, scope id, window start], …]; each holds `amount`.
CREATE TABLE reservations (
    id           INTEGER PRIMARY KEY,
    execution_id INTEGER NOT NULL,
    root_id      INTEGER NOT NULL,
    path         TEXT NOT NULL,
    attempt      INTEGER NOT NULL,
    user_id      INTEGER,
    model        TEXT NOT NULL,
    provider     TEXT NOT NULL,
    price        TEXT,
    input_bound  INTEGER NOT NULL,
    output_cap   INTEGER NOT NULL,
    amount       INTEGER CHECK (amount >= 0),
    legs         TEXT NOT NULL,
    state        TEXT NOT NULL,
    boot_id      TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    UNIQUE (execution_id, path, attempt)
) STRICT;
CREATE INDEX reservations_open ON reservations (boot_id) WHERE state = 'open';

-- Append only. A `reserve` holds its amount on every leg; any other kind gives back `released` and
-- books its amount. So the entries alone, in order, rebuild every window at every moment.
-- amount is NULL where the price is unknown. A settle carries the usage; `flag` marks a doubtful one.
CREATE TABLE ledger_entries (
    seq                INTEGER PRIMARY KEY,
    at                 INTEGER NOT NULL,
    kind               TEXT NOT NULL,
    reservation_id     INTEGER NOT NULL,
    root_id            INTEGER NOT NULL,
    execution_id       INTEGER NOT NULL,
    user_id            INTEGER,
    model              TEXT NOT NULL,
    provider           TEXT NOT NULL,
    attempt            INTEGER NOT NULL,
    amount             INTEGER,
    released           INTEGER NOT NULL,
    legs               TEXT NOT NULL,
    requests           INTEGER,
    input_tokens       INTEGER,
    output_tokens      INTEGER,
    cache_read_tokens  INTEGER,
    cache_write_tokens INTEGER,
    reasoning_tokens   INTEGER,
    provenance         TEXT,
    flag               TEXT,
    raw_usage          TEXT
) STRICT;
CREATE INDEX ledger_root ON ledger_entries (root_id, seq) WHERE kind <> 'reserve';
CREATE INDEX ledger_user ON ledger_entries (user_id, seq) WHERE kind <> 'reserve';
CREATE TRIGGER ledger_no_update BEFORE UPDATE ON ledger_entries
    BEGIN SELECT RAISE(ABORT, 'the ledger is append only'); END;
CREATE TRIGGER ledger_no_delete BEFORE DELETE ON ledger_entries
    BEGIN SELECT RAISE(ABORT, 'the ledger is append only'); END;

CREATE TABLE alerts (
    id           INTEGER PRIMARY KEY,
    budget_id    INTEGER NOT NULL,
    scope_id     INTEGER NOT NULL,
    window_start INTEGER NOT NULL,
    threshold    INTEGER NOT NULL,
    posted       INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    UNIQUE (budget_id, scope_id, window_start, threshold)
) STRICT;

-- Audit ---------------------------------------------------------------------------------------

CREATE TABLE audit_logs (
    seq       INTEGER PRIMARY KEY,
    at        INTEGER NOT NULL,
    principal TEXT NOT NULL,
    via       TEXT NOT NULL,
    action    TEXT NOT NULL,
    object    TEXT NOT NULL,
    outcome   TEXT NOT NULL,
    before    TEXT,
    after     TEXT,
    details   TEXT NOT NULL,
    hash      BLOB NOT NULL
) STRICT;
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit_logs
    BEGIN SELECT RAISE(ABORT, 'the audit trail is append only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit_logs
    BEGIN SELECT RAISE(ABORT, 'the audit trail is append only'); END;

-- What a user may ask in SQL -------------------------------------------------------------------

CREATE VIEW models AS SELECT r.id, r.name, r.owner_id, r.visibility, r.revision, r.created_at, r.updated_at,
    d.body ->> 'provider' AS provider, d.body ->> 'model_name' AS model_name
    FROM resources r JOIN definitions d ON d.hash = r.hash WHERE r.kind = 'model' AND r.deleted_at IS NULL;
CREATE VIEW prompts AS SELECT r.id, r.name, r.owner_id, r.visibility, r.revision AS version, r.created_at, r.updated_at,
    d.body ->> 'template' AS template, d.body ->> 'format' AS format
    FROM resources r JOIN definitions d ON d.hash = r.hash WHERE r.kind = 'prompt' AND r.deleted_at IS NULL;
CREATE VIEW tools AS SELECT r.id, r.name, r.owner_id, r.visibility, r.revision, r.created_at, r.updated_at,
    d.body ->> 'kind' AS kind, d.body ->> 'description' AS description
    FROM resources r JOIN definitions d ON d.hash = r.hash WHERE r.kind = 'tool' AND r.deleted_at IS NULL;
CREATE VIEW agents AS SELECT r.id, r.name, r.owner_id, r.visibility, r.revision, r.created_at, r.updated_at,
    d.body ->> 'model' AS model, d.body ->> 'description' AS description
    FROM resources r JOIN definitions d ON d.hash = r.hash WHERE r.kind = 'agent' AND r.deleted_at IS NULL;
CREATE VIEW execution_steps AS SELECT root_id, seq, execution_id, at AS finished_at, path,
    CASE type WHEN 'tool.finished' THEN 'tool' ELSE data ->> '$.data.kind' END AS kind, data
    FROM journal WHERE type IN ('step.finished', 'tool.finished');
-- What was booked; amounts in nano-USD, NULL where the price is unknown.
CREATE VIEW costs AS SELECT seq AS id, at, kind, root_id, execution_id, user_id, model, provider, attempt,
    amount AS cost_nanos, requests, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens,
    provenance, flag
    FROM ledger_entries WHERE kind IN ('settle', 'overage', 'adjust', 'refund');
