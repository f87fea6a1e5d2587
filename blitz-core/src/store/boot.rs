//! Who is alive: one locked file for each process that has the database open.
//!
//! The file `<db>-boot-<id>` is locked for the life of an engine. The kernel drops the lock at the
//! death of the process, so there is no heartbeat and no expiry. The lock belongs to the open file,
//! which a forked child shares: while a child that was forked (and has not started another program)
//! lives on, its parent counts as alive, and what the parent owned waits for the child's end.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::beside;
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
        let stem = beside(database, "-boot-");
        remove_dead(&stem);
        for _ in 0..ATTEMPTS {
            let id = new_id();
            if let Some(file) = create_locked(&beside(&stem, &id))? {
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
        let Some(lock) = self.lock.as_ref().filter(|_| is_id(boot_id)) else { return false };
        match ask(&beside(&lock.stem, boot_id)) {
            Ok(Asked::Free(_)) => false,
            Ok(Asked::Held) => true,
            Err(cause) => cause.kind() != ErrorKind::NotFound,
        }
    }
}

impl Boot {
    /// Ends this life while the value is still held: the engine has closed.
    pub(crate) fn release(&self) {
        if let Some(lock) = &self.lock
            && lock.process == std::process::id()
        {
            // Removed while it is still locked. What stays behind is tidied up by the next opening.
            let _ = std::fs::remove_file(beside(&lock.stem, &self.id));
            let _ = lock.file.unlock();
        }
    }
}

impl Drop for Boot {
    fn drop(&mut self) {
        self.release();
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
        let name = entry.file_name();
        if name.to_str().and_then(|name| name.strip_prefix(prefix)).is_some_and(is_id) {
            // Held while the file goes, so that a process that has just made it takes another name.
            if let Ok(Asked::Free(_held)) = ask(&entry.path()) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// What a look at a lock file shows.
enum Asked {
    /// Nobody has it; this handle holds a shared lock.
    Free(File),
    Held,
}

/// Asks with a shared lock, so that askers do not see each other.
fn ask(path: &Path) -> std::io::Result<Asked> {
    let file = File::open(path)?;
    match file.try_lock_shared() {
        Ok(()) => Ok(Asked::Free(file)),
        Err(TryLockError::WouldBlock) => Ok(Asked::Held),
        Err(TryLockError::Error(cause)) => Err(cause),
    }
}

fn new_id() -> String {
    hex(&random::<16>())
}

fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
impl Boot {
    /// The locked file as a child process inherits it: the same open file, so the same lock.
    pub(super) fn inherited(&self) -> std::process::Stdio {
        let lock = self.lock.as_ref().expect("a boot of a file");
        lock.file.try_clone().expect("a second handle").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> usize {
        std::fs::read_dir(folder).expect("the folder").count()
    }

    #[test]
    fn a_boot_is_alive_until_it_is_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path().join("a.db");
        let first = Boot::lock(&database).expect("a boot");
        let second = Boot::lock(&database).expect("another boot");
        assert_ne!(first.id(), second.id());
        assert!(first.is_alive(first.id()) && first.is_alive(second.id()) && second.is_alive(first.id()));

        let id = second.id().to_owned();
        drop(second);
        assert!(!first.is_alive(&id));
        assert_eq!(files(folder.path()), 1);
        drop(first);
        assert_eq!(files(folder.path()), 0, "a clean end leaves nothing");
    }

    #[test]
    fn the_dead_are_tidied_up_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path().join("a.db");
        let dead = new_id();
        let others = ["a.db-boot-notes.txt".into(), format!("b.db-boot-{dead}"), "a.db".into()];
        for name in others.iter().chain([&format!("a.db-boot-{dead}")]) {
            std::fs::write(folder.path().join(name), "").expect("a file");
        }
        let boot = Boot::lock(&database).expect("a boot");
        assert!(!boot.is_alive(&dead));
        assert!(!folder.path().join(format!("a.db-boot-{dead}")).exists());
        assert!(others.iter().all(|name| folder.path().join(name).exists()));
    }

    #[test]
    fn an_id_that_is_none_names_no_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let boot = Boot::lock(&folder.path().join("a.db")).expect("a boot");
        let other = Boot::lock(&folder.path().join("b.db")).expect("a boot");
        for id in ["", "x", "../../etc/passwd", other.id(), &"0".repeat(32)] {
            assert!(!boot.is_alive(id), "{id}");
        }
    }

    #[test]
    fn a_boot_in_memory_knows_itself_only() {
        let boot = Boot::in_memory();
        assert!(boot.is_alive(boot.id()));
        assert!(!boot.is_alive(Boot::in_memory().id()));
    }

    #[test]
    fn boots_that_begin_at_once_do_not_tidy_each_other_away() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path().join("a.db");
        for _ in 0..20 {
            let boots: Vec<Boot> = std::thread::scope(|scope| {
                let starting: Vec<_> = (0..8).map(|_| scope.spawn(|| Boot::lock(&database).expect("a boot"))).collect();
                starting.into_iter().map(|boot| boot.join().expect("no panic")).collect()
            });
            assert!(boots.iter().all(|boot| boots[0].is_alive(boot.id()) && boots[7].is_alive(boot.id())));
        }
        assert_eq!(files(folder.path()), 0);
    }
}
