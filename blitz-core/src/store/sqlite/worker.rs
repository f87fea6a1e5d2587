//! The threads of the store: group commit on one writer, snapshots on the readers.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::{self, Session, patiently};
use super::log::Log;
use super::{Job, error};
use crate::error::{Error, ErrorCode, Result};

/// Jobs in one commit at most: more only buys latency.
const GROUP: usize = 512;

/// How long a group takes further jobs, so that other processes get their turn.
const HOLD: Duration = Duration::from_millis(5);

/// A job for the writer. Reads come here only in memory, where there is one connection.
pub(super) enum Work {
    Write(Box<dyn Job>),
    Read(Box<dyn Job>),
}

impl Work {
    pub(super) fn into_job(self) -> Box<dyn Job> {
        match self {
            Work::Write(job) | Work::Read(job) => job,
        }
    }
}

/// Runs every job of the queue until it is closed and empty; gives the connection back.
pub(super) fn write_all(
    connection: rusqlite::Connection,
    queue: &Queue<Work>,
    busy_limit: Duration,
    log: Option<Log>,
) -> rusqlite::Connection {
    let _guard = Abandon(queue);
    // From here on the writer waits in `patiently`, whose pauses differ from one process to the next.
    let _ = connection.busy_timeout(Duration::ZERO);
    let mut writer = Writer {
        session: Session::new(&connection),
        queue,
        busy_limit,
        log,
        taken: VecDeque::new(),
        group: Vec::with_capacity(GROUP),
    };
    while let Some(work) = writer.wait() {
        match work {
            Work::Write(job) => writer.commit_group(job),
            Work::Read(job) => read(&mut writer.session, job),
        }
    }
    let lost = writer.log.as_ref().is_some_and(Log::is_lost);
    drop(writer);
    if lost {
        connection::keep_log_apart(&connection);
    }
    connection
}

/// Runs every job of the queue, each on a snapshot of its own, until it is closed and empty.
pub(super) fn read_all(connection: rusqlite::Connection, queue: &Queue<Box<dyn Job>>) {
    let mut session = Session::new(&connection);
    while let Some(job) = queue.pop() {
        read(&mut session, job);
    }
}

struct Writer<'a> {
    session: Session<'a>,
    queue: &'a Queue<Work>,
    busy_limit: Duration,
    /// Of a file; in memory there is none.
    log: Option<Log>,
    /// Jobs taken from the queue that have not run.
    taken: VecDeque<Work>,
    /// Jobs that ran in the open transaction, each with what it gave.
    group: Vec<(Box<dyn Job>, Result<()>)>,
}

impl Writer<'_> {
    /// The next job, waiting for one; `None` once the queue is closed and empty.
    fn wait(&mut self) -> Option<Work> {
        if self.taken.is_empty() && !self.queue.take(&mut self.taken) {
            return None;
        }
        self.taken.pop_front()
    }

    /// The next write that is there already. A read ends the group: it sees committed data only.
    fn next_write(&mut self) -> Option<Box<dyn Job>> {
        if self.taken.is_empty() {
            self.queue.take_waiting(&mut self.taken);
        }
        match self.taken.pop_front()? {
            Work::Write(job) => Some(job),
            read => {
                self.taken.push_front(read);
                None
            }
        }
    }

    /// Runs `first` and the writes waiting behind it in one transaction; tells their callers after
    /// its commit. What cannot be committed together runs again, each job alone.
    fn commit_group(&mut self, first: Box<dyn Job>) {
        if let Err(cause) = self.begin() {
            return self.refuse_waiting(first, &cause);
        }
        let started = Instant::now();
        let mut next = Some(first);
        while let Some(mut job) = next {
            let (outcome, intact) = self.attempt(&mut *job);
            self.group.push((job, outcome));
            if !intact {
                return self.run_one_by_one();
            }
            let full = self.group.len() == GROUP || started.elapsed() >= HOLD;
            next = if full { None } else { self.next_write() };
        }
        match self.session.run("COMMIT") {
            Ok(()) => match self.is_kept() {
                Ok(()) => self.group.drain(..).for_each(|(job, outcome)| job.finish(outcome)),
                Err(cause) => self.group.drain(..).for_each(|(job, _)| job.finish(Err(like(&cause)))),
            },
            Err(_) => self.run_one_by_one(),
        }
    }

    /// Whether what is committed is where the database is.
    fn is_kept(&mut self) -> Result<()> {
        self.log.as_mut().map_or(Ok(()), Log::check)
    }

    /// Undoes the group and runs its jobs again, each in a transaction of its own.
    ///
    /// The refused run again too: what they saw is undone.
    fn run_one_by_one(&mut self) {
        self.roll_back();
        let mut group = std::mem::take(&mut self.group);
        for (mut job, _) in group.drain(..) {
            let outcome = self.run_alone(&mut *job);
            job.finish(outcome);
        }
        self.group = group;
    }

    fn run_alone(&mut self, job: &mut dyn Job) -> Result<()> {
        self.begin()?;
        let outcome = match self.attempt(job) {
            (Ok(()), true) => self.session.run("COMMIT").map_err(|cause| error(&cause)).and_then(|()| self.is_kept()),
            (Ok(()), false) => Err(Error::storage("the database gave up the transaction: call again")),
            (Err(cause), _) => Err(cause),
        };
        if outcome.is_err() {
            self.roll_back();
        }
        outcome
    }

    /// Runs a job in the open transaction. The flag says whether the transaction can go on: not if
    /// the job failed behind a write, nor if SQLite itself rolled back (a full disk does that).
    fn attempt(&mut self, job: &mut dyn Job) -> (Result<()>, bool) {
        let before = self.session.total_changes();
        let outcome = guarded(job, &mut self.session);
        let clean = outcome.is_ok() || self.session.total_changes() == before;
        (outcome, clean && self.session.in_transaction())
    }

    fn begin(&mut self) -> Result<()> {
        self.is_kept()?;
        let session = &mut self.session;
        patiently(self.busy_limit, || session.run("BEGIN IMMEDIATE"))
    }

    fn roll_back(&mut self) {
        if self.session.in_transaction() {
            // It fails only where SQLite has rolled back already.
            let _ = self.session.run("ROLLBACK");
        }
    }

    /// No transaction can be begun: everyone who waits hears so now, not each after a wait of its own.
    fn refuse_waiting(&mut self, first: Box<dyn Job>, cause: &Error) {
        let again = || like(cause);
        // Taken before anybody is told: whoever hears it and calls again gets a wait of its own.
        let mut arrived = VecDeque::new();
        self.queue.take_waiting(&mut arrived);
        first.finish(Err(again()));
        for work in self.taken.drain(..).chain(arrived) {
            work.into_job().finish(Err(again()));
        }
    }
}

/// The same error once more, for another who waits.
fn like(cause: &Error) -> Error {
    Error::new(cause.code(), cause.to_string()).with_details(cause.details())
}

/// Runs a read job on a snapshot and tells its caller.
fn read(session: &mut Session<'_>, mut job: Box<dyn Job>) {
    let outcome = session.run("BEGIN").map_err(|cause| error(&cause)).and_then(|()| {
        let before = session.total_changes();
        let outcome = guarded(&mut *job, session);
        if session.total_changes() == before { outcome } else { Err(Error::internal("a read tried to write")) }
    });
    if session.in_transaction() {
        // Nothing was written; whatever the rollback says, there is nothing to keep.
        let _ = session.run("ROLLBACK");
    }
    job.finish(outcome);
}

/// Runs a job; a panic in it becomes an error that does not repeat what it said.
fn guarded(job: &mut dyn Job, session: &mut Session<'_>) -> Result<()> {
    catch_unwind(AssertUnwindSafe(|| job.run(session))).unwrap_or_else(|_| {
        Err(Error::new(ErrorCode::Panic, "a transaction panicked, nothing of it was kept: report this"))
    })
}

/// Jobs on their way to a thread. Closed, it takes no new ones and still hands out the old.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
}

struct State<T> {
    waiting: VecDeque<T>,
    /// Threads asleep: nobody is woken where nobody sleeps.
    asleep: usize,
    closed: bool,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State { waiting: VecDeque::new(), asleep: 0, closed: false }),
            arrived: Condvar::new(),
        }
    }

    /// Adds a job, or gives it back if the queue is closed.
    pub(super) fn push(&self, item: T) -> Result<(), T> {
        let mut state = self.lock();
        if state.closed {
            return Err(item);
        }
        state.waiting.push_back(item);
        let wake = state.asleep > 0;
        drop(state);
        if wake {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Takes no more jobs and wakes every thread.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    /// Takes one job, waiting for it; `None` once closed and empty.
    fn pop(&self) -> Option<T> {
        self.wait()?.waiting.pop_front()
    }

    /// Takes all jobs into an empty deque, waiting for the first; false once closed and empty.
    fn take(&self, into: &mut VecDeque<T>) -> bool {
        self.wait().map(|mut state| std::mem::swap(&mut state.waiting, into)).is_some()
    }

    /// Takes all jobs that are there into an empty deque.
    fn take_waiting(&self, into: &mut VecDeque<T>) {
        std::mem::swap(&mut self.lock().waiting, into);
    }

    fn wait(&self) -> Option<MutexGuard<'_, State<T>>> {
        let mut state = self.lock();
        while state.waiting.is_empty() {
            if state.closed {
                return None;
            }
            state.asleep += 1;
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.asleep -= 1;
        }
        Some(state)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Should the writer ever end before its queue does, nobody waits for it for ever.
struct Abandon<'a, T>(&'a Queue<T>);

impl<T> Drop for Abandon<'_, T> {
    fn drop(&mut self) {
        self.0.close();
        // Taken out first: what a job owns may well call the queue when it is dropped.
        let left = std::mem::take(&mut self.0.lock().waiting);
        drop(left);
    }
}
