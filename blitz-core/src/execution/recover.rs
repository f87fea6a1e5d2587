//! Recovery: load the journal, step through it, perform what is open.

use std::any::Any;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::driver::{Driver, ParentLine, Work};
use super::setup::Setup;
use super::state::State;
use super::turn::{Desk, Ids};
use super::{Runtime, Started};
use crate::access::{ExecutionStore, Standing};
use crate::domain::{Event, EventData, ExecutionId, ExecutionStatus, Outcome, Timestamp};
use crate::error::{Error, Result};
use crate::store::Connection;
use crate::store::executions::{self, Entry, ExecutionRow};

/// Records that are read at once.
const PAGE: u32 = 1000;

/// A root execution that this process has taken over.
pub(crate) struct Claimed {
    pub(crate) ids: Ids,
    pub(crate) setup: Arc<Setup>,
    pub(crate) state: State,
    pub(crate) deadline: Timestamp,
    pub(crate) cancel_requested: bool,
    pub(crate) last_seq: i64,
}

/// Takes over a root execution whose process is gone, in one transaction; `None` where another was faster.
pub(crate) fn claim(tx: &mut dyn Connection, now: Timestamp, row: &ExecutionRow, setup: &Arc<Setup>, boot_id: &str) -> Result<Option<(Claimed, Vec<Event>)>> {
    if !executions::claim(tx, row, boot_id)? {
        return Ok(None);
    }
    let epoch = row.epoch + 1;
    let resumed = Entry { execution_id: row.id, path: String::new(), data: EventData::ExecutionResumed { epoch } };
    let events = executions::append(tx, now, row.root_id, Some(epoch), vec![resumed])?;
    let (state, last_seq) = replay(tx, row, setup)?;
    let ids = Ids { id: row.id, root_id: row.root_id, epoch, depth: row.depth };
    let claimed = Claimed {
        ids,
        setup: Arc::clone(setup),
        state,
        deadline: row.deadline,
        cancel_requested: row.cancel_requested,
        last_seq,
    };
    Ok(Some((claimed, events)))
}

/// The state that an execution's journal says.
pub(crate) fn replay(tx: &mut dyn Connection, row: &ExecutionRow, setup: &Setup) -> Result<(State, i64)> {
    let mut state: Option<State> = None;
    let mut after = 0;
    loop {
        let events = executions::journal_of(tx, row.root_id, row.id, after, PAGE)?;
        for event in &events {
            if let (None, EventData::ExecutionQueued(queued)) = (&state, &event.data) {
                state = Some(setup.state(&queued.input)?);
            }
            let state = state.as_mut().ok_or_else(|| Error::storage("the journal of an execution lacks its beginning"))?;
            state.absorb(event.ts, &event.path, &event.data);
            state.tally.count(&event.data)?;
            after = event.seq;
        }
        if events.len() < PAGE as usize {
            break;
        }
    }
    state.map(|state| (state, after)).ok_or_else(|| Error::storage("the journal of an execution is empty"))
}

impl Runtime {
    /// Drives an execution that was taken over, in a task of its own.
    pub(crate) fn relaunch(
        self: &Arc<Self>,
        store: ExecutionStore,
        claimed: Claimed,
        session: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Started {
        let cancel = CancellationToken::new();
        if claimed.cancel_requested {
            cancel.cancel();
        }
        let mut work = Work::new(claimed.setup.agent().limits.max_parallel_tools);
        work.last_seq = claimed.last_seq;
        let driver = Driver {
            runtime: Arc::clone(self),
            store,
            work,
            setup: claimed.setup,
            ids: claimed.ids,
            state: claimed.state,
            deadline: claimed.deadline,
            cancel,
            session,
            parent: None,
        };
        self.spawn(driver, Driver::run_resumed)
    }
}

/// A child execution whose parent goes on.
pub(super) struct Child {
    pub(super) id: ExecutionId,
    pub(super) setup: Arc<Setup>,
    pub(super) parent: Ids,
    pub(super) line: ParentLine,
    pub(super) cancel: CancellationToken,
    pub(super) session: Option<Arc<dyn Any + Send + Sync>>,
}

impl Child {
    /// Gives the outcome of a child that had ended, else goes on with it.
    pub(super) async fn resume(self, runtime: Arc<Runtime>, store: ExecutionStore) -> Result<Outcome> {
        let (id, setup) = (self.id, Arc::clone(&self.setup));
        let (row, state, last_seq) = store
            .read(move |tx| {
                let row = executions::get(tx, id)?.ok_or_else(|| Error::storage("a child execution is missing"))?;
                let (state, last_seq) = replay(tx, &row, &setup)?;
                Ok((row, state, last_seq))
            })
            .await?;
        if let Some(finished) = row.finished {
            return Ok(state.outcome(id, finished));
        }
        let mut work = Work::new(self.setup.agent().limits.max_parallel_tools);
        work.last_seq = last_seq;
        work.status = (row.status, row.waiting_for);
        let driver = Driver {
            runtime,
            store,
            work,
            ids: Ids { id, root_id: self.parent.root_id, epoch: self.parent.epoch, depth: row.depth },
            setup: self.setup,
            state,
            deadline: row.deadline,
            cancel: self.cancel,
            session: self.session,
            parent: Some(self.line),
        };
        driver.run_resumed().await
    }
}
