//! Tools: functions of the host that models call.

use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_void};
use std::sync::{Arc, Weak};
use std::time::Duration;

use blitz::tool::{NodeOutput, Tool, ToolContext, ToolError};
use blitz::{Effect, Error, ErrorCode, NewTool, Result, ToolKind, ToolSpec};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use crate::callback::{FreeFn, ToolFn, ToolFunction, UserData, on_a_thread};
use crate::engine::Host;
use crate::error::{Failure, code_of};
use crate::guard::{Status, guard, status_of, value_of};
use crate::handle::{self, Lent, Noun, Out, c_text};
use crate::json;
use crate::session::{self, Session};
use crate::ticket::{Given, Giver, Place, Ticket, ToolAnswer};

/// Registers a function as a tool and puts its record into the catalogue. spec_json is an object with `name`,
/// `description`, `input_schema` (JSON Schema of the arguments, an object), and if wanted `effect` ("pure", "idempotent" or
/// "unsafe", which is what it is where nothing is said), `timeout_ms`, `sequential` (an agent's calls of it run one after
/// another) and `secrets` (arguments that are secrets of secrets.set, `{"token": "github"}`: filled in at the call, the model
/// neither sees nor gives them, what the call says of them is masked). The function is there until the engine closes or another one takes its name; register it again at each start,
/// before blitz_engine_recover(). user_data and destroy: rule DATA.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_tool_register(
    session: *const Session,
    spec_json: *const c_char,
    function: ToolFn,
    user_data: *mut c_void,
    destroy: FreeFn,
    out_error: *mut *mut Failure,
) -> Status {
    let data = UserData::new(user_data, destroy);
    guard(out_error, || {
        let function = Arc::new(ToolFunction::new(function, data)?);
        let session = session::open(session)?;
        let new: NewTool = json::read_as(spec_json, "spec_json")?;
        if new.kind != ToolKind::Function || new.builtin.is_some() || !new.config.is_empty() {
            return Err(Error::invalid("a function's tool has no kind, builtin or config: put a builtin by tools.put"));
        }
        let tool = HostTool { host: Arc::downgrade(&session.host), function, new };
        session.host.wait(session.session.tools().register(tool))?.map(drop)
    })
}

/// A function of the host as the engine sees it.
struct HostTool {
    host: Weak<Host>,
    function: Arc<ToolFunction>,
    new: NewTool,
}

impl Tool for HostTool {
    fn spec(&self) -> ToolSpec {
        let schema = self.new.input_schema.clone().unwrap_or_else(|| json!({"type": "object"}));
        ToolSpec::new(self.new.name.clone(), self.new.description.clone(), schema)
    }

    fn effect(&self) -> Effect {
        self.new.effect.unwrap_or_default()
    }

    fn timeout(&self) -> Duration {
        self.new.timeout()
    }

    fn sequential(&self) -> bool {
        self.new.sequential
    }

    fn secrets(&self) -> BTreeMap<String, String> {
        self.new.secrets.clone()
    }

    fn call(&self, arguments: Value, context: ToolContext) -> BoxFuture<'static, Result<Value, ToolError>> {
        let (function, host) = (Arc::clone(&self.function), self.host.clone());
        async move {
            let called =
                on_a_thread(Some(context.cancel.clone()), move || called(&function, host, &arguments, context, false))
                    .await;
            let given = called.unwrap_or_else(|| Err(ToolError::failed("the tool could not be called")))?;
            let nothing = || Ok(NodeOutput::new(()));
            let given = given.settled(nothing, || Err(ToolError::failed("the tool gave its ticket back"))).await;
            given.map(|given| given.output)
        }
        .boxed()
    }
}

/// Calls the function of a tool or a node and takes what it gave.
pub(crate) fn called(
    function: &ToolFunction,
    host: Weak<Host>,
    arguments: &Value,
    context: ToolContext,
    is_node: bool,
) -> Result<Given<ToolAnswer>, ToolError> {
    let place = Place::new(host.clone(), context.cancel.clone());
    let result = ToolResult { place, context: context.clone(), is_node };
    let call = Call {
        host,
        call_id: c_text(context.call_id.clone()),
        idempotency_key: c_text(context.idempotency_key.clone()),
        context,
    };
    let (call, result) = (Lent::new(call)?, Lent::new(result)?);
    let status = function.call(&call, c_text(arguments.to_string()), &result);
    let what = if is_node { "node" } else { "tool" };
    result.place.take(status, |code| match code {
        Some(code) => ToolError::typed(Error::new(code, format!("the {what} failed: {code}"))),
        None => ToolError::failed(format!("the {what} failed")),
    })
}

/// One call of a tool.
pub struct Call {
    host: Weak<Host>,
    context: ToolContext,
    call_id: CString,
    idempotency_key: CString,
}

impl Noun for Call {
    const NAME: &'static str = "tool call";
}

/// The execution that calls.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_tool_call_execution_id(call: *const Call) -> i64 {
    value_of(0, || Ok(handle::get(call)?.context.execution_id.into()))
}

/// The id of the model's call. It is there until the callback returns.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_tool_call_id(call: *const Call) -> *const c_char {
    value_of(c"".as_ptr(), || Ok(handle::get(call)?.call_id.as_ptr()))
}

/// The same for every attempt of this call, and for no other call: hand it to the service that you call. It is there until
/// the callback returns.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_tool_call_idempotency_key(call: *const Call) -> *const c_char {
    value_of(c"".as_ptr(), || Ok(handle::get(call)?.idempotency_key.as_ptr()))
}

/// Which attempt of this call, from 1.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_tool_call_attempt(call: *const Call) -> u32 {
    value_of(0, || Ok(handle::get(call)?.context.attempt))
}

/// Whether nobody waits for the result any more: look now and then in a callback that takes long.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_tool_call_cancelled(call: *const Call) -> bool {
    value_of(true, || {
        let call = handle::get(call)?;
        Ok(call.context.cancel.is_cancelled() || Host::is_over(&call.host))
    })
}

/// Says that the call is alive: a workflow's node with `heartbeat_s` fails where it is silent for longer.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_tool_call_heartbeat(call: *const Call) -> Status {
    status_of(|| {
        handle::get(call)?.context.heartbeat();
        Ok(())
    })
}

/// Says how far a workflow's node has come, any JSON, to whoever reads its events: a `node.log`, which is not kept. It is
/// alive, too.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_tool_call_log(call: *const Call, message_json: *const c_char) -> Status {
    status_of(|| {
        let call = handle::get(call)?;
        call.context.log(json::read(message_json, "message_json")?);
        Ok(())
    })
}

/// The session of whoever the execution acts for: what a tool does by it is done in that name. On BLITZ_OK the caller
/// owns *out_session: blitz_session_free().
#[unsafe(no_mangle)]
pub extern "C" fn blitz_tool_call_session(
    call: *const Call,
    out_session: *mut *mut Session,
    out_error: *mut *mut Failure,
) -> Status {
    guard(out_error, || {
        let out = Out::new(out_session, "out_session")?;
        let call = handle::get(call)?;
        let host = call.host.upgrade().ok_or_else(|| Error::closed("the engine is closed"))?;
        out.set_handle(Session { host, session: call.context.session()? })
    })
}

/// Where a tool puts its result.
pub struct ToolResult {
    place: Place<ToolAnswer>,
    context: ToolContext,
    is_node: bool,
}

impl Noun for ToolResult {
    const NAME: &'static str = "tool result";
}

/// Gives the result, any JSON; it is copied. BLITZ_INVALID_INPUT where it is none.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_tool_result_json(result: *mut ToolResult, result_json: *const c_char) -> Status {
    status_of(|| handle::get(result)?.place.put(Ok(NodeOutput::new(json::read(result_json, "result_json")?))))
}

/// Gives a node's output, any JSON, and the port that the node is left by. BLITZ_INVALID_INPUT for a tool's result.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_tool_result_by(
    result: *mut ToolResult,
    port: *const c_char,
    output_json: *const c_char,
) -> Status {
    status_of(|| {
        let result = handle::get(result)?;
        if !result.is_node {
            return Err(Error::invalid("only nodes have ports"));
        }
        let port = handle::text(port, "port")?;
        result.place.put(Ok(NodeOutput::by(port, json::read(output_json, "output_json")?)))
    })
}

/// Says that it failed with an error of this status: a workflow's retries go by the status, a model is told the message
/// and goes on.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_tool_result_error(result: *mut ToolResult, status: Status, message: *const c_char) -> Status {
    status_of(|| {
        let error = error_of(status, message)?;
        handle::get(result)?.place.put(Err(ToolError::typed(error)))
    })
}

/// Says that the tool failed; the model is told the message and goes on.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_tool_result_fail(result: *mut ToolResult, message: *const c_char) -> Status {
    status_of(|| handle::get(result)?.place.put(Err(ToolError::failed(handle::text(message, "message")?))))
}

/// Asks the model to call again in another way; it is told the hint.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_tool_result_retry(result: *mut ToolResult, hint: *const c_char) -> Status {
    status_of(|| handle::get(result)?.place.put(Err(ToolError::retry(handle::text(hint, "hint")?))))
}

/// Ends the execution with an error of this status; no model is asked any more.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_tool_result_fatal(result: *mut ToolResult, status: Status, message: *const c_char) -> Status {
    status_of(|| {
        let error = error_of(status, message)?;
        handle::get(result)?.place.put(Err(ToolError::fatal(error)))
    })
}

/// Puts the result off: return BLITZ_OK, and answer by the ticket later, from any thread. The callee owns *out_ticket:
/// blitz_ticket_complete() and its like use it up, blitz_ticket_free() gives it back.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_tool_result_defer(result: *mut ToolResult, out_ticket: *mut *mut Ticket) -> Status {
    status_of(|| {
        let out = Out::new(out_ticket, "out_ticket")?;
        let result = handle::get(result)?;
        let giver = |give| if result.is_node { Giver::Node(give) } else { Giver::Tool(give) };
        out.set_handle(result.place.defer(Some(result.context.clone()), giver)?)
    })
}

/// The error that a function of the host means.
pub(crate) fn error_of(status: Status, message: *const c_char) -> Result<Error> {
    let code = code_of(status).unwrap_or(ErrorCode::ToolFailed);
    Ok(Error::new(code, handle::text(message, "message")?))
}
