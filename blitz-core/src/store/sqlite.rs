//! SQLite: one writer thread with group commit, a pool of readers.
//!
//! [`open`] looks before it touches: a file that is not ours, too new, damaged or sealed under
//! another key is refused, and nothing on disk has changed. The parts: `place` finds and judges the
//! file, `connection` is SQL over rusqlite and the one mapping of its errors, `worker` runs the
//! transactions.

mod connection;
mod log;
mod place;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod tests;
mod worker;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::boot::Boot;
use super::migrate;
use super::seal::{KeySource, Keys, MasterKey};
use super::{Backend, Job, Store, beside, closed};
use crate::domain::Secret;
use crate::error::{Error, Result};
use connection::Access;
pub(crate) use connection::tells_busy;
pub(super) use connection::{error, patiently};
use log::Log;
use place::{Location, Place};
use worker::{Queue, Work};

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// A power cut: each commit waits for the disk.
    #[default]
    Full,
    /// The death of the process; a power cut may take the last milliseconds.
    Process,
}

/// Where the database is and how it is opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// A path, `sqlite:path`, or `:memory:`.
    pub url: String,
    /// What a commit survives.
    pub durability: Durability,
    /// The host's master key: 32 bytes as 64 hex digits or as base64. Without one the engine keeps
    /// a key file `<db>.key` beside the database.
    pub master_key: Option<Secret>,
    /// Connections that read at the same time, at least one.
    pub readers: usize,
    /// How long a write waits for another process to let go of the database.
    pub busy_limit: Duration,
}

impl OpenOptions {
    /// The defaults for a database at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            durability: Durability::default(),
            master_key: None,
            readers: 4,
            busy_limit: Duration::from_secs(10),
        }
    }
}

/// An open store and what goes with it.
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) keys: Arc<Keys>,
    /// The random name of this store, made at its creation: 32 hex digits.
    pub(crate) store_id: String,
    pub(crate) boot: Boot,
}

/// Opens the database, creates it if there is none, brings it to this version's schema.
///
/// Blocks: call it off the async threads. Errors: `invalid_input` for a URL, path or key that cannot
/// be; `storage` for a file that is not ours, too new, damaged, locked or whose key is missing or
/// wrong, in which case nothing on disk has changed; `storage_full`.
pub(crate) fn open(options: &OpenOptions) -> Result<Opened> {
    let host_key = options.master_key.as_ref().map(MasterKey::parse).transpose()?;
    match Location::parse(&options.url)? {
        Location::Memory => open_memory(options, host_key.unwrap_or_else(MasterKey::random)),
        Location::File(path) => open_file(options, host_key, &path),
    }
}

fn open_memory(options: &OpenOptions, key: MasterKey) -> Result<Opened> {
    let connection = connection::connect(Access::Memory, options)?;
    let keys = KeySource::Host(key);
    let info = migrate::run(&connection, migrate::SCRIPTS, None, options.busy_limit, &|| keys.create())?;
    let backend = Sqlite::start(connection, Vec::new(), None, options)?;
    Ok(Opened {
        store: Store::new(Arc::new(backend)),
        keys: Arc::new(keys.open(&info.keys)?),
        store_id: info.store_id,
        boot: Boot::in_memory(),
    })
}

fn open_file(options: &OpenOptions, host_key: Option<MasterKey>, path: &Path) -> Result<Opened> {
    let place = Place::find(path)?;
    let keys = host_key.map_or_else(|| KeySource::File(beside(&place.database, ".key")), KeySource::Host);
    if let Some(info) = place.look(options.busy_limit)? {
        keys.open(&info.keys)?;
    }

    // From here on files appear. The lock file comes first: it shows whether the folder can be written.
    let boot = Boot::lock(&place.database)?;
    let writer = connection::connect(Access::Write(&place.database), options)?;
    let info = migrate::run(&writer, migrate::SCRIPTS, Some(&place.database), options.busy_limit, &|| keys.create())?;
    let keys = keys.open(&info.keys)?;
    let readers = (0..options.readers.max(1))
        .map(|_| connection::connect(Access::Read(&place.database), options))
        .collect::<Result<Vec<_>>>()?;
    let log = Log::new(beside(&place.database, "-wal"));
    let backend = Sqlite::start(writer, readers, Some(log), options)?;
    Ok(Opened { store: Store::new(Arc::new(backend)), keys: Arc::new(keys), store_id: info.store_id, boot })
}

/// The backend: queues in front of one writer thread and, for files, some reader threads.
struct Sqlite {
    writes: Arc<Queue<Work>>,
    /// `None` in memory, where the writer's connection is the only one.
    reads: Option<Arc<Queue<Box<dyn Job>>>>,
    threads: Mutex<Option<Threads>>,
    /// A forked child has the queues but none of the threads: there, close does nothing.
    process: u32,
}

struct Threads {
    writer: JoinHandle<rusqlite::Connection>,
    readers: Vec<JoinHandle<()>>,
}

impl Sqlite {
    fn start(
        writer: rusqlite::Connection,
        readers: Vec<rusqlite::Connection>,
        log: Option<Log>,
        options: &OpenOptions,
    ) -> Result<Self> {
        let writes = Arc::new(Queue::new());
        let reads = (!readers.is_empty()).then(|| Arc::new(Queue::new()));
        let busy_limit = options.busy_limit;
        let queue = Arc::clone(&writes);
        let writer = spawn("blitz-writer", move || worker::write_all(writer, &queue, busy_limit, log))?;
        let mut backend = Self { writes, reads: reads.clone(), threads: Mutex::new(None), process: std::process::id() };
        let mut threads = Threads { writer, readers: Vec::with_capacity(readers.len()) };
        if let Some(reads) = reads {
            for connection in readers {
                let queue = Arc::clone(&reads);
                threads.readers.push(spawn("blitz-reader", move || worker::read_all(connection, &queue))?);
            }
        }
        backend.threads = Mutex::new(Some(threads));
        Ok(backend)
    }
}

impl Backend for Sqlite {
    fn write(&self, job: Box<dyn Job>) {
        if let Err(Work::Write(job) | Work::Read(job)) = self.writes.push(Work::Write(job)) {
            job.finish(Err(closed()));
        }
    }

    fn read(&self, job: Box<dyn Job>) {
        let refused = match &self.reads {
            Some(reads) => reads.push(job).err(),
            None => self.writes.push(Work::Read(job)).err().map(Work::into_job),
        };
        if let Some(job) = refused {
            job.finish(Err(closed()));
        }
    }

    fn close(&self) {
        if std::process::id() != self.process {
            return;
        }
        self.writes.close();
        if let Some(reads) = &self.reads {
            reads.close();
        }
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(threads) = threads {
            threads.join();
        }
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.close();
    }
}

impl Threads {
    /// Waits for the threads. The writer's connection is closed last, so that SQLite folds the log
    /// into the database and removes it.
    fn join(self) {
        // A job may own the last handle on the store and drop it on one of these very threads.
        let current = thread::current().id();
        for reader in self.readers {
            if reader.thread().id() != current {
                // Panics of jobs are caught; were there another, its callers were told by the drop.
                let _ = reader.join();
            }
        }
        if self.writer.thread().id() != current
            && let Ok(connection) = self.writer.join()
        {
            connection::finish(connection);
        }
    }
}

fn spawn<T: Send + 'static>(name: &str, body: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    thread::Builder::new()
        .name(name.into())
        .spawn(body)
        .map_err(|cause| Error::storage("no thread for the database could be started").with_source(cause))
}
