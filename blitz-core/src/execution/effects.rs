//! Performs actions in the world: asks models, runs tools, waits. One task each, owned by its driver.

use std::any::Any;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::Value;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use super::Runtime;
use super::clock;
use super::drain::Abandoned;
use super::events::Teller;
use super::limits::{DeploymentKey, Pass};
use super::nodes::KeptEnd;
use super::turn::Ids;
use crate::access::ExecutionStore;
use crate::agent::partial::PartialOutput;
use crate::domain::{
    Delta, Event, EventData, ExecutionId, ModelRequest, ModelResponse, Outcome, Part, ReservationId, Timestamp,
    ToolCall,
};
use crate::error::{Charged, Error, ErrorCode, Result};
use crate::provider::{CallContext, Provider, RequestHeaders, StreamItem, structured};
use crate::tool::permit::{Bound, Permit};
use crate::tool::registry::{PreparedTool, ToolOutcome};
use crate::tool::{EffectScope, ToolContext};

/// What ended.
pub(crate) enum Happening {
    /// A model call.
    Model { key: String, attempt: u32, reservation: ReservationId, result: Result<ModelResponse>, delivered: u64 },
    /// A tool call.
    Tool(ToolEnd),
    /// A child execution; an error is the child's driver's, not the child's.
    Child { key: String, outcome: Result<Outcome> },
    /// An output that is kept was looked for.
    Looked { key: String, found: Option<Box<KeptEnd>> },
    /// A wait.
    Timer { key: String },
    /// A budget lets the model at another place make the next attempt.
    Downgraded { key: String, attempt: u32, place: usize, error: Error },
    /// A model call's turn has come in the lines of its limits, or comes too late.
    Admitted { key: String, result: Result<Pass> },
    /// A tool call's turn has come among the effects of the engine.
    Permitted { key: String, granted: Granted },
}

/// How a tool call ended.
pub(crate) struct ToolEnd {
    pub(crate) key: String,
    pub(crate) attempt: u32,
    pub(crate) outcome: ToolOutcome,
}

/// A model call that was reserved and is to be sent.
pub(crate) struct ModelCall {
    pub(crate) key: String,
    pub(crate) attempt: u32,
    pub(crate) reservation: ReservationId,
    pub(crate) request: ModelRequest,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) headers: RequestHeaders,
    pub(crate) deployment: Arc<DeploymentKey>,
    /// Its place in the lines of its limits, where it has any.
    pub(crate) pass: Option<Pass>,
    pub(crate) ids: Ids,
    pub(crate) timeout: Duration,
    pub(crate) delivered: Delivered,
    /// The session of whoever asked.
    pub(crate) session: Option<Arc<dyn Any + Send + Sync>>,
    /// Shows the output while it streams.
    pub(crate) partial: Option<Arc<PartialOutput>>,
    /// What it is booked by where nobody waits for it any more.
    pub(crate) store: ExecutionStore,
}

/// Whether a call was sent, and how many bytes of output have come so far: what is counted when it
/// breaks off.
///
/// Of an answer that comes whole nothing can be counted on the way, so it counts as all that it may be.
#[derive(Clone)]
pub(crate) struct Delivered(Arc<Progress>);

struct Progress {
    bytes: AtomicU64,
    /// How many answers come at once, of which one is read: the others may be as long.
    answers: u64,
    /// The text that has come, up to [`KEPT_TEXT`].
    text: Mutex<String>,
    /// [`WAITING`], [`SENT`] or [`WITHDRAWN`]: whoever changes it first decides.
    sent: AtomicU8,
    /// Whether it was booked as it stands, or is about to be: nobody hears what comes yet.
    abandoned: AtomicBool,
    /// Rings once that is written.
    booked: Notify,
}

/// So many pieces of an answer are told at once.
const TOGETHER: usize = 16;
/// So many bytes of a text are kept that breaks off.
const KEPT_TEXT: usize = 64 * 1024;

const WAITING: u8 = 0;
const SENT: u8 = 1;
const WITHDRAWN: u8 = 2;

impl Delivered {
    const UNCOUNTED: u64 = u64::MAX;

    pub(crate) fn new(streams: bool, answers: u64) -> Self {
        let bytes = AtomicU64::new(if streams { 0 } else { Self::UNCOUNTED });
        Self(Arc::new(Progress {
            bytes,
            answers,
            text: Mutex::default(),
            sent: AtomicU8::new(WAITING),
            abandoned: AtomicBool::new(false),
            booked: Notify::const_new(),
        }))
    }

    /// Whether the call is not sent and never will be: then it costs nothing.
    pub(crate) fn withdraw(&self) -> bool {
        self.decide(WITHDRAWN)
    }

    /// Whether the call may be sent: nobody has withdrawn it.
    fn send(&self) -> bool {
        self.decide(SENT)
    }

    fn decide(&self, to: u8) -> bool {
        match self.0.sent.compare_exchange(WAITING, to, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(was) => was == to,
        }
    }

    /// Nobody waits for it any more, and it is booked by what has come.
    pub(crate) fn abandon(&self) {
        self.0.abandoned.store(true, Ordering::Release);
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.abandoned.load(Ordering::Acquire)
    }

    /// Says that it is booked.
    pub(crate) fn book(&self) {
        self.0.booked.notify_one();
    }

    /// Waits until it is booked.
    pub(crate) async fn booked(&self) {
        self.0.booked.notified().await;
    }

    /// Bytes, and so the most tokens that they can be.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// The text so far, of a stream that breaks off; empty where none came.
    pub(crate) fn text(&self) -> String {
        std::mem::take(&mut *self.0.text.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Only the call itself counts, so nothing comes between the two.
    fn add(&self, delta: &Delta) {
        let before = if self.bytes() == Self::UNCOUNTED { 0 } else { self.bytes() };
        let came = delta_bytes(delta).saturating_mul(self.0.answers);
        self.0.bytes.store(before.saturating_add(came), Ordering::Relaxed);
        if let Delta::Text { text: more } = delta {
            let mut text = self.0.text.lock().unwrap_or_else(PoisonError::into_inner);
            let room = KEPT_TEXT.saturating_sub(text.len());
            text.push_str(&more[..more.floor_char_boundary(room)]);
        }
    }

    /// The whole answer is there.
    fn complete(&self, answer: &ModelResponse) {
        if self.bytes() == Self::UNCOUNTED {
            let calls = answer.message.tool_calls().map(|call| call.name.len() + call.arguments.len());
            let text = answer.message.parts.iter().map(|part| match part {
                Part::Text { text } | Part::Thinking { text, .. } | Part::Refusal { text } => text.len(),
                _ => 0,
            });
            let came = (text.sum::<usize>() + calls.sum::<usize>()) as u64;
            self.0.bytes.store(came.saturating_mul(self.0.answers), Ordering::Relaxed);
        }
    }

    /// There is no answer. Where it was read to its end, no more of it was made than came.
    fn failed(&self, error: &Error) {
        if error.charged() != Charged::Unknown && self.bytes() == Self::UNCOUNTED {
            self.0.bytes.store(0, Ordering::Relaxed);
        }
    }
}

impl ModelCall {
    /// Makes the call. Where answers are read on that nobody waits for any more, it has a task of its own, which
    /// outlives whoever waits for it.
    pub(crate) async fn perform(self, runtime: Arc<Runtime>) -> Happening {
        if runtime.draining.is_none() {
            return self.read(&runtime, std::future::pending()).await;
        }
        let (mut tell, told) = oneshot::channel();
        let (key, attempt, reservation) = (self.key.clone(), self.attempt, self.reservation);
        let host = Arc::clone(&runtime);
        runtime.spawn_call(async move {
            let abandoned = Abandoned::of(&self);
            let happening = self.read(&host, tell.closed()).await;
            if let Err(Happening::Model { result: Ok(answer), .. }) = tell.send(happening) {
                // Whoever waited went away just then.
                abandoned.read_on(&host, std::future::ready(Some(Ok(answer)))).await;
            }
        });
        told.await.unwrap_or_else(|_| {
            let result = Err(Error::interrupted("the call was broken off"));
            Happening::Model { key, attempt, reservation, result, delivered: Delivered::UNCOUNTED }
        })
    }

    /// Sends the request and reads the answer to its end, handing deltas to whoever listens until that is `gone`.
    async fn read(self, runtime: &Arc<Runtime>, gone: impl Future<Output = ()>) -> Happening {
        let abandoned = runtime.draining.as_ref().map(|_| Abandoned::of(&self));
        let Self {
            key,
            attempt,
            reservation,
            request,
            provider,
            headers,
            deployment,
            mut pass,
            ids,
            timeout,
            delivered,
            session,
            partial,
            store: _,
        } = self;
        let (mut trial, reads_on) = (None, AtomicBool::new(false));
        let mut shown = Shown::new(runtime, ids, &key, attempt, partial);
        let scope = pass.as_ref().map(Pass::scope).unwrap_or_default();
        let asked = AssertUnwindSafe(async {
            let provider = runtime.providers.answering(provider)?;
            if provider.is_remote() {
                trial = Some(runtime.deployments.of(&deployment).enter()?);
            }
            if !delivered.send() {
                return Err(Error::cancelled("the call was withdrawn before it was sent"));
            }
            if let Some(pass) = &mut pass {
                pass.sent();
            }
            let output_tool = request.output_tool.clone();
            let draining = runtime.draining.as_ref().filter(|_| provider.reads_on());
            reads_on.store(draining.is_some(), Ordering::Relaxed);
            let context = match draining {
                None => CallContext::new(timeout).asked_by(session),
                Some(draining) => {
                    // It may outlive the engine, which the session would keep.
                    drop(session);
                    CallContext::new(timeout + draining.time())
                }
            };
            let mut stream = structured::as_text(provider.stream(request, context.with_headers(headers)), output_tool);
            let mut unheard = 0;
            // What has come together is told together, once nothing more is there.
            poll_fn(|cx| {
                let end = loop {
                    match stream.as_mut().poll_next(cx) {
                        Poll::Ready(Some(Ok(StreamItem::Delta(delta)))) if delivered.is_abandoned() => {
                            delivered.add(&delta);
                            unheard += delta_bytes(&delta);
                            if draining.is_none_or(|draining| unheard > draining.bytes()) {
                                break Poll::Ready(Err(gave_up()));
                            }
                        }
                        Poll::Ready(Some(Ok(StreamItem::Delta(delta)))) => {
                            delivered.add(&delta);
                            shown.take(delta);
                        }
                        Poll::Ready(Some(Ok(StreamItem::Done(response)))) => break Poll::Ready(Ok(*response)),
                        Poll::Ready(Some(Err(error))) => break Poll::Ready(Err(error)),
                        Poll::Ready(None) => {
                            break Poll::Ready(Err(Error::bad_output("the model's stream ended without an answer")));
                        }
                        Poll::Pending => break Poll::Pending,
                    }
                };
                shown.tell();
                end
            })
            .await
            .inspect(|response| delivered.complete(response))
            .inspect_err(|error| delivered.failed(error))
        });
        let (result, heard) = {
            let mut asked = std::pin::pin!(scope.run(asked.catch_unwind()));
            tokio::select! {
                biased;
                () = gone => {
                    let answer = async { asked.await.ok() };
                    let read = match abandoned.filter(|_| reads_on.load(Ordering::Relaxed)) {
                        Some(abandoned) => Box::pin(abandoned.read_on(runtime, answer)).await,
                        None => None,
                    };
                    (read.unwrap_or_else(|| Err(gave_up())), false)
                }
                // The driver ends a call that outlasts its execution.
                ended = &mut asked => {
                    (ended.unwrap_or_else(|_| Err(Error::new(ErrorCode::Panic, "the provider panicked"))), true)
                }
            }
        };
        let any_shown = shown.index > 0;
        drop(shown);
        if let Some(pass) = pass {
            pass.ended(result.as_ref().map(|response| response.usage));
        }
        if let Some(trial) = trial {
            trial.ended(result.as_ref().err());
        }
        if result.is_err() && any_shown && heard && !delivered.is_abandoned() {
            runtime.hub.tell(ids.root_id, || vec![live(ids.id, &key, EventData::ModelReset { attempt })]);
        }
        // What was read on is booked: it is nobody's any more.
        let result = if heard { result } else { Err(gave_up()) };
        Happening::Model { key, attempt, reservation, result, delivered: delivered.bytes() }
    }
}

/// Nobody waits for the answer, and it is not read any further.
fn gave_up() -> Error {
    Error::cancelled("nobody waits for the call any more")
}

/// The pieces of an answer on their way to whoever reads along.
struct Shown<'a> {
    runtime: &'a Runtime,
    teller: Teller,
    ids: Ids,
    path: &'a str,
    attempt: u32,
    /// What came together and is not told yet.
    deltas: Vec<Delta>,
    /// The number of the first of them.
    index: u64,
    so_far: Option<SoFar>,
}

impl<'a> Shown<'a> {
    fn new(runtime: &'a Runtime, ids: Ids, path: &'a str, attempt: u32, partial: Option<Arc<PartialOutput>>) -> Self {
        let so_far = partial.map(SoFar::new);
        Self { runtime, teller: Teller::default(), ids, path, attempt, deltas: Vec::new(), index: 0, so_far }
    }

    fn take(&mut self, delta: Delta) {
        self.deltas.push(delta);
        if self.deltas.len() == TOGETHER {
            self.tell();
        }
    }

    /// Tells what has come, and what of the output that completes.
    fn tell(&mut self) {
        if self.deltas.is_empty() {
            return;
        }
        let Self { runtime, teller, ids, path, attempt, deltas, index, so_far } = self;
        let (first, attempt) = (*index, *attempt);
        *index += deltas.len() as u64;
        teller.tell(&runtime.hub, ids.root_id, || {
            let now = Timestamp::now();
            let event = |data| Event::new(0, now, ids.id, path.to_owned(), data);
            let mut events = Vec::with_capacity(deltas.len());
            for (index, delta) in (first..).zip(deltas.drain(..)) {
                let output = so_far.as_mut().and_then(|so_far| so_far.take(&delta));
                events.push(event(EventData::ModelDelta { attempt, index, delta }));
                events.extend(output.map(|output| event(EventData::ModelPartial { attempt, output })));
            }
            events
        });
        deltas.clear();
    }
}

/// The output of one answer as far as it has come.
struct SoFar {
    partial: Arc<PartialOutput>,
    text: String,
    /// How long the text was when it was last read.
    read: usize,
    shown: Option<Value>,
}

impl SoFar {
    fn new(partial: Arc<PartialOutput>) -> Self {
        Self { partial, text: String::new(), read: 0, shown: None }
    }

    /// The output with one more piece, where that says more than the last one shown.
    ///
    /// A long text is read again only once it has grown by a sixteenth: reading all of it stays linear.
    fn take(&mut self, delta: &Delta) -> Option<Value> {
        let Delta::Text { text } = delta else { return None };
        self.text.push_str(text);
        if self.text.len() - self.read <= if self.read < 256 { 0 } else { self.read / 16 } {
            return None;
        }
        self.read = self.text.len();
        let output = self.partial.read(&self.text).filter(|output| self.shown.as_ref() != Some(output))?;
        self.shown = Some(output.clone());
        Some(output)
    }
}

/// A live event has no place of its own; the reader gives it the one it has come to.
pub(super) fn live(id: ExecutionId, path: &str, data: EventData) -> Event {
    Event::new(0, Timestamp::now(), id, path.to_owned(), data)
}

fn delta_bytes(delta: &Delta) -> u64 {
    let text = match delta {
        Delta::Text { text } | Delta::Thinking { text } | Delta::Arguments { text, .. } | Delta::Refusal { text } => {
            text
        }
        Delta::ToolCall { name, .. } => name,
    };
    text.len() as u64
}

/// What a tool call waits for before it runs.
pub(crate) enum Permits {
    /// What its execution bounds: it waits behind its start.
    Of(Places),
    /// It has waited before its start for all that is bounded.
    Granted(Granted),
}

/// The places of a tool call in its execution.
pub(crate) struct Places {
    /// The cap on all calls of the execution.
    pub(crate) all: Arc<Semaphore>,
    /// Its place among the calls of a tool that run one after another.
    pub(crate) turn: Option<InTurn>,
}

/// Held while a tool runs, and only then.
#[derive(Clone)]
pub(crate) struct Granted {
    _own: Arc<(Option<OwnedSemaphorePermit>, Option<InTurn>)>,
    permit: Option<Permit>,
}

impl Granted {
    /// The call as the tool's code knows it.
    pub(crate) fn scope(&self) -> EffectScope {
        Permit::scope(self.permit.as_ref())
    }
}

impl Places {
    /// Waits for its turn in its execution, and behind that for its turn in the engine, where that is bounded: who has
    /// a permit of the engine's waits for nobody.
    pub(crate) async fn grant(self, effects: Option<Bound>) -> Granted {
        let Self { all, mut turn } = self;
        if let Some(before) = turn.as_mut().and_then(|turn| turn.before.take()) {
            // It ends by being dropped, however the call before comes to its end.
            let _ = before.await;
        }
        // The semaphore is never closed.
        let own = all.acquire_owned().await.ok();
        let permit = match effects {
            Some(bound) => Some(bound.permit().await),
            None => None,
        };
        Granted { _own: Arc::new((own, turn)), permit }
    }
}

/// A call's place behind another one of its tool.
pub(crate) struct InTurn {
    /// The end of the one before.
    pub(crate) before: Option<oneshot::Receiver<()>>,
    /// Dropped with the call: the next one may run.
    pub(crate) _done: oneshot::Sender<()>,
}

/// Runs one tool call. Whatever happens in the tool becomes its result.
pub(crate) async fn call_tool(
    key: String,
    call: ToolCall,
    arguments: Value,
    tool: Arc<PreparedTool>,
    context: ToolContext,
    permits: Permits,
) -> ToolEnd {
    let attempt = context.attempt;
    let granted = match permits {
        Permits::Of(places) => places.grant(None).await,
        Permits::Granted(granted) => granted,
    };
    let outcome = granted.scope().run(tool.run(&call, arguments, context)).await;
    ToolEnd { key, attempt, outcome }
}

/// Waits for a moment.
pub(crate) async fn wait_until(key: String, at: Timestamp) -> Happening {
    clock::until(at).await;
    Happening::Timer { key }
}
