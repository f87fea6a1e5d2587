//! Executions that run by themselves.

use std::ffi::c_char;
use std::sync::Arc;

use blitz::{Decision, ExecutionHandle, ExecutionId, Result};

use crate::engine::Host;
use crate::error::Failure;
use crate::events::Events;
use crate::guard::{Status, guard, status_of, value_of};
use crate::handle::{self, Noun, Out};
use crate::json;
use crate::session::{self, Session};

/// An execution that was started. It runs by itself, whatever becomes of the handle.
pub struct Execution {
    host: Arc<Host>,
    handle: ExecutionHandle,
}

impl Noun for Execution {
    const NAME: &'static str = "execution";
}

impl Execution {
    pub(crate) fn new(host: &Arc<Host>, handle: ExecutionHandle) -> Self {
        Self { host: Arc::clone(host), handle }
    }
}

/// An execution that may be asked now.
fn open(execution: *const Execution) -> Result<Arc<Execution>> {
    let execution = handle::get(execution)?;
    execution.host.check_open()?;
    Ok(execution)
}

/// A handle on an execution by its id, also one of another process. On BLITZ_OK the caller owns *out_execution:
/// blitz_execution_free(). Whether there is such an execution shows when it is used.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_execution_open(
    session: *const Session,
    id: i64,
    out_execution: *mut *mut Execution,
    out_error: *mut *mut Failure,
) -> Status {
    guard(out_error, || {
        let out = Out::new(out_execution, "out_execution")?;
        let session = session::open(session)?;
        let handle = session.session.executions().handle(ExecutionId(id));
        out.set_handle(Execution::new(&session.host, handle))
    })
}

/// The execution's id; 0 for what is no execution.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_execution_id(execution: *const Execution) -> i64 {
    value_of(0, || Ok(handle::get(execution)?.handle.id().into()))
}

/// Waits for the end, wherever it runs, and gives the outcome as JSON. BLITZ_OK says that there is one: its status tells
/// whether the execution completed, failed or was cancelled. Thread: any, any number. On BLITZ_OK the caller
/// owns *out_json: blitz_string_free(); out_json may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_execution_wait(
    execution: *const Execution,
    out_json: *mut *mut c_char,
    out_error: *mut *mut Failure,
) -> Status {
    guard(out_error, || {
        let out = Out::optional(out_json);
        let execution = open(execution)?;
        let outcome = execution.host.wait(execution.handle.wait())??;
        if let Some(out) = out {
            out.set_text(json::write(&outcome)?);
        }
        Ok(())
    })
}

/// Asks for the end of the execution and its children. Twice is the same as once; BLITZ_CONFLICT where it has ended.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_execution_cancel(execution: *const Execution, out_error: *mut *mut Failure) -> Status {
    guard(out_error, || {
        let execution = open(execution)?;
        execution.host.wait(execution.handle.cancel())?
    })
}

/// Decides what becomes of a step whose effect is in doubt, by the key that `waiting_for` names. decision_json is
/// {"action":"rerun"}, {"action":"skip","value":5} or {"action":"fail","message":"..."}. BLITZ_CONFLICT where that step does
/// not wait (any more). blitz_call() of executions.decide takes the digest that waiting_for names, too: then it is about
/// that very attempt.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_execution_decide(
    execution: *const Execution,
    key: *const c_char,
    decision_json: *const c_char,
    out_error: *mut *mut Failure,
) -> Status {
    guard(out_error, || {
        let execution = open(execution)?;
        let key = handle::text(key, "key")?;
        let decision: Decision = json::read_as(decision_json, "decision_json")?;
        execution.host.wait(execution.handle.decide(key, decision))?
    })
}

/// Reads the execution's events behind a place: what is written, then what comes. 0 begins at the first. Readers come and
/// go and do not slow it. On BLITZ_OK the caller owns *out_events: blitz_events_free().
#[unsafe(no_mangle)]
pub extern "C" fn blitz_execution_events(
    execution: *const Execution,
    after_seq: i64,
    out_events: *mut *mut Events,
    out_error: *mut *mut Failure,
) -> Status {
    guard(out_error, || {
        let out = Out::new(out_events, "out_events")?;
        let execution = open(execution)?;
        out.set_handle(Events::new(&execution.host, execution.handle.events_after(after_seq)))
    })
}

/// Frees the handle; the execution goes on. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_execution_free(execution: *mut Execution) -> Status {
    status_of(|| handle::take(execution).map(drop))
}
