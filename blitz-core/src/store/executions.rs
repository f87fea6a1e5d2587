//! Executions and their journal: the SQL, written once.
