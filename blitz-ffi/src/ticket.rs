//! Answers that come later, from any thread, and the place a callback puts its answer.

use std::ffi::c_char;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use blitz::provider::ProviderCall;
use blitz::tool::{NodeOutput, ToolContext, ToolError};
use blitz::{Error, ErrorCode, Result, provider};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::engine::Host;
use crate::error::code_of;
use crate::guard::{OK, Status, status_of, value_of};
use crate::handle::{self, Noun};
use crate::json;
use crate::tool::error_of;

/// What a tool or a node comes to; a tool has no ports.
pub(crate) type ToolAnswer = Result<NodeOutput, ToolError>;
/// What a model call comes to.
pub(crate) type ModelAnswer = Result<provider::Reply>;

/// The right to answer one call later.
pub struct Ticket {
    host: Weak<Host>,
    cancel: CancellationToken,
    /// A tool's or a node's, which may say that it is alive.
    context: Option<ToolContext>,
    giver: Mutex<Option<Giver>>,
}

impl Noun for Ticket {
    const NAME: &'static str = "ticket";
}

/// Where the answer goes.
pub(crate) enum Giver {
    Tool(oneshot::Sender<ToolAnswer>),
    Node(oneshot::Sender<ToolAnswer>),
    Model(oneshot::Sender<ModelAnswer>, Arc<ProviderCall>),
}

impl Ticket {
    fn context(&self) -> Result<&ToolContext> {
        self.context.as_ref().ok_or_else(|| Error::invalid("only tools and nodes say that they are alive"))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Giver>> {
        // Nothing panics while it is held.
        self.giver.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place that a callback puts its answer into.
pub(crate) struct Place<T> {
    host: Weak<Host>,
    cancel: CancellationToken,
    given: Mutex<Given<T>>,
}

/// What a callback has put into its place.
pub(crate) enum Given<T> {
    Nothing,
    Now(T),
    Later(oneshot::Receiver<T>),
}

impl<T> Given<T> {
    /// The answer, awaited where it comes later; or what a call is worth that gave none, or gave its ticket back.
    pub(crate) async fn settled(self, none: impl FnOnce() -> T, given_back: impl FnOnce() -> T) -> T {
        match self {
            Self::Nothing => none(),
            Self::Now(answer) => answer,
            Self::Later(answer) => answer.await.unwrap_or_else(|_| given_back()),
        }
    }
}

impl<T> Place<T> {
    /// A place for the answer of a call that `cancel` ends.
    pub(crate) fn new(host: Weak<Host>, cancel: CancellationToken) -> Self {
        Self { host, cancel, given: Mutex::new(Given::Nothing) }
    }

    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_over(&self) -> bool {
        self.cancel.is_cancelled() || Host::is_over(&self.host)
    }

    fn lock(&self) -> MutexGuard<'_, Given<T>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an answer; the last one counts. Errors: `Conflict` once it was put off.
    pub(crate) fn put(&self, answer: T) -> Result<()> {
        match &mut *self.lock() {
            Given::Later(_) => Err(Error::conflict("the answer was put off: it is the ticket's")),
            given => {
                *given = Given::Now(answer);
                Ok(())
            }
        }
    }

    /// Puts the answer off: it is the ticket's from now on. Errors: `Conflict` where there is one already.
    pub(crate) fn defer(
        &self,
        context: Option<ToolContext>,
        giver: impl FnOnce(oneshot::Sender<T>) -> Giver,
    ) -> Result<Ticket> {
        let mut given = self.lock();
        if !matches!(*given, Given::Nothing) {
            return Err(Error::conflict("there is an answer already"));
        }
        let (give, take) = oneshot::channel();
        *given = Given::Later(take);
        let giver = Mutex::new(Some(giver(give)));
        Ok(Ticket { host: self.host.clone(), cancel: self.cancel.clone(), context, giver })
    }
}

impl<T, E> Place<Result<T, E>> {
    /// What a callback that returned this status has given; `failed` makes the error of one that gave none itself.
    pub(crate) fn take(
        &self,
        status: Status,
        failed: impl FnOnce(Option<ErrorCode>) -> E,
    ) -> Result<Given<Result<T, E>>, E> {
        match std::mem::replace(&mut *self.lock(), Given::Nothing) {
            given if status == OK => Ok(given),
            Given::Now(Err(error)) => Err(error),
            _ => Err(failed(code_of(status))),
        }
    }
}

/// Says that the call is alive: a workflow's node with `heartbeat_s` fails where it is silent for longer.
/// BLITZ_INVALID_INPUT for a provider's ticket. Thread: any.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_ticket_heartbeat(ticket: *const Ticket) -> Status {
    status_of(|| {
        handle::get(ticket)?.context()?.heartbeat();
        Ok(())
    })
}

/// Says how far a workflow's node has come, any JSON, to whoever reads its events: a `node.log`, which is not kept. It is
/// alive, too. BLITZ_INVALID_INPUT for a provider's ticket. Thread: any.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_ticket_log(ticket: *const Ticket, message_json: *const c_char) -> Status {
    status_of(|| {
        let ticket = handle::get(ticket)?;
        ticket.context()?.log(json::read(message_json, "message_json")?);
        Ok(())
    })
}

/// Answers the call: for a tool with its result, any JSON; for a provider with a reply, as blitz_model_reply_json() takes
/// it. The ticket is used up, whatever comes back, but for BLITZ_INVALID_INPUT: then the JSON was bad, and it may be
/// answered again. BLITZ_CANCELLED: nobody waits any more (a time limit, a cancellation). BLITZ_CLOSED: the engine is
/// closed. Thread: any.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_ticket_complete(ticket: *mut Ticket, answer_json: *const c_char) -> Status {
    status_of(|| {
        let held = handle::get(ticket)?;
        let answer = json::read(answer_json, "answer_json")?;
        if matches!(&*held.lock(), Some(Giver::Tool(_) | Giver::Node(_))) {
            return use_up(ticket, |giver| tell(giver, Ok(NodeOutput::new(answer))));
        }
        let reply = json::fit(answer, "answer_json")?;
        use_up(ticket, |giver| match giver {
            Giver::Model(give, _) => give.send(Ok(reply)).is_ok(),
            Giver::Tool(_) | Giver::Node(_) => false,
        })
    })
}

/// Answers for a node with its output and the port that it is left by. BLITZ_INVALID_INPUT for a ticket of another kind.
/// Otherwise like blitz_ticket_complete().
#[unsafe(no_mangle)]
pub extern "C" fn blitz_ticket_complete_by(
    ticket: *mut Ticket,
    port: *const c_char,
    output_json: *const c_char,
) -> Status {
    status_of(|| {
        let held = handle::get(ticket)?;
        let output = NodeOutput::by(handle::text(port, "port")?, json::read(output_json, "output_json")?);
        if !matches!(&*held.lock(), Some(Giver::Node(_)) | None) {
            return Err(Error::invalid("only nodes have ports"));
        }
        use_up(ticket, |giver| tell(giver, Ok(output)))
    })
}

/// Answers the call with an error of this status: a workflow's retries and a retry policy go by it. Otherwise like
/// blitz_ticket_fail().
#[unsafe(no_mangle)]
pub extern "C" fn blitz_ticket_error(ticket: *mut Ticket, status: Status, message: *const c_char) -> Status {
    status_of(|| {
        handle::get(ticket)?;
        let error = error_of(status, message)?;
        use_up(ticket, |giver| match giver {
            Giver::Model(give, _) => give.send(Err(error)).is_ok(),
            giver => tell(giver, Err(ToolError::typed(error))),
        })
    })
}

/// Answers the call with a failure. A model is told that its tool call failed with this message; a model call fails with
/// BLITZ_UNAVAILABLE, which a retry policy may try again. Otherwise like blitz_ticket_complete().
#[unsafe(no_mangle)]
pub extern "C" fn blitz_ticket_fail(ticket: *mut Ticket, message: *const c_char) -> Status {
    status_of(|| {
        handle::get(ticket)?;
        let message = handle::text(message, "message")?;
        use_up(ticket, |giver| match giver {
            Giver::Model(give, _) => give.send(Err(Error::new(ErrorCode::Unavailable, message))).is_ok(),
            giver => tell(giver, Err(ToolError::failed(message))),
        })
    })
}

/// Answers a tool call by asking the model to call again in another way; it is told the hint. BLITZ_INVALID_INPUT for a
/// provider's ticket. Otherwise like blitz_ticket_complete().
#[unsafe(no_mangle)]
pub extern "C" fn blitz_ticket_retry(ticket: *mut Ticket, hint: *const c_char) -> Status {
    status_of(|| {
        let held = handle::get(ticket)?;
        let hint = handle::text(hint, "hint")?;
        if matches!(&*held.lock(), Some(Giver::Model(..))) {
            return Err(Error::invalid("a model call cannot be asked again in another way: let it fail"));
        }
        use_up(ticket, |giver| tell(giver, Err(ToolError::retry(hint))))
    })
}

/// Shows a piece of a provider's answer to whoever reads the events, before the answer is there. BLITZ_INVALID_INPUT for a
/// tool's ticket. Thread: any.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_ticket_emit(ticket: *const Ticket, text: *const c_char) -> Status {
    status_of(|| {
        let held = handle::get(ticket)?;
        let text = handle::text(text, "text")?;
        match &*held.lock() {
            Some(Giver::Model(_, call)) => {
                call.emit_text(text);
                Ok(())
            }
            _ => Err(Error::invalid("only a provider's answer comes in pieces")),
        }
    })
}

/// Whether nobody waits for the answer any more: the execution was cancelled, its time is over, the engine is closed.
/// Thread: any.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_ticket_cancelled(ticket: *const Ticket) -> bool {
    value_of(true, || {
        let held = handle::get(ticket)?;
        let alone = match &*held.lock() {
            Some(Giver::Tool(give) | Giver::Node(give)) => give.is_closed(),
            Some(Giver::Model(give, _)) => give.is_closed(),
            None => true,
        };
        Ok(alone || held.cancel.is_cancelled() || Host::is_over(&held.host))
    })
}

/// Gives the ticket back without an answer: the call fails. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_ticket_free(ticket: *mut Ticket) -> Status {
    status_of(|| handle::take(ticket).map(drop))
}

/// Hands an answer to a tool or a node; a provider's ticket takes none of these.
fn tell(giver: Giver, answer: ToolAnswer) -> bool {
    match giver {
        Giver::Tool(give) | Giver::Node(give) => give.send(answer).is_ok(),
        Giver::Model(..) => false,
    }
}

/// Ends the ticket and hands its answer over.
fn use_up(ticket: *mut Ticket, send: impl FnOnce(Giver) -> bool) -> Result<()> {
    let Some(held) = handle::take(ticket)? else { return Ok(()) };
    let Some(giver) = held.lock().take() else { return Ok(()) };
    // Once it was cancelled the engine may still hold the other end, and looks at nothing that comes through.
    if !held.cancel.is_cancelled() && send(giver) {
        return Ok(());
    }
    match held.host.upgrade().map(|host| host.check_open()) {
        Some(Ok(())) => Err(Error::cancelled("nobody waits for this answer any more")),
        _ => Err(Error::closed("the engine is closed")),
    }
}
