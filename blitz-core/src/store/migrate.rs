//! Brings a database to this version's schema, in one transaction, behind a backup.
