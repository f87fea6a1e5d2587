//! Whether the write-ahead log that the engine writes is still the one beside the database.
//!
//! Two SQLite libraries in one process do not see each other's locks: where a host opens the file with its own, such as
//! Python's `sqlite3` module, and closes it, that one takes itself for the last and deletes the log. What the engine
//! commits from then on goes to a file without a name, and is gone with the process. No lock can keep it from that, but
//! nobody is told that such a commit is kept.

use std::path::PathBuf;

use crate::error::{Error, Result};

/// The log of a database, and which file it was at first.
pub(super) struct Log {
    path: PathBuf,
    file: Option<u64>,
    lost: bool,
}

impl Log {
    pub(super) fn new(path: PathBuf) -> Self {
        let file = number(&path);
        Self { path, file, lost: false }
    }

    /// Called before and behind each commit. Errors: `Storage` where the log is another one or gone, from then on always.
    pub(super) fn check(&mut self) -> Result<()> {
        let now = number(&self.path);
        if self.file.is_none() {
            self.file = now;
        }
        self.lost |= now != self.file;
        if self.lost { Err(lost()) } else { Ok(()) }
    }

    /// Whether it was found so: then it must not be folded into a database that others may have changed since.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }
}

/// What tells a file from another that has its name later.
#[cfg(unix)]
fn number(path: &std::path::Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).ok().map(|found| found.ino())
}

/// An open file cannot be deleted there.
#[cfg(not(unix))]
fn number(_: &std::path::Path) -> Option<u64> {
    Some(0)
}

fn lost() -> Error {
    Error::storage(
        "the log of the database was deleted while the engine used it, so nothing more is kept: something in this process \
         opened the database with another SQLite library. Close the engine and open it again, and read the file from \
         another process",
    )
}
