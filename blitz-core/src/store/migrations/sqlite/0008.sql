-- Sums of a quarter of an hour: clocks of all zones differ by whole quarters, so days of each can be told from
-- them. They are folded anew from the entries, as they are asked for.
DROP TABLE usage_rollups;
CREATE TABLE usage_rollups (
    start       INTEGER NOT NULL,
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
    PRIMARY KEY (start, user_id, role, key_id, model, provider, agent_id, workflow_id, prompt, tags)
) STRICT, WITHOUT ROWID;
UPDATE usage_state SET seq = 0 WHERE id = 1;
