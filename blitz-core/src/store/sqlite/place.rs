//! Where the database is, and what is there: judged without a change on disk.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;

use super::error;
use crate::error::{Error, Result};
use crate::store::beside;
use crate::store::migrate::{self, StoreInfo};

/// What a database URL names.
#[derive(Debug, PartialEq)]
pub(super) enum Location {
    Memory,
    File(PathBuf),
}

impl Location {
    /// Reads a path, `sqlite:path`, `sqlite://path` or `:memory:`.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let path = match url.split_once("://") {
            Some(("sqlite", path)) => path,
            Some(("postgres" | "postgresql", _)) => {
                return Err(Error::invalid("PostgreSQL comes in a later version: give the path of a SQLite file"));
            }
            Some(_) => {
                return Err(Error::invalid("this kind of database is not known: give the path of a SQLite file"));
            }
            None => url.strip_prefix("sqlite:").unwrap_or(url),
        };
        match path {
            "" => Err(Error::invalid("the path of the database is empty")),
            ":memory:" => Ok(Self::Memory),
            path if path.contains('\0') => Err(Error::invalid("the path of the database holds a zero byte")),
            path => Ok(Self::File(path.into())),
        }
    }
}

/// The place of a database file, links resolved, so that all processes name its neighbours alike.
pub(super) struct Place {
    pub(super) database: PathBuf,
    exists: bool,
}

impl Place {
    /// Finds the file, or the folder it will be in.
    pub(super) fn find(path: &Path) -> Result<Self> {
        let shown = path.display();
        let exists = match std::fs::metadata(path) {
            Ok(found) if !found.is_file() => return Err(Error::invalid(format!("{shown} is not a file"))),
            Ok(found) if found.permissions().readonly() => {
                return Err(Error::storage(format!("{shown} is read-only: give the right to write it")));
            }
            Ok(_) => true,
            Err(cause) if cause.kind() != ErrorKind::NotFound => return Err(out_of_reach(path, cause)),
            Err(_) if path.is_symlink() => {
                return Err(Error::invalid(format!("{shown} is a link to a file that is missing")));
            }
            Err(_) => false,
        };
        let resolved = if exists {
            std::fs::canonicalize(path).map_err(|cause| out_of_reach(path, cause))?
        } else {
            path.to_owned()
        };
        let Some(name) = resolved.file_name() else {
            return Err(Error::invalid(format!("{shown} is not the name of a file")));
        };
        Ok(Self { database: folder_of(&resolved)?.join(name), exists })
    }

    /// What the database says of itself; `None` where a new one may be made. Changes nothing.
    pub(super) fn look(&self, limit: Duration) -> Result<Option<StoreInfo>> {
        let deadline = Instant::now() + limit;
        loop {
            let before = self.stamp();
            match self.look_once(limit) {
                // An immutable view is torn if another process begins to write just now.
                Err(_) if self.stamp() != before && Instant::now() < deadline => {}
                seen => return seen.map_err(|cause| self.named(&cause)),
            }
        }
    }

    fn look_once(&self, limit: Duration) -> Result<Option<StoreInfo>> {
        if !self.exists || length(&self.database) == 0 {
            return Ok(None);
        }
        let connection = self.open_read_only(limit).map_err(|cause| error(&cause))?;
        migrate::inspect(&connection, migrate::SCRIPTS)
    }

    /// Opens the file so that nothing appears beside it: with a log there its reader needs the index
    /// that belongs to it; without one nobody writes, and an immutable view does.
    ///
    /// Never by plain file calls: closing such a handle would drop the locks that SQLite holds for
    /// another engine of this process.
    fn open_read_only(&self, limit: Duration) -> rusqlite::Result<rusqlite::Connection> {
        let immutable = if length(&beside(&self.database, "-wal")) == 0 { "&immutable=1" } else { "" };
        let uri = format!("file://{}?mode=ro{immutable}", escaped(&self.database));
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = rusqlite::Connection::open_with_flags(uri, flags)?;
        connection.busy_timeout(limit)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        Ok(connection)
    }

    /// Changes whenever somebody writes the database.
    fn stamp(&self) -> [Option<(u64, SystemTime)>; 2] {
        [self.database.clone(), beside(&self.database, "-wal")].map(|path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.len(), found.modified().ok()?))
        })
    }

    fn named(&self, cause: &Error) -> Error {
        Error::new(cause.code(), format!("{}: {cause}", self.database.display())).with_details(cause.details())
    }
}

/// The folder of a file, links resolved.
fn folder_of(path: &Path) -> Result<PathBuf> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let shown = folder.display();
    match std::fs::metadata(folder) {
        Ok(found) if !found.is_dir() => Err(Error::invalid(format!("{shown} is not a folder"))),
        Ok(found) if found.permissions().readonly() => {
            Err(Error::storage(format!("the folder {shown} is read-only: the database keeps files beside it")))
        }
        Ok(_) => std::fs::canonicalize(folder).map_err(|cause| out_of_reach(folder, cause)),
        Err(cause) if cause.kind() == ErrorKind::NotFound => {
            Err(Error::invalid(format!("the folder {shown} is missing: create it first")))
        }
        Err(cause) => Err(out_of_reach(folder, cause)),
    }
}

/// The bytes of a file, 0 if it is missing.
fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |found| found.len())
}

/// The path as part of a URI.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}

fn out_of_reach(path: &Path, cause: std::io::Error) -> Error {
    let message = match cause.kind() {
        ErrorKind::NotADirectory => return Error::invalid(format!("{} leads through a file", path.display())),
        _ => format!("{} cannot be reached: check the path and its rights", path.display()),
    };
    Error::storage(message).with_source(cause)
}
