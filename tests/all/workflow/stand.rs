//! What the tests of the workflow engine stand on: nodes that do as their settings say.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use blitz::tool::{FunctionNode, NodeOutput, ToolError};
use blitz::{Engine, ErrorCode, NodeTypeInfo, Outcome, Session};
use serde_json::{Value, json};

/// What the nodes of type `work` were given, in the order in which they began.
pub(crate) type Seen = Arc<Mutex<Vec<Value>>>;

/// Registers nodes of type `work`: they give what their settings say in `give`, or fail with the code
/// in `fail` while a name of [`Broken`] is theirs, after `ms` milliseconds.
pub(crate) fn register(engine: &Engine, broken: &Broken) -> Seen {
    let seen = Seen::default();
    let (log, broken) = (Arc::clone(&seen), Arc::clone(broken));
    let node = FunctionNode::new(NodeTypeInfo::host("work", "Works."), move |work, context| {
        let (log, broken) = (Arc::clone(&log), Arc::clone(&broken));
        async move {
            log.lock().unwrap().push(json!({"config": work.config, "input": work.input, "attempt": context.attempt}));
            if let Some(ms) = work.config["ms"].as_u64() {
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            let name = work.config["breaks"].as_str().unwrap_or_default();
            if broken.lock().unwrap().iter().any(|broken| broken == name) {
                let message = work.config["message"].as_str().unwrap_or("it broke").to_owned();
                return Err(ToolError::typed(blitz::Error::new(ErrorCode::ToolFailed, message)));
            }
            Ok(NodeOutput::new(work.config.get("give").cloned().unwrap_or(work.input)))
        }
    });
    engine.register_node(node).unwrap();
    seen
}

/// The names of what fails at the moment.
pub(crate) type Broken = Arc<Mutex<Vec<String>>>;

/// Puts and publishes a workflow.
pub(crate) async fn publish(me: &Session, definition: Value) {
    let name = definition["name"].as_str().unwrap().to_owned();
    me.call("workflows.put", definition).await.unwrap_or_else(|error| panic!("{} {}", error.chain(), error.details()));
    me.workflows().publish(name.as_str()).await.unwrap_or_else(|error| panic!("{} {}", error.chain(), error.details()));
}

/// Runs what is in the catalogue to its end.
pub(crate) async fn run(me: &Session, name: &str, input: Value) -> Outcome {
    tokio::time::timeout(Duration::from_secs(30), me.run(name, input)).await.expect("ends").unwrap()
}

/// Edges written as `a>b` and `a.port>b`.
pub(crate) fn edges(text: &str) -> Value {
    let edge = |part: &str| {
        let (from, to) = part.split_once('>').unwrap();
        match from.split_once('.') {
            Some((from, port)) => json!({"from": from, "out": port, "to": to}),
            None => json!({"from": from, "to": to}),
        }
    };
    Value::Array(text.split_whitespace().map(edge).collect())
}
