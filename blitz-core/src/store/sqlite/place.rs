//! Where the database is, and what is there: judged without a change on disk.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;

use super::connection::patiently;
use super::error;
use crate::error::{Error, Result};
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
    /// Finds the file or the folder it will be in.
    pub(super) fn find(path: &Path) -> Result<Self> {
        let shown = path.display();
        match std::fs::metadata(path) {
            Ok(found) if !found.is_file() => Err(Error::invalid(format!("{shown} is not a file"))),
            Ok(found) if found.permissions().readonly() => {
                Err(Error::storage(format!("{shown} is read-only: give the right to write it")))
            }
            Ok(_) => {
                let database = std::fs::canonicalize(path).map_err(|cause| unreachable_path(path, cause))?;
                Ok(Self { database, exists: true })
            }
            Err(cause) if cause.kind() == ErrorKind::NotFound => Self::find_folder(path),
            Err(cause) => Err(unreachable_path(path, cause)),
        }
    }

    fn find_folder(path: &Path) -> Result<Self> {
        let shown = path.display();
        if path.is_symlink() {
            return Err(Error::invalid(format!("{shown} is a link to a file that is missing")));
        }
        let Some(name) = path.file_name() else {
            return Err(Error::invalid(format!("{shown} is not the name of a file")));
        };
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        match std::fs::metadata(folder) {
            Ok(found) if !found.is_dir() => Err(Error::invalid(format!("{} is not a folder", folder.display()))),
            Ok(found) if found.permissions().readonly() => {
                Err(Error::storage(format!("the folder {} is read-only", folder.display())))
            }
            Ok(_) => {
                let folder = std::fs::canonicalize(folder).map_err(|cause| unreachable_path(path, cause))?;
                Ok(Self { database: folder.join(name), exists: false })
            }
            Err(cause) if cause.kind() == ErrorKind::NotFound => {
                Err(Error::invalid(format!("the folder {} is missing: create it first", folder.display())))
            }
            Err(cause) => Err(unreachable_path(path, cause)),
        }
    }

    /// A neighbour of the database: its name with something behind it.
    pub(super) fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.database.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    /// What the database says of itself; `None` where a new one may be made. Changes nothing.
    pub(super) fn look(&self, limit: Duration) -> Result<Option<StoreInfo>> {
        if !self.exists || is_empty(&self.database) {
            return Ok(None);
        }
        // The death of a process while it made the file leaves a journal that only a writer can
        // play back; the file is judged again behind that.
        if !is_empty(&self.beside("-journal")) {
            return Ok(None);
        }
        // Never by plain file calls: closing such a handle would drop the locks that SQLite holds
        // for another engine of this process.
        let connection = self.open_read_only()?;
        patiently(limit, || connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())))
            .map_err(|cause| self.named(cause))?;
        migrate::inspect(&connection, migrate::SCRIPTS).map_err(|cause| self.named(cause))
    }

    /// With a log beside the file the reader needs the shared index that belongs to it; without
    /// one nobody writes, and an immutable view leaves no file behind.
    fn open_read_only(&self) -> Result<rusqlite::Connection> {
        let immutable = if is_empty(&self.beside("-wal")) { "&immutable=1" } else { "" };
        let uri = format!("file://{}?mode=ro{immutable}", escaped(&self.database));
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            rusqlite::Connection::open_with_flags(uri, flags).map_err(|cause| self.named(error(&cause)))?;
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .map_err(|cause| self.named(error(&cause)))?;
        Ok(connection)
    }

    fn named(&self, cause: Error) -> Error {
        Error::new(cause.code(), format!("{}: {cause}", self.database.display())).with_details(cause.details())
    }
}

/// Whether a file is missing or has no bytes.
fn is_empty(path: &Path) -> bool {
    std::fs::metadata(path).map_or(true, |found| found.len() == 0)
}

/// The path as part of a URI.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}

fn unreachable_path(path: &Path, cause: std::io::Error) -> Error {
    Error::storage(format!("{} cannot be reached: check the path and its rights", path.display())).with_source(cause)
}
