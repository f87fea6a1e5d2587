//! What survives: executions that were cut off anywhere go on, and nothing is lost, repeated or paid twice.
//!
//! [`recovery`], [`decisions`], [`cancelling`] and [`owners`] cut engines off in one process, at
//! chosen places. [`records`] ends a process behind each journal record, [`kills`] at random
//! instants; both start this test program again as a worker.

mod cancelling;
mod decisions;
mod owners;
mod poison;
mod recovery;
mod stage;
