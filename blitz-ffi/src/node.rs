//! Types of workflow nodes that the host brings: a node is a tool with settings and ports.

use std::ffi::{c_char, c_void};
use std::sync::{Arc, Weak};

use blitz::tool::{NodeHandler, NodeOutput, NodeWork, ToolContext, ToolError};
use blitz::{Error, NodeTypeInfo};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::json;

use crate::callback::{FreeFn, ToolFn, ToolFunction, UserData, on_a_thread};
use crate::engine::{Engine, Host};
use crate::error::Failure;
use crate::guard::{Status, guard};
use crate::handle;
use crate::json;
use crate::tool::called;

/// Serves a type of workflow nodes from now on, in place of an earlier one of its name. type_json is an object with `type`,
/// the name that nodes have, and if wanted `description`, `config` (JSON Schema of a node's settings), `input` (JSON Schema
/// of what a node may be given), `ports` (those it may leave by, ["out"] where nothing is said) and `effect` ("pure",
/// "idempotent" or "unsafe", which is what it is where nothing is said). The function is called as a tool is, with
/// {"config":…,"input":…} as its arguments; what it gives is the node's output, by the port `out` or by
/// blitz_tool_result_by(). Where it fails the node fails: by blitz_tool_result_error() with a status of its own, which the
/// node's retry goes by. Register it again at each start, before blitz_engine_recover(). user_data and destroy: rule DATA.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_node_register(
    engine: *const Engine,
    type_json: *const c_char,
    function: ToolFn,
    user_data: *mut c_void,
    destroy: FreeFn,
    out_error: *mut *mut Failure,
) -> Status {
    let data = UserData::new(user_data, destroy);
    guard(out_error, || {
        let function = Arc::new(ToolFunction::new(function, data)?);
        let host = Arc::clone(&handle::get(engine)?.host);
        host.check_open()?;
        let info: NodeTypeInfo = json::read_as(type_json, "type_json")?;
        if info.container {
            return Err(Error::invalid("a node of the host contains no others"));
        }
        host.engine.register_node(HostNode { host: Arc::downgrade(&host), function, info })
    })
}

/// A function of the host as the engine sees it.
struct HostNode {
    host: Weak<Host>,
    function: Arc<ToolFunction>,
    info: NodeTypeInfo,
}

impl NodeHandler for HostNode {
    fn info(&self) -> NodeTypeInfo {
        self.info.clone()
    }

    fn run(&self, work: NodeWork, context: ToolContext) -> BoxFuture<'static, Result<NodeOutput, ToolError>> {
        let (function, host) = (Arc::clone(&self.function), self.host.clone());
        async move {
            let work = json!({"config": work.config, "input": work.input});
            let called =
                on_a_thread(Some(context.cancel.clone()), move || called(&function, host, &work, context, true)).await;
            let given = called.unwrap_or_else(|| Err(ToolError::failed("the node could not be called")))?;
            let nothing = || Ok(NodeOutput::new(()));
            given.settled(nothing, || Err(ToolError::failed("the node gave its ticket back"))).await
        }
        .boxed()
    }
}
