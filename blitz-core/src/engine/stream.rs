//! Reading an execution's events: what is written, then what comes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::DropGuard;

use super::Session;
use crate::access::ExecutionStore;
use crate::domain::{Event, EventData, ExecutionId};
use crate::error::{Error, Result};
use crate::store::executions::journal;

/// How often the journal of an execution in another process is read.
const POLL: Duration = Duration::from_millis(100);
/// Events that are read from the journal at once.
const PAGE: u32 = 500;

/// What a running execution tells whoever hears it.
type Live = broadcast::Receiver<Arc<Event>>;

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
        let events = futures_util::stream::unfold(reader, |mut reader| async move {
            let item = reader.next().await?;
            Some((item, reader))
        });
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
    /// The last state event that was given out.
    last: i64,
    live: Option<Live>,
    ready: VecDeque<Event>,
    /// Whether the journal had more than the page that was read.
    behind: bool,
    /// Whether the last event that was given out is the root's end.
    finished: bool,
    ended: bool,
}

impl Reader {
    fn new(live: Option<Live>, owned: Option<ExecutionStore>, session: Session, root: ExecutionId, last: i64) -> Self {
        Self { session, root, owned, last, live, ready: VecDeque::new(), behind: false, finished: false, ended: false }
    }

    async fn next(&mut self) -> Option<Result<Event>> {
        if self.live.is_none() {
            // Before the first look into the journal, so that nothing falls between the two.
            self.live = Some(self.session.inner.runtime.hub.subscribe(self.root));
            if let Err(error) = self.read_journal().await {
                self.ended = true;
                return Some(Err(error));
            }
        }
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(self.give(event)));
            }
            if self.ended {
                return None;
            }
            if self.finished && !self.behind {
                self.ended = true;
                return None;
            }
            let further = if self.behind { self.read_journal().await } else { self.wait().await };
            if let Err(error) = further {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }

    fn give(&mut self, mut event: Event) -> Event {
        if event.seq == 0 {
            event.seq = self.last;
        } else {
            self.last = event.seq;
        }
        // The end is the last, unless the journal goes on behind it: it was redriven.
        self.finished = event.execution_id == self.root && matches!(event.data, EventData::ExecutionFinished(_));
        if self.finished {
            let last = self.last;
            self.ready.retain(|event| event.seq > last);
        }
        event
    }

    /// Waits for a live event, or for the next look into the journal.
    async fn wait(&mut self) -> Result<()> {
        let runs_here = self.session.inner.runtime.runs(self.root);
        let Some(live) = &mut self.live else { return Ok(()) };
        let heard = if runs_here {
            live.recv().await
        } else {
            tokio::time::timeout(POLL, live.recv()).await.unwrap_or(Err(RecvError::Lagged(0)))
        };
        match heard {
            Ok(event) if event.seq == 0 || event.seq == self.last + 1 => self.ready.push_back(Event::clone(&event)),
            Ok(event) if event.seq <= self.last => {}
            Ok(_) => self.read_journal().await?,
            Err(RecvError::Lagged(_)) => {
                // The deltas that are still queued are older than what the journal now shows.
                *live = live.resubscribe();
                self.read_journal().await?;
            }
            Err(RecvError::Closed) => {
                // It no longer runs here: the rest is in the journal, or will be.
                self.read_journal().await?;
                if self.ready.is_empty() {
                    if self.session.inner.runtime.closing.is_cancelled() {
                        return Err(Error::interrupted("the engine closed while the execution ran"));
                    }
                    tokio::time::sleep(POLL).await;
                    self.live = Some(self.session.inner.runtime.hub.subscribe(self.root));
                    self.read_journal().await?;
                }
            }
        }
        Ok(())
    }

    async fn read_journal(&mut self) -> Result<()> {
        let (root, last) = (self.root, self.last);
        let events = match &self.owned {
            Some(store) => store.read(move |tx, _| journal(tx, root, last, PAGE)).await?,
            None => self.session.executions().events_after(root, last, PAGE).await?,
        };
        self.behind = events.len() == PAGE as usize;
        self.ready.extend(events);
        Ok(())
    }
}
