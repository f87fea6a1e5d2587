//! Brings a database to this version's schema, in one transaction, behind a backup.
//!
//! The version is SQLite's `user_version`; `schema_migrations` keeps the checksum of each script
//! that was applied, so that a file made by a differing build is noticed.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use super::beside;
use super::seal::{KeyChange, KeyState, Keys, hex, random};
use super::sqlite::{error, patiently};
use crate::domain::Timestamp;
use crate::error::{Error, Result};

/// A numbered step of the schema, never edited once released.
pub(crate) struct Script {
    /// 1, 2, 3, … without a gap.
    pub(crate) version: u32,
    pub(crate) sql: &'static str,
}

/// Every step from an empty file to this version.
pub(crate) const SCRIPTS: &[Script] = &[
    Script { version: 1, sql: include_str!("migrations/sqlite/0001.sql") },
    Script { version: 2, sql: include_str!("migrations/sqlite/0002.sql") },
    Script { version: 3, sql: include_str!("migrations/sqlite/0003.sql") },
    Script { version: 4, sql: include_str!("migrations/sqlite/0004.sql") },
    Script { version: 5, sql: include_str!("migrations/sqlite/0005.sql") },
    Script { version: 6, sql: include_str!("migrations/sqlite/0006.sql") },
    Script { version: 7, sql: include_str!("migrations/sqlite/0007.sql") },
    Script { version: 8, sql: include_str!("migrations/sqlite/0008.sql") },
    Script { version: 9, sql: include_str!("migrations/sqlite/0009.sql") },
];

/// Marks our files in SQLite's header: "Bltz".
const APPLICATION_ID: i32 = 0x426c_747a;

const BOOKKEEPING: &str = "CREATE TABLE schema_migrations (
    version    INTEGER PRIMARY KEY,
    checksum   TEXT NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT";

/// What a store says of itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoreInfo {
    /// Its random name, made at creation.
    pub(crate) store_id: String,
    /// Which master key its secrets are sealed under, and which comes.
    pub(crate) keys: KeyState,
    version: u32,
}

/// Reads whose file this is; `None` if it is empty. Changes nothing.
///
/// Errors: `storage` for a file of another program, a newer version, or a differing build.
pub(crate) fn inspect(connection: &Connection, scripts: &[Script]) -> Result<Option<StoreInfo>> {
    // One snapshot for all of it: another process may be making the store just now.
    let snapshot = connection.unchecked_transaction().map_err(|cause| error(&cause))?;
    judge(&snapshot, scripts)
}

fn judge(connection: &Connection, scripts: &[Script]) -> Result<Option<StoreInfo>> {
    let mark: i32 = pragma(connection, "application_id")?;
    let version: i64 = pragma(connection, "user_version")?;
    let tables: i64 = value(connection, "SELECT count(*) FROM sqlite_schema")?.unwrap_or(0);
    match (mark, version) {
        (0, 0) if tables == 0 => Ok(None),
        (APPLICATION_ID, 1..) => known(connection, scripts, version).map(Some),
        _ => Err(Error::storage("the file is a database of another program: give another path")),
    }
}

fn known(connection: &Connection, scripts: &[Script], version: i64) -> Result<StoreInfo> {
    let version = match u32::try_from(version) {
        Ok(version) if version <= latest(scripts) => version,
        _ => {
            let ours = latest(scripts);
            return Err(Error::storage(format!(
                "the database has schema {version}, this version knows {ours}: use a newer version of Blitz"
            )));
        }
    };
    for script in scripts.iter().filter(|script| script.version <= version) {
        let applied = connection
            .query_row("SELECT checksum FROM schema_migrations WHERE version = ?1", [script.version], |row| {
                row.get::<_, String>(0)
            })
            .optional()
            .map_err(|cause| error(&cause))?;
        if applied.as_deref() != Some(checksum(script).as_str()) {
            return Err(Error::storage(format!(
                "step {} of the schema differs from what this version has: the file comes from a differing build",
                script.version
            )));
        }
    }
    let change = match optional_info(connection, "next_key_id")? {
        None => None,
        Some(next_id) => Some(KeyChange {
            next_id,
            next: info(connection, "next_key")?,
            previous: info(connection, "previous_key")?,
        }),
    };
    let carried = optional_info(connection, "carried_keys")?;
    let keys = KeyState { key_id: info(connection, "key_id")?, carried, change };
    Ok(StoreInfo { store_id: info(connection, "store_id")?, keys, version })
}

/// Brings the database to the last of `scripts`; all of it is applied or nothing.
///
/// Processes may do this at once: the first applies, the others find it done. `create_keys` is
/// called for a new store, inside the transaction. A store with data is copied to
/// `<db>.backup-v<N>` first.
pub(crate) fn run(
    connection: &Connection,
    scripts: &[Script],
    path: Option<&Path>,
    limit: Duration,
    create_keys: &dyn Fn() -> Result<Keys>,
) -> Result<StoreInfo> {
    if let Some(info) = inspect(connection, scripts)? {
        if info.version == latest(scripts) {
            return Ok(info);
        }
        if let Some(path) = path {
            back_up(connection, path, info.version)?;
        }
    }
    patiently(limit, || connection.execute_batch("BEGIN IMMEDIATE"))?;
    let outcome = apply(connection, scripts, create_keys)
        .and_then(|info| connection.execute_batch("COMMIT").map_err(|cause| error(&cause)).map(|()| info));
    if outcome.is_err() && !connection.is_autocommit() {
        // The first error is the one to tell.
        let _ = connection.execute_batch("ROLLBACK");
    }
    outcome
}

fn apply(connection: &Connection, scripts: &[Script], create_keys: &dyn Fn() -> Result<Keys>) -> Result<StoreInfo> {
    let found = judge(connection, scripts)?;
    let version = found.as_ref().map_or(0, |info| info.version);
    if found.is_none() {
        batch(connection, BOOKKEEPING)?;
    }
    for script in scripts.iter().filter(|script| script.version > version) {
        batch(connection, script.sql)?;
        connection
            .execute(
                "INSERT INTO schema_migrations (version, checksum, applied_at) VALUES (?1, ?2, ?3)",
                (script.version, checksum(script), Timestamp::now().0),
            )
            .map_err(|cause| error(&cause))?;
    }
    if found.is_none() {
        set_info(connection, "store_id", &hex(&random::<16>()))?;
        set_info(connection, "key_id", &create_keys()?.key_id())?;
    }
    let broken: Option<String> = value(connection, "SELECT \"table\" FROM pragma_foreign_key_check LIMIT 1")?;
    if broken.is_some() {
        return Err(Error::storage("the schema cannot be brought up to date: records refer to others that are gone"));
    }
    connection
        .pragma_update(None, "application_id", APPLICATION_ID)
        .and_then(|()| connection.pragma_update(None, "user_version", latest(scripts)))
        .map_err(|cause| error(&cause))?;
    judge(connection, scripts)?.ok_or_else(|| Error::internal("a new store is empty"))
}

/// Copies the store beside itself before its first step.
///
/// The copy is taken under a name of its own: another process may be done with the steps by now,
/// and its backup must not be replaced by a copy of the new schema.
fn back_up(connection: &Connection, path: &Path, version: u32) -> Result<()> {
    let backup = beside(path, &format!(".backup-v{version}"));
    let draft = beside(path, &format!(".backup-v{version}.{}", hex(&random::<8>())));
    let outcome = write_backup(connection, &draft, &backup, version);
    if outcome.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    outcome
}

fn write_backup(connection: &Connection, draft: &Path, backup: &Path, version: u32) -> Result<()> {
    connection.execute("VACUUM INTO ?1", [draft.to_string_lossy()]).map_err(|cause| error(&cause))?;
    let copied: i64 = Connection::open(draft)
        .and_then(|copy| copy.pragma_query_value(None, "user_version", |row| row.get(0)))
        .map_err(|cause| error(&cause))?;
    let settled = if copied == i64::from(version) {
        std::fs::File::open(draft).and_then(|file| file.sync_all()).and_then(|()| std::fs::rename(draft, backup))
    } else {
        std::fs::remove_file(draft)
    };
    settled.map_err(|cause| Error::storage("the backup before the change of the schema failed").with_source(cause))
}

fn latest(scripts: &[Script]) -> u32 {
    scripts.last().map_or(0, |script| script.version)
}

fn checksum(script: &Script) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, script.sql.as_bytes()).as_ref())
}

fn info(connection: &Connection, key: &str) -> Result<String> {
    connection
        .query_row("SELECT value FROM store_info WHERE key = ?1", [key], |row| row.get(0))
        .map_err(|cause| error(&cause))
}

fn optional_info(connection: &Connection, key: &str) -> Result<Option<String>> {
    connection
        .query_row("SELECT value FROM store_info WHERE key = ?1", [key], |row| row.get(0))
        .optional()
        .map_err(|cause| error(&cause))
}

fn set_info(connection: &Connection, key: &str, value: &str) -> Result<()> {
    connection
        .execute("INSERT INTO store_info (key, value) VALUES (?1, ?2)", [key, value])
        .map(|_| ())
        .map_err(|cause| error(&cause))
}

fn batch(connection: &Connection, sql: &str) -> Result<()> {
    connection.execute_batch(sql).map_err(|cause| error(&cause))
}

fn pragma<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> Result<T> {
    connection.pragma_query_value(None, name, |row| row.get(0)).map_err(|cause| error(&cause))
}

fn value<T: rusqlite::types::FromSql>(connection: &Connection, sql: &str) -> Result<Option<T>> {
    connection.query_row(sql, [], |row| row.get(0)).optional().map_err(|cause| error(&cause))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::error::ErrorCode;
    use crate::store::seal::{KeySource, MasterKey};

    const LIMIT: Duration = Duration::from_secs(10);
    /// The first step alone, and a made-up second one.
    const FIRST: &[Script] = &[first()];
    const NEXT: &[Script] = &[first(), Script { version: 2, sql: "CREATE TABLE more (id INTEGER PRIMARY KEY) STRICT" }];

    const fn first() -> Script {
        Script { version: 1, sql: SCRIPTS[0].sql }
    }

    fn keys() -> Result<Keys> {
        KeySource::Host(MasterKey::random()).create()
    }

    fn bring(path: &Path, scripts: &[Script]) -> Result<StoreInfo> {
        let connection = connection(path);
        run(&connection, scripts, Some(path), LIMIT, &keys)
    }

    fn connection(path: &Path) -> Connection {
        let connection = Connection::open(path).expect("it opens");
        connection.pragma_update(None, "foreign_keys", true).expect("a setting");
        connection
    }

    fn new() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.db");
        (folder, path)
    }

    fn names(folder: &tempfile::TempDir) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn scripts_are_numbered_without_a_gap() {
        assert!(SCRIPTS.iter().zip(1..).all(|(script, number)| script.version == number));
    }

    #[test]
    fn a_new_store_has_a_name_of_its_own_and_keeps_it() {
        let (folder, path) = new();
        let info = bring(&path, SCRIPTS).expect("a new store");
        assert_eq!(info.store_id.len(), 32);
        assert_eq!(bring(&path, SCRIPTS).expect("the same store"), info);
        assert_eq!(names(&folder), ["a.db"], "an empty store needs no backup");
        let (_other, path) = new();
        assert_ne!(bring(&path, SCRIPTS).expect("another store").store_id, info.store_id);
    }

    #[test]
    fn a_step_keeps_the_data_and_a_backup_of_it() {
        let (folder, path) = new();
        let info = bring(&path, FIRST).expect("a new store");
        connection(&path).execute("INSERT INTO store_info VALUES ('mine', 'kept')", []).expect("a record");
        let after = bring(&path, NEXT).expect("a step");
        assert_eq!((after.store_id, after.version), (info.store_id.clone(), 2));
        assert_eq!(super::info(&connection(&path), "mine").expect("the record"), "kept");

        assert_eq!(names(&folder), ["a.db", "a.db.backup-v1"]);
        let backup = connection(&folder.path().join("a.db.backup-v1"));
        assert_eq!(inspect(&backup, FIRST).expect("a store"), Some(info));
        assert_eq!(super::info(&backup, "mine").expect("the record"), "kept");
    }

    #[test]
    fn t74_a_newer_schema_is_refused() {
        let (_folder, path) = new();
        bring(&path, NEXT).expect("a new store");
        let error = bring(&path, FIRST).expect_err("too new");
        assert_eq!(error.code(), ErrorCode::Storage);
        assert!(error.to_string().contains("schema 2, this version knows 1"), "{error}");
    }

    #[test]
    fn a_step_that_fails_leaves_the_store_as_it_was() {
        const BROKEN: &[Script] =
            &[first(), Script { version: 2, sql: "CREATE TABLE more (id INTEGER); INSERT INTO nowhere VALUES (1)" }];
        const ORPHANS: &[Script] = &[
            first(),
            Script {
                version: 2,
                sql: "PRAGMA defer_foreign_keys = ON;
                      INSERT INTO resource_versions VALUES (99, 1, 'nothing', 0)",
            },
        ];
        let (_folder, path) = new();
        let info = bring(&path, FIRST).expect("a new store");
        for scripts in [BROKEN, ORPHANS] {
            bring(&path, scripts).expect_err("the step fails");
            assert_eq!(bring(&path, FIRST).expect("as it was"), info);
        }
        assert!(bring(&path, NEXT).is_ok(), "the table of the failed step is not there");
    }

    #[test]
    fn a_script_that_differs_from_the_applied_one_is_noticed() {
        const EDITED: &[Script] = &[Script { version: 1, sql: "CREATE TABLE store_info (key, value)" }];
        let (_folder, path) = new();
        bring(&path, FIRST).expect("a new store");
        let error = bring(&path, EDITED).expect_err("another script");
        assert!(error.to_string().contains("differing build"), "{error}");
    }

    #[test]
    fn who_comes_second_finds_the_step_done() {
        for scripts in [FIRST, NEXT] {
            let (folder, path) = new();
            if scripts.len() > 1 {
                bring(&path, FIRST).expect("a new store");
            }
            let start = std::sync::Barrier::new(6);
            let found: Vec<StoreInfo> = std::thread::scope(|scope| {
                let bringing: Vec<_> = (0..6)
                    .map(|_| {
                        scope.spawn(|| {
                            start.wait();
                            bring(&path, scripts).expect("the store")
                        })
                    })
                    .collect();
                bringing.into_iter().map(|thread| thread.join().expect("no panic")).collect()
            });
            assert!(found.iter().all(|info| *info == found[0]));
            let backup = folder.path().join("a.db.backup-v1");
            assert_eq!(backup.exists(), scripts.len() > 1);
            if backup.exists() {
                assert!(inspect(&connection(&backup), FIRST).expect("the old schema").is_some());
            }
            assert!(names(&folder).len() <= 2, "drafts are gone: {:?}", names(&folder));
        }
    }
}
