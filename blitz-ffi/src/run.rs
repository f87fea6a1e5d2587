//! Running agents: to the end, by themselves, or event by event.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use blitz::{Outcome, Result, RunOptions};
use serde_json::Value;

use crate::callback::{EventFn, EventFunction, within};
use crate::error::Failure;
use crate::events::Events;
use crate::execution::Execution;
use crate::guard::{Status, guard};
use crate::handle::{self, Out, c_text};
use crate::json;
use crate::session::{self, Session};

/// Runs an agent to its end and gives the outcome as JSON. In a callback that was cancelled nothing begins, and what it runs
/// is cancelled with it: BLITZ_CANCELLED. BLITZ_OK says that there is an outcome: its status tells whether
/// the execution completed, failed or was cancelled; messages, usage and cost are there all the same. on_event may be
/// NULL; else it hears each event on the calling thread, and anything but 0 from it cancels. input_json may be NULL. On
/// BLITZ_OK the caller owns *out_json: blitz_string_free(); out_json may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_run(
    session: *const Session,
    agent: *const c_char,
    input_json: *const c_char,
    on_event: EventFn,
    user_data: *mut c_void,
    out_json: *mut *mut c_char,
    out_error: *mut *mut Failure,
) -> Status {
    blitz_run_with(session, agent, input_json, std::ptr::null(), on_event, user_data, out_json, out_error)
}

/// Like blitz_run(), with options as a JSON object: `output_schema` (JSON Schema that the answer has to follow this time)
/// and `limits` (any of max_turns, timeout_ms, max_tokens, max_cost, max_depth, max_parallel_tools, where lower than the
/// agent's). options_json may be NULL.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments, reason = "C has no builders")]
pub extern "C" fn blitz_run_with(
    session: *const Session,
    agent: *const c_char,
    input_json: *const c_char,
    options_json: *const c_char,
    on_event: EventFn,
    user_data: *mut c_void,
    out_json: *mut *mut c_char,
    out_error: *mut *mut Failure,
) -> Status {
    guard(out_error, || {
        let out = Out::optional(out_json);
        let order = Order::read(session, agent, input_json, options_json)?;
        let listener = EventFunction::new(on_event, user_data);
        let outcome = if listener.listens() { order.run_heard(listener)? } else { order.run()? };
        if let Some(out) = out {
            out.set_text(json::write(&outcome)?);
        }
        Ok(())
    })
}

/// Starts an agent and lets it run by itself, whatever becomes of the handle. input_json may be NULL. On BLITZ_OK the
/// caller owns *out_execution: blitz_execution_free().
#[unsafe(no_mangle)]
pub extern "C" fn blitz_start(
    session: *const Session,
    agent: *const c_char,
    input_json: *const c_char,
    out_execution: *mut *mut Execution,
    out_error: *mut *mut Failure,
) -> Status {
    blitz_start_with(session, agent, input_json, std::ptr::null(), out_execution, out_error)
}

/// Like blitz_start(), with options as blitz_run_with() takes them.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_start_with(
    session: *const Session,
    agent: *const c_char,
    input_json: *const c_char,
    options_json: *const c_char,
    out_execution: *mut *mut Execution,
    out_error: *mut *mut Failure,
) -> Status {
    guard(out_error, || {
        let out = Out::new(out_execution, "out_execution")?;
        let Order { session, agent, input, options } = Order::read(session, agent, input_json, options_json)?;
        let handle = session.host.wait(within(session.session.agents().start_with(agent, input, options)))??;
        out.set_handle(Execution::new(&session.host, handle))
    })
}

/// Starts an agent and reads its events; the reader owns the execution, and freeing it before the end cancels that.
/// input_json may be NULL. On BLITZ_OK the caller owns *out_events: blitz_events_free().
#[unsafe(no_mangle)]
pub extern "C" fn blitz_stream(
    session: *const Session,
    agent: *const c_char,
    input_json: *const c_char,
    out_events: *mut *mut Events,
    out_error: *mut *mut Failure,
) -> Status {
    blitz_stream_with(session, agent, input_json, std::ptr::null(), out_events, out_error)
}

/// Like blitz_stream(), with options as blitz_run_with() takes them.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_stream_with(
    session: *const Session,
    agent: *const c_char,
    input_json: *const c_char,
    options_json: *const c_char,
    out_events: *mut *mut Events,
    out_error: *mut *mut Failure,
) -> Status {
    guard(out_error, || {
        let out = Out::new(out_events, "out_events")?;
        let Order { session, agent, input, options } = Order::read(session, agent, input_json, options_json)?;
        let stream = session.host.wait(within(session.session.agents().stream_with(agent, input, options)))??;
        out.set_handle(Events::new(&session.host, stream))
    })
}

/// What is to run, for whom, on what.
struct Order {
    session: Arc<Session>,
    agent: String,
    input: Value,
    options: RunOptions,
}

impl Order {
    fn read(
        session: *const Session,
        agent: *const c_char,
        input_json: *const c_char,
        options_json: *const c_char,
    ) -> Result<Self> {
        let session = session::open(session)?;
        let agent = handle::text(agent, "agent")?.to_owned();
        let input = json::read_optional(input_json, "input_json")?.unwrap_or(Value::Null);
        let options = json::read_optional(options_json, "options_json")?;
        let options = options.map(|options| json::fit(options, "options_json")).transpose()?.unwrap_or_default();
        Ok(Self { session, agent, input, options })
    }

    fn run(self) -> Result<Outcome> {
        let Self { session, agent, input, options } = self;
        session.host.wait(within(session.session.agents().run_with(agent, input, options)))?
    }

    /// Runs it and tells a listener each event, until that asks for the end.
    fn run_heard(self, listener: EventFunction) -> Result<Outcome> {
        let Self { session, agent, input, options } = self;
        // Kept for all parts: an engine that closes meanwhile says what became of the execution.
        let workers = session.host.workers()?;
        let mut run = workers.wait(within(session.session.agents().run_heard(agent, input, options)))?;
        while let Some(event) = workers.wait(within(async { Ok(run.next().await) }))? {
            // Where one cannot be read nothing more is heard; the outcome says how it ended.
            let Ok(event) = event else { break };
            if !listener.tell(c_text(json::write(&event)?)) {
                run.cancel();
                break;
            }
        }
        workers.wait(within(run.outcome()))
    }
}
