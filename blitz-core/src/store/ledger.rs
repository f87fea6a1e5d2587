//! Budgets, reservations and entries: the SQL, written once.
