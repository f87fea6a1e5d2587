-- Roles of the host's own: names and what they allow, a JSON list of scopes.
CREATE TABLE roles (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    permissions TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;

-- One login and the tokens that hang on it. Of tokens only hashes are kept.
CREATE TABLE sessions (
    id              INTEGER PRIMARY KEY,
    user_id         INTEGER NOT NULL REFERENCES users (id),
    session_version INTEGER NOT NULL,
    via             TEXT NOT NULL,
    source          TEXT,
    token_hash      BLOB,
    created_at      INTEGER NOT NULL,
    seen_at         INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    ended_at        INTEGER
) STRICT;
CREATE UNIQUE INDEX sessions_token ON sessions (token_hash) WHERE token_hash IS NOT NULL;
CREATE INDEX sessions_user ON sessions (user_id, id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

-- Each is good once; a second use ends its session.
CREATE TABLE refresh_tokens (
    hash       BLOB PRIMARY KEY,
    session_id INTEGER NOT NULL REFERENCES sessions (id),
    created_at INTEGER NOT NULL,
    used_at    INTEGER
) STRICT;
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);

-- What signs JSON web tokens. The key itself is sealed; one that is retired still verifies for a while.
CREATE TABLE token_keys (
    id         INTEGER PRIMARY KEY,
    kid        TEXT NOT NULL UNIQUE,
    algorithm  TEXT NOT NULL,
    public_key BLOB,
    created_at INTEGER NOT NULL,
    retired_at INTEGER
) STRICT;

CREATE TABLE password_resets (
    hash            BLOB PRIMARY KEY,
    user_id         INTEGER NOT NULL REFERENCES users (id),
    session_version INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL
) STRICT;

-- scopes NULL is all that the owner may. `mac` is keyed by a key that is not in the file.
CREATE TABLE api_keys (
    id          INTEGER PRIMARY KEY,
    user_id     INTEGER NOT NULL REFERENCES users (id),
    name        TEXT NOT NULL,
    public      TEXT NOT NULL UNIQUE,
    mac         BLOB NOT NULL,
    scopes      TEXT,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER,
    used_at     INTEGER,
    revoked_at  INTEGER,
    replaced_by INTEGER REFERENCES api_keys (id)
) STRICT;
CREATE INDEX api_keys_user ON api_keys (user_id, id);

-- Secrets with names, for models and tools to refer to. The value is sealed in `secrets`.
CREATE TABLE named_secrets (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    created_by INTEGER REFERENCES users (id),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- Audit ----------------------------------------------------------------------------------------

-- The host's own number of the request in which it was done.
ALTER TABLE audit_logs ADD COLUMN request_id TEXT;

-- What was sealed and pruned: the chain goes on behind `last_hash`, and `mac` says that it is ours.
CREATE TABLE audit_segments (
    id        INTEGER PRIMARY KEY,
    first_seq INTEGER NOT NULL,
    last_seq  INTEGER NOT NULL UNIQUE,
    last_hash BLOB NOT NULL,
    sealed_at INTEGER NOT NULL,
    mac       BLOB NOT NULL
) STRICT;
DROP TRIGGER audit_no_delete;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit_logs
    WHEN NOT EXISTS (SELECT 1 FROM audit_segments WHERE OLD.seq BETWEEN first_seq AND last_seq)
    BEGIN SELECT RAISE(ABORT, 'the audit trail is append only: only a sealed segment is pruned'); END;
CREATE TRIGGER audit_segments_no_update BEFORE UPDATE ON audit_segments
    BEGIN SELECT RAISE(ABORT, 'a sealed segment is never changed'); END;
CREATE TRIGGER audit_segments_no_delete BEFORE DELETE ON audit_segments
    BEGIN SELECT RAISE(ABORT, 'a sealed segment is never changed'); END;
