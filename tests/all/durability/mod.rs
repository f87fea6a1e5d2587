//! What survives: executions that were cut off anywhere go on, and nothing is lost, repeated or paid twice.
//!
//! [`recovery`], [`broken`], [`decisions`], [`cancelling`], [`settlement`] and [`owners`] cut engines off in one process, at
//! chosen places. [`records`] ends a process behind each journal record, [`kills`] at random
//! instants; both start this test program again as a worker.

mod broken;
mod budgets;
mod cancelling;
mod decisions;
mod kills;
mod owners;
mod poison;
mod records;
mod recovery;
mod rest;
mod settlement;
mod stage;
mod truth;
mod verdict;
mod worker;
