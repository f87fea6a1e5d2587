//! SQL over rusqlite: settings, prepared statements, values, and the one mapping of its errors.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::ffi;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{OpenFlags, PrepFlags, Statement};
use serde_json::json;

use super::{Durability, OpenOptions};
use crate::error::{Error, ErrorCode, Result};
use crate::store::{Connection, Row, SqlValue, seal};

/// What a connection is for.
#[derive(Clone, Copy)]
pub(super) enum Access<'a> {
    Memory,
    Write(&'a Path),
    Read(&'a Path),
}

/// Opens a connection with all its settings.
pub(super) fn connect(access: Access<'_>, options: &OpenOptions) -> Result<rusqlite::Connection> {
    let connection = open_raw(access).map_err(|cause| error(&cause))?;
    let synchronous = match options.durability {
        Durability::Full => "FULL",
        Durability::Process => "NORMAL",
    };
    settings(&connection, options.busy_limit).map_err(|cause| error(&cause))?;
    if let Access::Write(_) = access {
        // Changing the mode takes a lock for a moment that SQLite itself does not wait for.
        patiently(options.busy_limit, || connection.pragma_update(None, "journal_mode", "wal"))?;
        connection
            .pragma_update(None, "synchronous", synchronous)
            .and_then(|()| connection.pragma_update(None, "journal_size_limit", 64 << 20))
            .map_err(|cause| error(&cause))?;
    }
    if let Access::Read(_) = access {
        connection.pragma_update(None, "query_only", true).map_err(|cause| error(&cause))?;
    }
    Ok(connection)
}

fn open_raw(access: Access<'_>) -> rusqlite::Result<rusqlite::Connection> {
    // Each connection stays on one thread at a time, so SQLite needs no mutex of its own.
    let base = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    match access {
        Access::Memory => rusqlite::Connection::open_in_memory(),
        Access::Read(path) => rusqlite::Connection::open_with_flags(path, base | OpenFlags::SQLITE_OPEN_READ_ONLY),
        Access::Write(path) => rusqlite::Connection::open_with_flags(
            path,
            base | OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        ),
    }
}

fn settings(connection: &rusqlite::Connection, busy_limit: Duration) -> rusqlite::Result<()> {
    connection.busy_timeout(busy_limit)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // One plan for a statement, whatever is bound: planning it anew costs more than running it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // "text" in double quotes is a name and never quietly a string.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    // A plan holds for every value that is bound: else SQLite plans a statement anew at each call
    // whose values it could weigh against the condition of a partial index.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Lets a connection whose log was deleted end without a change of the database.
pub(super) fn keep_log_apart(connection: &rusqlite::Connection) {
    // It fails for no option that this version of SQLite knows.
    let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
}

/// Leaves the file as tidy as it can: statistics for the planner, the log folded in.
pub(super) fn finish(connection: rusqlite::Connection) {
    if connection.db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE).unwrap_or_default() {
        let _ = connection.close();
        return;
    }
    // All of it is a courtesy to the next opening; SQLite recovers without it.
    let _ = connection.execute_batch("PRAGMA optimize");
    let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    let _ = connection.close();
}

/// A connection with its prepared statements, kept by the address of their text.
pub(super) struct Session<'c> {
    connection: &'c rusqlite::Connection,
    /// Every text is `'static`, so its address names it: no text is hashed, none is copied.
    statements: HashMap<(usize, usize), Statement<'c>>,
}

impl<'c> Session<'c> {
    pub(super) fn new(connection: &'c rusqlite::Connection) -> Self {
        Self { connection, statements: HashMap::new() }
    }

    /// Runs a statement without values.
    pub(super) fn run(&mut self, sql: &'static str) -> rusqlite::Result<()> {
        self.statement(sql)?.raw_execute().map(|_| ())
    }

    /// Rows changed since the connection was opened.
    pub(super) fn total_changes(&self) -> u64 {
        self.connection.total_changes()
    }

    /// Whether a transaction is open.
    pub(super) fn in_transaction(&self) -> bool {
        !self.connection.is_autocommit()
    }

    fn statement(&mut self, sql: &'static str) -> rusqlite::Result<&mut Statement<'c>> {
        match self.statements.entry((sql.as_ptr() as usize, sql.len())) {
            Entry::Occupied(kept) => Ok(kept.into_mut()),
            Entry::Vacant(free) => {
                let statement = self.connection.prepare_with_flags(sql, PrepFlags::SQLITE_PREPARE_PERSISTENT)?;
                Ok(free.insert(statement))
            }
        }
    }

    /// Binds the values, lets `work` step the statement, and forgets the values again.
    fn with<T>(
        &mut self,
        sql: &'static str,
        params: &[SqlValue],
        work: impl FnOnce(&mut Statement<'c>) -> Result<T>,
    ) -> Result<T> {
        let statement = self.statement(sql).map_err(|cause| error(&cause))?;
        if statement.parameter_count() != params.len() {
            return Err(Error::internal("a statement got more or fewer values than it has places"));
        }
        for (index, value) in params.iter().enumerate() {
            statement.raw_bind_parameter(index + 1, value).map_err(|cause| error(&cause))?;
        }
        let outcome = work(statement);
        statement.clear_bindings();
        outcome
    }
}

impl Connection for Session<'_> {
    fn execute(&mut self, sql: &'static str, params: &[SqlValue]) -> Result<usize> {
        self.with(sql, params, |statement| statement.raw_execute().map_err(|cause| error(&cause)))
    }

    fn insert(&mut self, sql: &'static str, params: &[SqlValue]) -> Result<Option<i64>> {
        let inserted = self.execute(sql, params)? == 1;
        Ok(inserted.then(|| self.connection.last_insert_rowid()))
    }

    fn query_one(&mut self, sql: &'static str, params: &[SqlValue]) -> Result<Option<Row>> {
        self.with(sql, params, |statement| {
            let columns = statement.column_count();
            let mut rows = statement.raw_query();
            rows.next().map_err(|cause| error(&cause))?.map(|row| row_of(row, columns)).transpose()
        })
    }

    fn query_all(&mut self, sql: &'static str, params: &[SqlValue]) -> Result<Vec<Row>> {
        self.with(sql, params, |statement| {
            let columns = statement.column_count();
            let mut rows = statement.raw_query();
            let mut all = Vec::new();
            while let Some(row) = rows.next().map_err(|cause| error(&cause))? {
                all.push(row_of(row, columns)?);
            }
            Ok(all)
        })
    }
}

fn row_of(row: &rusqlite::Row<'_>, columns: usize) -> Result<Row> {
    (0..columns)
        .map(|column| value_of(row.get_ref(column).map_err(|cause| error(&cause))?))
        .collect::<Result<Vec<_>>>()
        .map(Row)
}

fn value_of(value: ValueRef<'_>) -> Result<SqlValue> {
    match value {
        ValueRef::Null => Ok(SqlValue::Null),
        ValueRef::Integer(value) => Ok(SqlValue::Int(value)),
        ValueRef::Real(_) => Err(Error::internal("a query gave a floating point number: no column holds one")),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(SqlValue::Text(text.to_owned())),
            Err(_) => Err(damaged()),
        },
        ValueRef::Blob(bytes) => Ok(SqlValue::Blob(bytes.to_vec())),
    }
}

impl ToSql for SqlValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            SqlValue::Null => ValueRef::Null,
            SqlValue::Int(value) => ValueRef::Integer(*value),
            SqlValue::Text(text) => ValueRef::Text(text.as_bytes()),
            SqlValue::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// Tries again while another process holds the database, until `limit` is over.
///
/// The pauses grow and are random, so that processes do not march in step.
pub(in crate::store) fn patiently<T>(limit: Duration, mut attempt: impl FnMut() -> rusqlite::Result<T>) -> Result<T> {
    const LONGEST: Duration = Duration::from_millis(5);
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_micros(200);
    loop {
        match attempt() {
            Err(cause) if is_busy(&cause) && Instant::now() < deadline => {
                let [random] = seal::random::<1>();
                std::thread::sleep(pause / 2 + pause * u32::from(random) / 256);
                pause = (pause * 2).min(LONGEST);
            }
            other => return other.map_err(|cause| error(&cause)),
        }
    }
}

fn is_busy(cause: &rusqlite::Error) -> bool {
    matches!(cause.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked))
}

/// Whether an error of ours is that another process holds the database: what failed may be tried again.
pub(crate) fn tells_busy(error: &Error) -> bool {
    // Behind the low byte stands only why it is held.
    let code = error.details()["sqlite_code"].as_i64().map(|code| code & 0xff);
    [ffi::SQLITE_BUSY, ffi::SQLITE_LOCKED].into_iter().any(|busy| code == Some(i64::from(busy)))
}

/// The one mapping of SQLite's errors. No message holds SQL or values; the number is in the details.
pub(in crate::store) fn error(cause: &rusqlite::Error) -> Error {
    let Some(failure) = cause.sqlite_error() else {
        // Not SQLite but the way we called it. The text may hold SQL: it stays inside.
        return Error::internal("a database call of ours is wrong");
    };
    let mapped = match failure.extended_code {
        ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
            Error::conflict("a record with this name or key is there already")
        }
        // A quota or a file size limit shows as a failed write.
        ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE => full(),
        _ => match failure.code {
            rusqlite::ErrorCode::DiskFull => full(),
            rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked => {
                Error::storage("another process holds the database: close it there or try again later")
            }
            rusqlite::ErrorCode::DatabaseCorrupt => damaged(),
            rusqlite::ErrorCode::NotADatabase => Error::storage("the file is not a database"),
            rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::PermissionDenied => {
                Error::storage("the database cannot be written: check the rights of the file and its folder")
            }
            rusqlite::ErrorCode::CannotOpen => {
                Error::storage("the database cannot be opened: check the path and its rights")
            }
            rusqlite::ErrorCode::SystemIoFailure => Error::storage("the disk failed while the database was used"),
            rusqlite::ErrorCode::OutOfMemory => Error::storage("there is not enough memory for the database"),
            rusqlite::ErrorCode::TooBig => Error::too_large("a value is too large for the database"),
            rusqlite::ErrorCode::ConstraintViolation => Error::internal("a change breaks a rule of the schema"),
            _ => Error::internal("the database refused a statement of ours"),
        },
    };
    mapped.with_details(json!({ "sqlite_code": failure.extended_code }))
}

fn full() -> Error {
    Error::new(ErrorCode::StorageFull, "the disk or quota is full: free space and call again")
}

fn damaged() -> Error {
    Error::storage("the database file is damaged: restore a backup")
}
