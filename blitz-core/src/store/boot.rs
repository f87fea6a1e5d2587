//! Who is alive: one locked file for each process that has the database open.
//!
//! The file `<db>-boot-<id>` is locked for the life of an engine. The kernel drops the lock at the
//! death of the process, so there is no heartbeat and no expiry. The lock belongs to the open file,
//! which a forked child shares: while a child that was forked (and has not started another program)
//! lives on, its parent counts as alive, and what the parent owned waits for the child's end.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::seal::{hex, random};
use crate::error::{Error, Result};

/// How often a starting process takes a new name because another tidied its file away.
const ATTEMPTS: usize = 16;

/// The name of one life of an engine, and the lock that shows that it lives.
#[derive(Debug)]
pub(crate) struct Boot {
    id: String,
    lock: Option<Lock>,
}

#[derive(Debug)]
struct Lock {
    file: File,
    /// The path up to the id.
    stem: PathBuf,
    /// A forked child holds a copy of this value and must not end its parent's boot.
    process: u32,
}

impl Boot {
    /// A life that nobody else can see: of a store in memory.
    pub(crate) fn in_memory() -> Self {
        Self { id: new_id(), lock: None }
    }

    /// Begins a life on a database file; tidies up the lock files of the dead.
    ///
    /// Errors: `storage` if the folder cannot be written or has no locks.
    pub(crate) fn lock(database: &Path) -> Result<Self> {
        let stem = stem(database);
        remove_dead(&stem);
        for _ in 0..ATTEMPTS {
            let id = new_id();
            if let Some(file) = create_locked(&path(&stem, &id))? {
                return Ok(Self { id, lock: Some(Lock { file, stem, process: std::process::id() }) });
            }
        }
        Err(Error::storage("the lock file of the database could not be taken: try again"))
    }

    /// The name of this life: 32 hex digits.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Whether the life `boot_id` goes on: this one, or one whose file another process has locked.
    ///
    /// When in doubt it lives.
    pub(crate) fn is_alive(&self, boot_id: &str) -> bool {
        if boot_id == self.id {
            return true;
        }
        // An id is read from the database: it names a file only if it is one of ours.
        let known = boot_id.len() == 32 && boot_id.bytes().all(|byte| byte.is_ascii_hexdigit());
        self.lock.as_ref().is_some_and(|lock| known && is_locked(&path(&lock.stem, boot_id)))
    }
}

impl Drop for Boot {
    fn drop(&mut self) {
        if let Some(lock) = &self.lock
            && lock.process == std::process::id()
        {
            // Removed while it is still locked. What stays behind is tidied up by the next opening.
            let _ = std::fs::remove_file(path(&lock.stem, &self.id));
            let _ = lock.file.unlock();
        }
    }
}

/// Creates and locks a file; `None` if somebody who tidies up came between.
fn create_locked(path: &Path) -> Result<Option<File>> {
    let failed = |cause: std::io::Error| {
        Error::storage("the lock file of the database cannot be written: check the rights of its folder")
            .with_source(cause)
    };
    let file = File::options().write(true).create_new(true).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) if path.exists() => Ok(Some(file)),
        Ok(()) | Err(TryLockError::WouldBlock) => {
            let _ = std::fs::remove_file(path);
            Ok(None)
        }
        Err(TryLockError::Error(cause)) => {
            let _ = std::fs::remove_file(path);
            Err(failed(cause))
        }
    }
}

/// Removes the lock files that nobody holds.
fn remove_dead(stem: &Path) {
    let (Some(folder), Some(prefix)) = (stem.parent(), stem.file_name().and_then(|name| name.to_str())) else {
        return;
    };
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix)) && !is_locked(&entry.path()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Whether a lock file is held. Asks with a shared lock, so that askers do not see each other.
fn is_locked(path: &Path) -> bool {
    match File::open(path) {
        Ok(file) => file.try_lock_shared().is_err(),
        Err(cause) => cause.kind() != ErrorKind::NotFound,
    }
}

fn stem(database: &Path) -> PathBuf {
    let mut name = database.to_owned().into_os_string();
    name.push("-boot-");
    name.into()
}

fn path(stem: &Path, id: &str) -> PathBuf {
    let mut name = stem.to_owned().into_os_string();
    name.push(id);
    name.into()
}

fn new_id() -> String {
    hex(&random::<16>())
}
