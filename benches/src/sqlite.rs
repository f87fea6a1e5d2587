//! Bare SQLite, as a careful program uses it: the floors of everything that is durable.

use std::path::Path;

use rusqlite::{Connection, Statement, params};

use crate::Result;

const SCHEMA: &str = "CREATE TABLE steps (id INTEGER PRIMARY KEY, execution_id INTEGER NOT NULL, seq INTEGER NOT NULL, \
    at INTEGER NOT NULL, path TEXT NOT NULL, data TEXT NOT NULL) STRICT";
const INSERT_STEP: &str = "INSERT INTO steps (execution_id, seq, at, path, data) VALUES (?1, ?2, ?3, ?4, ?5)";
const DATA: &str = r#"{"kind":"model","key":"1/model","response":{"parts":[{"type":"text","text":"The answer is 5."}],"finish":"stop"},"usage":{"input_tokens":40,"output_tokens":12,"requests":1},"cost":221000}"#;

/// How many executions take steps at once.
pub const EXECUTIONS: u64 = 64;

/// A new database in WAL mode, whose commits wait for the disk, with the plainest table that can hold steps.
pub fn create(folder: &Path) -> Result<Connection> {
    let connection = Connection::open(folder.join("floor.db"))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

/// The statement that writes a step.
pub fn step_statement(connection: &Connection) -> Result<Statement<'_>> {
    Ok(connection.prepare(INSERT_STEP)?)
}

/// Writes one step of one of the executions that take turns.
pub fn write_step(statement: &mut Statement<'_>, number: u64) -> Result<()> {
    let (execution, seq) = (number % EXECUTIONS, number / EXECUTIONS);
    statement.execute(params![execution as i64, seq as i64, 1_700_000_000_000_000i64, "1/model", DATA])?;
    Ok(())
}

/// Opens the database again and reads every step.
pub fn read_all(folder: &Path) -> Result<u64> {
    let connection = Connection::open(folder.join("floor.db"))?;
    let mut statement =
        connection.prepare("SELECT execution_id, seq, path, data FROM steps ORDER BY execution_id, seq")?;
    let mut rows = statement.query([])?;
    let mut read = 0;
    while let Some(row) = rows.next()? {
        read += row.get_ref(3)?.as_str()?.len() as u64;
    }
    Ok(read)
}
