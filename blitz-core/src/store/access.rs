//! Users, their standing and shares: the SQL, written once.
