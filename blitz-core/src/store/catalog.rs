//! Catalogue records: the SQL, written once.
