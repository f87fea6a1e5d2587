//! The store: one closure is one transaction.
//!
//! [`Store::write`] and [`Store::read`] take a synchronous closure over [`Connection`]. A write
//! closure is `Fn`: it has no side effect outside its transaction, because it may run again (a
//! group rolled back by a full disk re-runs each closure alone). It checks before it writes, so a
//! refusal needs no undoing. A closure touches at most 1,000 rows.
//!
//! SQL lives in this room only: the repositories (`catalog`, `executions`, `ledger`, `access`,
//! `audit`) are plain functions over the trait, written once for every backend.

pub(crate) mod access;
pub(crate) mod audit;
pub(crate) mod boot;
pub(crate) mod catalog;
#[cfg(test)]
pub(crate) mod conformance;
pub(crate) mod executions;
pub(crate) mod ledger;
pub(crate) mod migrate;
pub(crate) mod prices;
pub(crate) mod seal;
pub(crate) mod sql;
pub(crate) mod sqlite;
pub(crate) mod triggers;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::error::{Error, Result};
pub(crate) use sql::{Connection, Row, SqlValue};
pub(crate) use sqlite::{Durability, OpenOptions, Opened, open, tells_busy};

/// A transaction on its way to the backend.
pub(crate) trait Job: Send {
    /// Runs the body and keeps its value. `Err` leaves nothing behind; it may be run again.
    fn run(&mut self, connection: &mut dyn Connection) -> Result<()>;

    /// Tells the caller, once: after the commit, or why there was none.
    fn finish(self: Box<Self>, outcome: Result<()>);
}

/// What differs between databases.
pub(crate) trait Backend: Send + Sync {
    /// Queues a write. Never blocks; many jobs may share one commit.
    fn write(&self, job: Box<dyn Job>);

    /// Queues a read on a snapshot of its own.
    fn read(&self, job: Box<dyn Job>);

    /// Ends the work: what is queued is still done, then files are closed. Later jobs get `Closed`.
    ///
    /// Blocks until then, so call it off the async threads. A second call does nothing.
    fn close(&self);
}

/// A handle on the database. Cloning it is cheap.
#[derive(Clone)]
pub(crate) struct Store {
    backend: Arc<dyn Backend>,
}

impl Store {
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend }
    }

    /// Runs `body` in one write transaction; resolves after its commit.
    ///
    /// The job is queued by the call itself: dropping the future does not take it back.
    pub(crate) fn write<T, F>(&self, body: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Connection) -> Result<T> + Send + 'static,
    {
        let (job, answer) = job(body);
        self.backend.write(job);
        answer
    }

    /// Runs `body` on a snapshot of the database.
    pub(crate) fn read<T, F>(&self, body: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Connection) -> Result<T> + Send + 'static,
    {
        let (job, answer) = job(body);
        self.backend.read(job);
        answer
    }

    /// Ends the work of the backend; see [`Backend::close`].
    pub(crate) fn close(&self) {
        self.backend.close();
    }
}

/// A closure, the value of its last run, and who waits for it.
struct Transaction<T, F> {
    body: F,
    value: Option<T>,
    done: oneshot::Sender<Result<T>>,
}

impl<T, F> Job for Transaction<T, F>
where
    T: Send,
    F: Fn(&mut dyn Connection) -> Result<T> + Send,
{
    fn run(&mut self, connection: &mut dyn Connection) -> Result<()> {
        self.value = None;
        self.value = Some((self.body)(connection)?);
        Ok(())
    }

    fn finish(self: Box<Self>, outcome: Result<()>) {
        // What the body holds is let go before the caller goes on: it may be the last to hold it then.
        let Self { value, done, body } = *self;
        drop(body);
        let answer = outcome.and_then(|()| value.ok_or_else(|| Error::internal("a transaction ended without a value")));
        // Nobody waits any more if the caller dropped its future; the commit stands.
        let _ = done.send(answer);
    }
}

fn job<T, F>(body: F) -> (Box<dyn Job>, impl Future<Output = Result<T>> + Send + use<T, F>)
where
    T: Send + 'static,
    F: Fn(&mut dyn Connection) -> Result<T> + Send + 'static,
{
    let (done, told) = oneshot::channel();
    let answer = async move { told.await.unwrap_or_else(|_| Err(closed())) };
    (Box::new(Transaction { body, value: None, done }), answer)
}

/// What a call after [`Store::close`] gets.
pub(crate) fn closed() -> Error {
    Error::closed("the database is closed: open the engine again")
}

/// A neighbour of a file: its path with something behind it.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

/// A fresh store in memory, for the tests of every room.
#[cfg(test)]
pub(crate) fn memory() -> Opened {
    open(&OpenOptions::new(":memory:")).expect("a store in memory opens")
}

/// The hash that content is known by: hex SHA-256.
pub(crate) fn content_hash(content: &[u8]) -> String {
    seal::hex(ring::digest::digest(&ring::digest::SHA256, content).as_ref())
}

/// Where a page begins. Errors: `InvalidInput` for a cursor that no page gave.
pub(crate) fn cursor(page: &crate::domain::ListOptions) -> Result<Option<i64>> {
    page.cursor.as_ref().map(|_| page.after_id()).transpose()
}
