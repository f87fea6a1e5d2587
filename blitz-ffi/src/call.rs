//! Methods by name.

use std::ffi::c_char;

use blitz::Method;
use serde_json::{Value, json};

use crate::callback::within;
use crate::error::Failure;
use crate::guard::{Status, guard};
use crate::handle::{self, Out};
use crate::json;
use crate::session::{self, Session};

/// Calls a method of the table by its name, such as "agents.put", with a JSON object in and JSON out. input_json may be
/// NULL for a method that wants nothing. On BLITZ_OK the caller owns *out_json: blitz_string_free(); out_json may be NULL
/// where the result is of no interest.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_call(
    session: *const Session,
    method: *const c_char,
    input_json: *const c_char,
    out_json: *mut *mut c_char,
    out_error: *mut *mut Failure,
) -> Status {
    guard(out_error, || {
        let out = Out::optional(out_json);
        let session = session::open(session)?;
        let method = handle::text(method, "method")?;
        let input = json::read_optional(input_json, "input_json")?.unwrap_or(Value::Null);
        let begins = Method::find(method).is_some_and(Method::begins_an_execution);
        let called = session.session.call(method, input);
        // A callback that is cancelled still tidies up, and begins nothing.
        let output = if begins { session.host.wait(within(called))?? } else { session.host.wait(called)?? };
        if let Some(out) = out {
            out.set_text(output.to_string());
        }
        Ok(())
    })
}

/// The method table: a JSON array with name, kind, permission, input_schema, output_schema and since of each row. Rows of
/// kind "unary" are for blitz_call(); "agents.stream" is blitz_stream(), "executions.events" is
/// blitz_execution_events(), "tools.register" is blitz_tool_register(). On BLITZ_OK the caller owns *out_json:
/// blitz_string_free().
#[unsafe(no_mangle)]
pub extern "C" fn blitz_methods(out_json: *mut *mut c_char, out_error: *mut *mut Failure) -> Status {
    guard(out_error, || {
        let out = Out::new(out_json, "out_json")?;
        let row = |method: &Method| {
            json!({
                "name": method.name, "kind": method.kind, "permission": method.permission.map(blitz::Permission::name),
                "input_schema": method.input_schema(), "output_schema": method.output_schema(), "since": method.since,
            })
        };
        out.set_text(Method::all().map(row).collect::<Value>().to_string());
        Ok(())
    })
}
