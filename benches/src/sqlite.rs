//! Bare SQLite, as a careful program uses it: the floors of everything that is durable.

use std::path::Path;

use rusqlite::{Connection, Statement, params};

use crate::Result;

const SCHEMA: &str = include_str!("../../blitz-core/src/store/migrations/sqlite/0001.sql");
const INSERT_STEP: &str = "INSERT INTO journal (root_id, seq, execution_id, at, path, type, schema, data) \
    VALUES (?1, ?2, ?1, ?3, ?4, 'step.finished', 1, ?5)";
const DATA: &str = r#"{"kind":"model","key":"1/model","response":{"parts":[{"type":"text","text":"The answer is 5."}],"finish":"stop"},"usage":{"input_tokens":40,"output_tokens":12,"requests":1},"cost":221000}"#;

/// How many executions take steps at once.
pub const EXECUTIONS: u64 = 64;

/// What a commit waits for.
#[derive(Clone, Copy)]
pub enum Durability {
    /// The disk: `synchronous=FULL`.
    Full,
    /// The operating system: `synchronous=NORMAL`.
    Process,
}

/// A new database with the engine's own schema, in WAL mode.
pub fn create(folder: &Path, durability: Durability) -> Result<Connection> {
    let connection = Connection::open(folder.join("floor.db"))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    let synchronous = match durability {
        Durability::Full => "full",
        Durability::Process => "normal",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
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
