-- What of a call is priced apart -------------------------------------------------------------------

-- Sound, pictures, searches, a class of service, where there is any.
ALTER TABLE ledger_entries ADD COLUMN usage_details TEXT;

-- Rating calls anew by a later version of prices ----------------------------------------------------

-- By which name the price of a call is listed, where it is not the model's own.
ALTER TABLE reservations ADD COLUMN listing TEXT;
-- The imported version that an entry was rated by; on an `adjust`, that it was made by rating anew.
ALTER TABLE ledger_entries ADD COLUMN price_version INTEGER;
-- 1 on the entry that gives a price to a call that had none.
ALTER TABLE ledger_entries ADD COLUMN priced INTEGER;

-- Redaction of the trail ----------------------------------------------------------------------------

-- `words_hash` stands in the chain for `via`, `details` and `request_id`, salted. A redacted line has
-- none of them any more, nor the salt; `redacted` says that it was the engine that took them out.
-- Compared by `IS`: a comparison with NULL would not be false, and let the update pass.
ALTER TABLE audit_logs ADD COLUMN salt BLOB;
ALTER TABLE audit_logs ADD COLUMN words_hash BLOB;
ALTER TABLE audit_logs ADD COLUMN redacted BLOB;
DROP TRIGGER audit_no_update;
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit_logs
    WHEN NOT (OLD.words_hash IS NOT NULL AND OLD.redacted IS NULL AND NEW.redacted IS NOT NULL
        AND NEW.via IS '' AND NEW.details IS 'null' AND NEW.request_id IS NULL AND NEW.salt IS NULL
        AND NEW.seq IS OLD.seq AND NEW.at IS OLD.at AND NEW.principal IS OLD.principal
        AND NEW.action IS OLD.action AND NEW.object IS OLD.object AND NEW.outcome IS OLD.outcome
        AND NEW.before IS OLD.before AND NEW.after IS OLD.after AND NEW.words_hash IS OLD.words_hash
        AND NEW.hash IS OLD.hash)
    BEGIN SELECT RAISE(ABORT, 'the audit trail is append only: only the words of a line are redacted'); END;

-- Keys of callers' own --------------------------------------------------------------------------------

-- For a day a key stands for the execution that was begun by it.
CREATE TABLE client_keys (
    principal    TEXT NOT NULL,
    key          TEXT NOT NULL,
    body_hash    TEXT NOT NULL,
    execution_id INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (principal, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX client_keys_age ON client_keys (created_at);

-- Workflows: failed parts again, queues, kept outputs, triggers ------------------------------------

-- The record from which on the failed parts of an execution ran again; 0 where they never did.
ALTER TABLE executions ADD COLUMN redriven INTEGER NOT NULL DEFAULT 0;
-- In which queue a root stands, how many of it run at once, and who goes first: the highest.
ALTER TABLE executions ADD COLUMN queue TEXT;
ALTER TABLE executions ADD COLUMN queue_limit INTEGER;
ALTER TABLE executions ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
CREATE INDEX executions_queue ON executions (agent_id, queue, status, priority DESC, id)
    WHERE finished_at IS NULL AND queue IS NOT NULL;

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
CREATE INDEX firings_status ON firings (trigger_id, status, id);
CREATE INDEX firings_queued ON firings (id) WHERE status = 'queued';
