-- Of the tokens written to a provider's cache: those kept there for an hour.
ALTER TABLE ledger_entries ADD COLUMN cache_write_1h_tokens INTEGER;

-- Imported prices ------------------------------------------------------------------------------

-- Each import is a version; the newest is in force. None is ever changed.
CREATE TABLE price_books (
    id         INTEGER PRIMARY KEY,
    created_at INTEGER NOT NULL,
    source     TEXT NOT NULL,
    hash       TEXT NOT NULL
) STRICT;
-- One row for a provider: its models' prices, a JSON object by the model's name.
CREATE TABLE price_rates (
    book_id  INTEGER NOT NULL REFERENCES price_books (id),
    provider TEXT NOT NULL,
    prices   TEXT NOT NULL,
    PRIMARY KEY (book_id, provider)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER price_books_no_update BEFORE UPDATE ON price_books
    BEGIN SELECT RAISE(ABORT, 'a version of prices is never changed'); END;
CREATE TRIGGER price_rates_no_update BEFORE UPDATE ON price_rates
    BEGIN SELECT RAISE(ABORT, 'a version of prices is never changed'); END;
CREATE TRIGGER price_books_insert_counts AFTER INSERT ON price_books BEGIN UPDATE catalog_state SET generation = generation + 1; END;
