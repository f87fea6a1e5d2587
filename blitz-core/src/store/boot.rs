//! Who is alive: one locked file for each process that has the database open.
