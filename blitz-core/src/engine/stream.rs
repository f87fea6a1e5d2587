//! Reading an execution's events: what is written, then what comes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use tokio::sync::broadcast::{self, error::RecvError, error::TryRecvError};
use tokio_util::sync::DropGuard;

use super::Session;
use crate::access::ExecutionStore;
use crate::domain::{Event, EventData, ExecutionId};
use crate::error::{Error, Result};
use crate::execution::events::Batch;
use crate::store::executions::journal;
use crate::tool::permit::apart;

/// How often the journal of an execution in another process is read.
const POLL: Duration = Duration::from_millis(100);
/// Events that are read from the journal at once.
const PAGE: u32 = 500;

/// What a running execution tells whoever hears it.
type Live = broadcast::Receiver<Batch>;

/// How the owner of an execution hears it, whatever becomes of its session meanwhile.
pub(super) struct Ear {
    pub(super) live: Live,
    pub(super) store: ExecutionStore,
}

/// The events of a root execution and its children, in order, without a gap.
///
/// It ends behind the root's `execution.finished`. Deltas are live only: a slow reader misses some,
/// never a state event.
pub struct EventStream {
    events: BoxStream<'static, Result<Event>>,
    owner: Option<DropGuard>,
}

impl EventStream {
    pub(super) fn new(session: Session, root: ExecutionId, after: i64) -> Self {
        Self::of(Reader::new(None, None, session, root, after))
    }

    fn of(reader: Reader) -> Self {
        let batches = stream::try_unfold(Box::new(reader), |mut reader| async move {
            let batch = reader.next().await?;
            Ok::<_, Error>(if batch.is_empty() { None } else { Some((batch, reader)) })
        });
        let events = batches.map_ok(|batch| stream::iter(batch.into_iter().map(Ok::<_, Error>))).try_flatten();
        // Asked again behind its end, it has ended still.
        Self { events: Box::pin(events.fuse()), owner: None }
    }

    /// The events of an execution that `ear` hears from the very first.
    pub(super) fn from_the_first(session: Session, root: ExecutionId, ear: Ear) -> Self {
        Self::of(Reader::new(Some(ear.live), Some(ear.store), session, root, 0))
    }

    /// The events of an execution that was begun before; `owned` is its owner's way to them.
    pub(super) fn of_known(session: Session, root: ExecutionId, owned: Option<ExecutionStore>) -> Self {
        Self::of(Reader::new(None, owned, session, root, 0))
    }

    /// The same stream with a guard as the owner of its execution: dropped before the end, it cancels it.
    pub(super) fn owned_by(self, guard: Option<DropGuard>) -> Self {
        Self { owner: guard, ..self }
    }

    /// Gives up an execution that has ended, or that goes on without its owner.
    pub(super) fn disown(&mut self) {
        if let Some(guard) = self.owner.take() {
            guard.disarm();
        }
    }
}

impl Stream for EventStream {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.events.as_mut().poll_next(cx);
        if let Poll::Ready(None) = next {
            self.disown();
        }
        next
    }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").field("owning", &self.owner.is_some()).finish_non_exhaustive()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.live = None;
        self.session.inner.runtime.hub.left(self.root);
    }
}

struct Reader {
    session: Session,
    root: ExecutionId,
    /// The owner's way to the journal; any other reader asks the gate.
    owned: Option<ExecutionStore>,
    /// The last state event that was read.
    last: i64,
    live: Option<Live>,
    /// What was read and not yet given out.
    ready: Vec<Event>,
    /// Whether the journal had more than the page that was read.
    behind: bool,
    /// Whether the last event that was read is the root's end.
    finished: bool,
    /// Why nothing more can be read, behind what is ready.
    failed: Option<Error>,
}

impl Reader {
    fn new(live: Option<Live>, owned: Option<ExecutionStore>, session: Session, root: ExecutionId, last: i64) -> Self {
        Self { session, root, owned, last, live, ready: Vec::new(), behind: false, finished: false, failed: None }
    }

    /// All that is there; none at the end. Errors: nothing follows them.
    async fn next(&mut self) -> Result<Vec<Event>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.live.is_none() {
            // Before the first look into the journal, so that nothing falls between the two.
            self.live = Some(self.session.inner.runtime.hub.subscribe(self.root));
            self.read_journal().await?;
        }
        while self.ready.is_empty() && (self.behind || !self.finished) {
            let further = if self.behind { self.read_journal().await } else { self.wait_apart().await };
            match further {
                // What came in front of it has come all the same.
                Err(error) if !self.ready.is_empty() => self.failed = Some(error),
                further => further?,
            }
        }
        Ok(std::mem::take(&mut self.ready))
    }

    /// Puts an event behind those that are ready.
    fn take(&mut self, mut event: Event) {
        if event.seq == 0 {
            // The end is the last, unless the journal goes on behind it: it was redriven.
            if self.finished {
                return;
            }
            event.seq = self.last;
        } else {
            self.last = event.seq;
            self.finished = event.execution_id == self.root && matches!(event.data, EventData::ExecutionFinished(_));
        }
        self.ready.push(event);
    }

    /// Puts what was told at once behind what is ready, with what was missed before it.
    async fn take_all(&mut self, mut batch: Vec<Event>) -> Result<()> {
        let live = |event: &Event| event.seq == 0;
        if self.ready.is_empty() && !self.finished && batch.iter().all(live) {
            batch.iter_mut().for_each(|event| event.seq = self.last);
            self.ready = batch;
            return Ok(());
        }
        for event in batch {
            if live(&event) || event.seq == self.last + 1 {
                self.take(event);
            } else if event.seq > self.last {
                // It is in the journal, behind what is missing.
                self.read_journal().await?;
            }
        }
        Ok(())
    }

    /// Whoever waits for others does nothing meanwhile.
    async fn wait_apart(&mut self) -> Result<()> {
        let scope = self.session.scope.clone();
        apart(&scope, self.wait()).await
    }

    /// Waits for live events, or for the next look into the journal.
    async fn wait(&mut self) -> Result<()> {
        let runs_here = self.session.inner.runtime.runs(self.root);
        let Some(live) = &mut self.live else { return Ok(()) };
        let mut heard = if runs_here {
            live.recv().await
        } else {
            tokio::time::timeout(POLL, live.recv()).await.unwrap_or(Err(RecvError::Lagged(0)))
        };
        loop {
            match heard {
                Ok(batch) => self.take_all(Arc::unwrap_or_clone(batch)).await?,
                Err(RecvError::Lagged(_)) => {
                    // The deltas that are still queued are older than what the journal now shows.
                    self.live = self.live.as_ref().map(Live::resubscribe);
                    return self.read_journal().await;
                }
                Err(RecvError::Closed) => return self.left().await,
            }
            // Whatever else is there by now goes with it.
            heard = match self.live.as_mut().map(Live::try_recv) {
                Some(Ok(batch)) => Ok(batch),
                Some(Err(TryRecvError::Lagged(missed))) => Err(RecvError::Lagged(missed)),
                Some(Err(TryRecvError::Empty | TryRecvError::Closed)) | None => return Ok(()),
            };
        }
    }

    /// It no longer runs here: the rest is in the journal, or will be.
    async fn left(&mut self) -> Result<()> {
        self.read_journal().await?;
        if self.ready.is_empty() {
            if self.session.inner.runtime.closing.is_cancelled() {
                return Err(Error::interrupted("the engine closed while the execution ran"));
            }
            tokio::time::sleep(POLL).await;
            self.live = Some(self.session.inner.runtime.hub.subscribe(self.root));
            self.read_journal().await?;
        }
        Ok(())
    }

    async fn read_journal(&mut self) -> Result<()> {
        let (root, last) = (self.root, self.last);
        let (events, ended) = match &self.owned {
            // Its owner reads from the first event on, so the end is among what it reads.
            Some(store) => (store.read(move |tx, _| journal(tx, root, last, PAGE)).await?, false),
            None => self.session.executions().events_after(root, last, PAGE).await?,
        };
        // Somebody who has read all of it asks for what is behind.
        self.finished |= ended;
        self.behind = events.len() == PAGE as usize;
        events.into_iter().for_each(|event| self.take(event));
        Ok(())
    }
}
