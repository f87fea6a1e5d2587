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
pub(crate) mod executions;
pub(crate) mod ledger;
pub(crate) mod migrate;
pub(crate) mod seal;
pub(crate) mod sql;
pub(crate) mod sqlite;

use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use crate::error::{Error, Result};
pub(crate) use sql::{Connection, Row, SqlValue};

/// A transaction's body as the backend runs it: `Ok` commits, `Err` leaves nothing behind.
pub(crate) type Body = Box<dyn Fn(&mut dyn Connection) -> Result<()> + Send>;

/// A transaction on its way to the backend.
pub(crate) struct Job {
    /// What to run; perhaps more than once.
    pub(crate) body: Body,
    /// Told once: after the commit, or why there was none.
    pub(crate) done: oneshot::Sender<Result<()>>,
}

/// What differs between databases.
pub(crate) trait Backend: Send + Sync {
    /// Queues a write. Never blocks; many jobs may share one commit.
    fn write(&self, job: Job);

    /// Queues a read on a snapshot of its own.
    fn read(&self, job: Job);

    /// Ends the work: what is queued is still done, then files are closed. Later jobs get `Closed`.
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

    /// Ends the work of the backend.
    pub(crate) fn close(&self) {
        self.backend.close();
    }
}

fn job<T, F>(body: F) -> (Job, impl Future<Output = Result<T>> + Send + use<T, F>)
where
    T: Send + 'static,
    F: Fn(&mut dyn Connection) -> Result<T> + Send + 'static,
{
    let slot = Arc::new(Mutex::new(None));
    let (done, told) = oneshot::channel();
    let result = Arc::clone(&slot);
    let body: Body = Box::new(move |connection| {
        let value = body(connection)?;
        *result.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(value);
        Ok(())
    });
    let answer = async move {
        told.await.map_err(|_| Error::closed("the database is closed"))??;
        let value = slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        value.ok_or_else(|| Error::internal("a transaction ended without its value"))
    };
    (Job { body, done }, answer)
}

/// The hash that content is known by: hex SHA-256.
pub(crate) fn content_hash(content: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, content);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where a page begins. Errors: `InvalidInput` for a cursor that no page gave.
pub(crate) fn cursor(page: &crate::domain::ListOptions) -> Result<Option<i64>> {
    let parse = |text: &String| text.parse().map_err(|_| Error::invalid("the cursor is not one that a page gave"));
    page.cursor.as_ref().map(parse).transpose()
}
