//! Reading an execution's events: what is written, then what comes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::broadcast::{self, error::RecvError, error::TryRecvError};
use tokio_util::sync::{DropGuard, ReusableBoxFuture};

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
    /// What was read and not yet given out.
    ready: std::vec::IntoIter<Event>,
    reader: Option<Box<Reader>>,
    /// The reader while it reads. Its room is used again: a future a token would be paid for by each.
    reading: ReusableBoxFuture<'static, (Box<Reader>, Result<Vec<Event>>)>,
    owner: Option<DropGuard>,
}

impl EventStream {
    pub(super) fn new(session: Session, root: ExecutionId, after: i64) -> Self {
        Self::of(Reader::new(None, None, session, root, after))
    }

    fn of(reader: Reader) -> Self {
        let reading = ReusableBoxFuture::new(Reader::read(Box::new(reader)));
        Self { ready: Vec::new().into_iter(), reader: None, reading, owner: None }
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
        let this = &mut *self;
        loop {
            if let Some(event) = this.ready.next() {
                return Poll::Ready(Some(Ok(event)));
            }
            if let Some(reader) = this.reader.take() {
                this.reading.set(reader.read());
            }
            let (reader, read) = ready!(this.reading.poll(cx));
            let is_over = read.as_ref().is_ok_and(Vec::is_empty);
            this.reader = Some(reader);
            if is_over {
                this.disown();
                return Poll::Ready(None);
            }
            match read {
                Ok(events) => this.ready = events.into_iter(),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
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
    /// Nothing follows any more.
    over: bool,
    /// Whether the execution was found to run here since `live` was opened: then its end is heard.
    runs_here: bool,
}

impl Reader {
    fn new(live: Option<Live>, owned: Option<ExecutionStore>, session: Session, root: ExecutionId, last: i64) -> Self {
        Self {
            session,
            root,
            owned,
            last,
            live,
            ready: Vec::new(),
            behind: false,
            finished: false,
            failed: None,
            over: false,
            runs_here: false,
        }
    }

    /// Reads on, and comes back with what was read: nothing at the end. Nothing follows that, or an error.
    async fn read(mut self: Box<Self>) -> (Box<Self>, Result<Vec<Event>>) {
        let read = if self.over { Ok(Vec::new()) } else { self.next().await };
        self.over = read.as_ref().map_or(true, Vec::is_empty);
        (self, read)
    }

    /// All that is there; none at the end.
    async fn next(&mut self) -> Result<Vec<Event>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.live.is_none() {
            // Before the first look into the journal, so that nothing falls between the two.
            self.live = Some(self.session.inner.runtime.hub.subscribe(self.root));
            Box::pin(self.read_journal()).await?;
        }
        while self.ready.is_empty() && (self.behind || !self.finished) {
            let further = if self.behind { Box::pin(self.read_journal()).await } else { self.wait_apart().await };
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
                Box::pin(self.read_journal()).await?;
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
        self.runs_here = self.runs_here || self.session.inner.runtime.runs(self.root);
        let Some(live) = &mut self.live else { return Ok(()) };
        let mut heard = if self.runs_here {
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
                    return Box::pin(self.read_journal()).await;
                }
                Err(RecvError::Closed) => return Box::pin(self.left()).await,
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
        Box::pin(self.read_journal()).await?;
        self.runs_here = false;
        if self.ready.is_empty() {
            if self.session.inner.runtime.closing.is_cancelled() {
                return Err(Error::interrupted("the engine closed while the execution ran"));
            }
            tokio::time::sleep(POLL).await;
            self.live = Some(self.session.inner.runtime.hub.subscribe(self.root));
            Box::pin(self.read_journal()).await?;
        }
        Ok(())
    }

    /// Puts what the journal shows behind what is ready. Boxed by who waits for it: it is large and rare.
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
