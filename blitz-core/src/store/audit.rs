//! The audit trail: the SQL, written once.
