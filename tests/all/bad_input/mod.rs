//! What users, models and the world get wrong: each gets its own clear answer, and nothing else breaks.

mod arguments;
mod canary;
mod closing;
mod codes;
mod database;
mod files;
mod names;
mod provider;
mod schemas;
mod templates;
mod tools;

use blitz::provider::Scripted;
use blitz::{ErrorCode, ExecutionFilter, ListOptions, Part, Session, ToolResult};
use serde_json::{Value, json};

/// The code of a call that must fail.
pub(crate) fn code<T>(result: blitz::Result<T>) -> ErrorCode {
    match result {
        Ok(_) => panic!("the call went well"),
        Err(error) => error.code(),
    }
}

/// What the model was told of its tool calls in its newest request, in the order of the calls.
fn told(provider: &Scripted) -> Vec<ToolResult> {
    let requests = provider.requests();
    let last = requests.last().and_then(|request| request.messages.last()).expect("the model was asked");
    let results = last.parts.iter().filter_map(|part| match part {
        Part::ToolResult(result) => Some(result.clone()),
        _ => None,
    });
    results.collect()
}

/// The executions that there are, children too.
async fn executions(me: &Session) -> usize {
    let mut all = ExecutionFilter::default();
    all.children = true;
    me.executions().list(all, ListOptions::default()).await.unwrap().items.len()
}

/// Lists in lists, so many deep.
pub(crate) fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(null), |inner, _| json!([inner]))
}
