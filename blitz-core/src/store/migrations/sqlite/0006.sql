-- Workflows: failed parts again, queues, kept outputs, triggers ------------------------------------

-- The record from which on the failed parts of an execution ran again; 0 where they never did.
ALTER TABLE executions ADD COLUMN redriven INTEGER NOT NULL DEFAULT 0;
-- In which queue a root stands, how many of it run at once, and who goes first: the highest.
ALTER TABLE executions ADD COLUMN queue TEXT;
ALTER TABLE executions ADD COLUMN queue_limit INTEGER;
ALTER TABLE executions ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
CREATE INDEX executions_queue ON executions (agent_id, queue) WHERE finished_at IS NULL AND queue IS NOT NULL;

-- Outputs of nodes that are used again, by a hash of what they came from and of whom.
CREATE TABLE node_cache (
    key        TEXT PRIMARY KEY,
    body       TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX node_cache_expiry ON node_cache (expires_at);

-- What starts workflows beside calls. One runs as who enabled it.
CREATE TABLE triggers (
    id          INTEGER PRIMARY KEY,
    workflow_id INTEGER NOT NULL,
    spec        TEXT NOT NULL,
    kind        TEXT NOT NULL,
    name        TEXT,
    principal   TEXT NOT NULL,
    next_at     INTEGER,
    created_at  INTEGER NOT NULL,
    ended       INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX triggers_workflow ON triggers (workflow_id) WHERE ended = 0;
CREATE INDEX triggers_due ON triggers (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX triggers_name ON triggers (kind, name) WHERE name IS NOT NULL AND ended = 0;

-- One row for each firing: whoever makes it fires, in whatever process.
CREATE TABLE firings (
    id           INTEGER PRIMARY KEY,
    trigger_id   INTEGER NOT NULL,
    slot         TEXT NOT NULL,
    at           INTEGER NOT NULL,
    missed       INTEGER NOT NULL DEFAULT 0,
    status       TEXT NOT NULL,
    execution_id INTEGER,
    data         TEXT NOT NULL,
    error        TEXT,
    UNIQUE (trigger_id, slot)
) STRICT;
CREATE INDEX firings_of ON firings (trigger_id, id);
CREATE INDEX firings_queued ON firings (id) WHERE status = 'queued';
