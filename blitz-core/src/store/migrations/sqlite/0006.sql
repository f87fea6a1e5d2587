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
ALTER TABLE audit_logs ADD COLUMN salt BLOB;
ALTER TABLE audit_logs ADD COLUMN words_hash BLOB;
ALTER TABLE audit_logs ADD COLUMN redacted BLOB;
DROP TRIGGER audit_no_update;
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit_logs
    WHEN NOT (OLD.words_hash IS NOT NULL AND OLD.redacted IS NULL AND NEW.redacted IS NOT NULL
        AND NEW.via = '' AND NEW.details = 'null' AND NEW.request_id IS NULL AND NEW.salt IS NULL
        AND NEW.seq = OLD.seq AND NEW.at = OLD.at AND NEW.principal = OLD.principal AND NEW.action = OLD.action
        AND NEW.object = OLD.object AND NEW.outcome = OLD.outcome AND NEW.before IS OLD.before
        AND NEW.after IS OLD.after AND NEW.words_hash = OLD.words_hash AND NEW.hash = OLD.hash)
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
