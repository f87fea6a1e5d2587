//! The rows, one file each. A file holds the floor and everyone who is compared with it.

mod budget;
mod cost;
mod execution;
mod execution_alone;
mod prompt;
mod python;
mod python_start;
mod recovery;
mod schema;
mod step;
mod step_alone;
mod stream;
mod waiting;
mod waiting_idle;
mod workflow;
mod workflow_waiting;

use crate::Row;

/// Every row, in the order of the report.
pub const ROWS: &[&Row] = &[
    &execution::ROW,
    &execution_alone::ROW,
    &stream::BURSTS,
    &stream::PACKETS,
    &waiting::ROW,
    &waiting_idle::ROW,
    &recovery::ROW,
    &step::ROW,
    &step_alone::ROW,
    &workflow::SEQUENCE_TOGETHER,
    &workflow::SEQUENCE_RATE,
    &workflow::SEQUENCE_ALONE,
    &workflow::FAN_OUT_TOGETHER,
    &workflow::FAN_OUT_RATE,
    &workflow::FAN_OUT_ALONE,
    &workflow::MAP_TOGETHER,
    &workflow::MAP_TOGETHER_RATE,
    &workflow::MAP_ALONE,
    &workflow::MAP_RATE,
    &workflow_waiting::MEMORY,
    &workflow_waiting::RESUME,
    &budget::TOGETHER,
    &budget::TOGETHER_FULL,
    &budget::ALONE,
    &budget::ALONE_FULL,
    &schema::ROW,
    &prompt::ROW,
    &cost::ROW,
    &python::EXECUTION,
    &python::THREADS,
    &python::ALONE,
    &python::BURSTS,
    &python::PACKETS,
    &python_start::IMPORT,
    &python_start::IMPORT_MEMORY,
    &python_start::COLD,
];

/// The row of a name.
pub fn named(name: &str) -> Option<&'static Row> {
    ROWS.iter().copied().find(|row| row.name == name)
}

/// The runtime of the floors: one thread, which costs less than several.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
