//! Passwords: argon2id, a bounded number of hashes at once, the same work for unknown users.
