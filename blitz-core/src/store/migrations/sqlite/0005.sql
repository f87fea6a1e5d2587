-- Budgets by more scopes, in more units, over windows -------------------------------------------

ALTER TABLE budgets ADD COLUMN subject TEXT;
ALTER TABLE budgets ADD COLUMN model TEXT;
ALTER TABLE budgets ADD COLUMN unit TEXT NOT NULL DEFAULT 'usd';
ALTER TABLE budgets ADD COLUMN period TEXT NOT NULL DEFAULT 'none';
ALTER TABLE budgets ADD COLUMN hours INTEGER;
ALTER TABLE budgets ADD COLUMN time_zone TEXT;
-- No window begins before it: the moment of the last reset.
ALTER TABLE budgets ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE budgets ADD COLUMN on_exceed TEXT NOT NULL DEFAULT 'deny';
ALTER TABLE budgets ADD COLUMN downgrade_to TEXT;
ALTER TABLE budgets ADD COLUMN on_unpriced TEXT NOT NULL DEFAULT 'refuse';
ALTER TABLE budgets ADD COLUMN burn_rate INTEGER;
ALTER TABLE budgets ADD COLUMN projection INTEGER NOT NULL DEFAULT 0;
ALTER TABLE budgets ADD COLUMN sealed_before INTEGER NOT NULL DEFAULT 0;
CREATE INDEX budgets_quotas ON budgets (id) WHERE unit <> 'usd' AND deleted_at IS NULL;

-- Which models a plan is pinned to follows from the catalogue and from these budgets.
CREATE TRIGGER budgets_insert_counts AFTER INSERT ON budgets WHEN NEW.downgrade_to IS NOT NULL
    BEGIN UPDATE catalog_state SET generation = generation + 1; END;
CREATE TRIGGER budgets_update_counts AFTER UPDATE ON budgets
    WHEN NEW.downgrade_to IS NOT NULL OR OLD.downgrade_to IS NOT NULL
    BEGIN UPDATE catalog_state SET generation = generation + 1; END;

-- What a budget said from one change to the next.
CREATE TABLE budget_revisions (
    budget_id INTEGER NOT NULL REFERENCES budgets (id),
    revision  INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    spec      TEXT NOT NULL,
    PRIMARY KEY (budget_id, revision)
) STRICT, WITHOUT ROWID;

-- More room for a while.
CREATE TABLE budget_raises (
    id        INTEGER PRIMARY KEY,
    budget_id INTEGER NOT NULL REFERENCES budgets (id),
    amount    INTEGER NOT NULL CHECK (amount > 0),
    from_at   INTEGER NOT NULL,
    until_at  INTEGER NOT NULL,
    reason    TEXT NOT NULL
) STRICT;
CREATE INDEX budget_raises_of ON budget_raises (budget_id, id);

-- Roles, models, providers and tags by number: windows are found by numbers alone.
CREATE TABLE budget_names (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- The tags of a root execution, settled at its start: `team=blue` and the `team` that it is a value of.
CREATE TABLE execution_tags (
    root_id INTEGER NOT NULL,
    tag_id  INTEGER NOT NULL REFERENCES budget_names (id),
    key_id  INTEGER NOT NULL REFERENCES budget_names (id),
    PRIMARY KEY (root_id, tag_id)
) STRICT, WITHOUT ROWID;

-- The tags that executions of a user, a role or a key carry whatever they say, and those they must have.
CREATE TABLE tag_policies (
    scope      TEXT NOT NULL,
    subject    TEXT NOT NULL,
    tags       TEXT NOT NULL,
    required   TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (scope, subject)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER tag_policies_insert_counts AFTER INSERT ON tag_policies BEGIN UPDATE catalog_state SET generation = generation + 1; END;
CREATE TRIGGER tag_policies_update_counts AFTER UPDATE ON tag_policies BEGIN UPDATE catalog_state SET generation = generation + 1; END;
CREATE TRIGGER tag_policies_delete_counts AFTER DELETE ON tag_policies BEGIN UPDATE catalog_state SET generation = generation + 1; END;

-- What is known of a call beside its money --------------------------------------------------------

ALTER TABLE reservations ADD COLUMN role TEXT;
ALTER TABLE reservations ADD COLUMN key_id INTEGER;
ALTER TABLE reservations ADD COLUMN agent_id INTEGER;
ALTER TABLE reservations ADD COLUMN workflow_id INTEGER;
ALTER TABLE reservations ADD COLUMN prompt TEXT;
ALTER TABLE ledger_entries ADD COLUMN role TEXT;
ALTER TABLE ledger_entries ADD COLUMN key_id INTEGER;
ALTER TABLE ledger_entries ADD COLUMN agent_id INTEGER;
ALTER TABLE ledger_entries ADD COLUMN workflow_id INTEGER;
ALTER TABLE ledger_entries ADD COLUMN prompt TEXT;
-- On the entry that ends an attempt: microseconds since it was reserved, and how it ended:
-- 0 well, 1 failed, 2 failed and made again.
ALTER TABLE ledger_entries ADD COLUMN latency INTEGER;
ALTER TABLE ledger_entries ADD COLUMN failed INTEGER;
-- Why, on an entry that a person made.
ALTER TABLE ledger_entries ADD COLUMN reason TEXT;

-- Sums of an hour, folded from the entries up to `usage_state.seq`; what is behind it is read from
-- the entries themselves.
CREATE TABLE usage_rollups (
    hour        INTEGER NOT NULL,
    user_id     INTEGER NOT NULL,
    role        TEXT NOT NULL,
    key_id      INTEGER NOT NULL,
    model       TEXT NOT NULL,
    provider    TEXT NOT NULL,
    agent_id    INTEGER NOT NULL,
    workflow_id INTEGER NOT NULL,
    prompt      TEXT NOT NULL,
    tags        TEXT NOT NULL,
    sums        TEXT NOT NULL,
    PRIMARY KEY (hour, user_id, role, key_id, model, provider, agent_id, workflow_id, prompt, tags)
) STRICT, WITHOUT ROWID;
CREATE TABLE usage_state (
    id  INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL
) STRICT;
INSERT INTO usage_state (id, seq) VALUES (1, 0);

-- Alerts and who is told --------------------------------------------------------------------------

ALTER TABLE alerts RENAME TO alerts_before;
CREATE TABLE alerts (
    id           INTEGER PRIMARY KEY,
    budget_id    INTEGER NOT NULL,
    scope_id     INTEGER NOT NULL,
    window_start INTEGER NOT NULL,
    kind         TEXT NOT NULL,
    threshold    INTEGER NOT NULL,
    posted       INTEGER NOT NULL,
    bound        INTEGER NOT NULL,
    exhausted_at INTEGER,
    at           INTEGER NOT NULL,
    UNIQUE (budget_id, scope_id, window_start, kind, threshold)
) STRICT;
INSERT INTO alerts (id, budget_id, scope_id, window_start, kind, threshold, posted, bound, at)
    SELECT a.id, a.budget_id, a.scope_id, a.window_start, 'threshold', a.threshold, a.posted,
        coalesce((SELECT b.amount FROM budgets b WHERE b.id = a.budget_id), 0), a.at
    FROM alerts_before a;
DROP TABLE alerts_before;
-- What a watched budget booked in an hour.
CREATE TABLE budget_hours (
    budget_id INTEGER NOT NULL REFERENCES budgets (id),
    scope_id  INTEGER NOT NULL,
    hour      INTEGER NOT NULL,
    posted    INTEGER NOT NULL,
    PRIMARY KEY (budget_id, scope_id, hour)
) STRICT, WITHOUT ROWID;

-- Where to: the secret it is signed with is sealed in `secrets`.
CREATE TABLE webhooks (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL,
    url         TEXT NOT NULL,
    events      TEXT NOT NULL,
    active      INTEGER NOT NULL,
    allow_local INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    deleted_at  INTEGER
) STRICT;
CREATE UNIQUE INDEX webhooks_name ON webhooks (name) WHERE deleted_at IS NULL;

-- What is still to be told, at least once. next_at is NULL once it was, or was given up.
CREATE TABLE outbox (
    id           INTEGER PRIMARY KEY,
    webhook_id   INTEGER NOT NULL REFERENCES webhooks (id),
    event        TEXT NOT NULL,
    body         TEXT NOT NULL,
    attempts     INTEGER NOT NULL,
    next_at      INTEGER,
    delivered_at INTEGER,
    error        TEXT,
    created_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_due ON outbox (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX outbox_webhook ON outbox (webhook_id, id);

-- What may be asked at most, beside the limits of a model's record.
CREATE TABLE rate_limits (
    id         INTEGER PRIMARY KEY,
    scope      TEXT NOT NULL,
    subject    TEXT NOT NULL,
    limits     TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (scope, subject)
) STRICT;
CREATE TRIGGER rate_limits_insert_counts AFTER INSERT ON rate_limits BEGIN UPDATE catalog_state SET generation = generation + 1; END;
CREATE TRIGGER rate_limits_update_counts AFTER UPDATE ON rate_limits BEGIN UPDATE catalog_state SET generation = generation + 1; END;
CREATE TRIGGER rate_limits_delete_counts AFTER DELETE ON rate_limits BEGIN UPDATE catalog_state SET generation = generation + 1; END;

-- A version of prices may be put in force later.
ALTER TABLE price_books ADD COLUMN effective_from INTEGER;
