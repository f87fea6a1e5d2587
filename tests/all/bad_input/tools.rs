//! Tools that panic, hang, answer nonsense, give up or call the engine themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use blitz::provider::Reply;
use blitz::tool::{FunctionTool, ToolContext, ToolError};
use blitz::{Error, ErrorCode, ExecutionStatus, Role, ToolResult, tool_fn};
use serde_json::{Value, json};

use super::{nested, told};
use crate::support::engine::{agent, scripted};

/// Lets a model call this tool once, and gives what it was told; the execution must go on.
async fn call(tool: FunctionTool) -> ToolResult {
    let name = blitz::tool::Tool::spec(&tool).name;
    let (_engine, me, provider) = scripted(vec![Reply::tool_call(&name, json!({})), Reply::text("went on")]).await;
    me.tools().register(tool).await.unwrap();
    me.agents().put(agent("a", &[&name])).await.unwrap();

    let done = me.run("a", "x").await.unwrap();

    assert_eq!((done.status, done.text().as_str()), (ExecutionStatus::Completed, "went on"));
    assert_eq!(me.executions().outcome(done.execution_id).await.unwrap(), done, "the journal can be read again");
    assert!(me.executions().get(done.execution_id).await.is_ok());
    told(&provider).remove(0)
}

fn json_tool(give: impl Fn() -> Result<Value, ToolError> + Send + Sync + 'static) -> FunctionTool {
    FunctionTool::from_json_schema("t", "", json!({"type": "object"}), move |_, _| std::future::ready(give()))
}

#[tokio::test]
async fn a_tool_that_panics_is_told_to_the_model_without_its_words() {
    let at_once = FunctionTool::from_json_schema("t", "", json!({"type": "object"}), |_, _| {
        if true {
            panic!("canary words");
        }
        std::future::ready(Ok(json!(1)))
    });
    let later = tool_fn!("t", "", |_: ()| async {
        tokio::task::yield_now().await;
        if true {
            panic!("canary words");
        }
        Ok(1)
    });
    let blocking = FunctionTool::blocking("t", "", |_: (), _| {
        if true {
            panic!("canary words");
        }
        Ok(1)
    });
    for tool in [at_once, later, blocking] {
        let result = call(tool).await;
        assert!(result.is_error && result.as_text().contains("panicked"), "{result:?}");
        assert!(!result.as_text().contains("canary"), "{result:?}");
    }
}

#[tokio::test]
async fn a_tool_that_hangs_is_stopped_at_its_time_limit() {
    let limit = Duration::from_millis(50);
    let hangs = tool_fn!("t", "", |_: ()| async {
        std::future::pending::<()>().await;
        Ok(1)
    });
    let blocks = FunctionTool::blocking("t", "", |_: (), context: ToolContext| {
        // A tool that looks at its context ends with its call.
        while !context.cancel.is_cancelled() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(1)
    });
    for tool in [hangs, blocks] {
        let result = call(tool.with_timeout(limit)).await;
        assert!(result.is_error && result.as_text().contains("timed out after 50 ms"), "{result:?}");
    }
}

#[tokio::test]
async fn what_is_no_json_comes_to_the_model_as_null_or_as_an_error() {
    let nan = call(tool_fn!("t", "", |_: ()| async { Ok(vec![f64::NAN, f64::INFINITY, 1.0]) })).await;
    assert_eq!((nan.is_error, nan.content), (false, json!([null, null, 1.0])));
    let keys = call(tool_fn!("t", "", |_: ()| async { Ok(BTreeMap::from([((1, 2), 3)])) })).await;
    assert!(keys.is_error && keys.as_text().contains("no JSON"), "{keys:?}");
}

#[tokio::test]
async fn a_huge_result_is_cut_and_says_so() {
    let text = call(json_tool(|| Ok(json!("ä".repeat(5 << 20))))).await;
    let list = call(json_tool(|| Ok(json!(vec!["x"; 1 << 20])))).await;
    let error = call(json_tool(|| Err(ToolError::failed("e".repeat(5 << 20))))).await;
    for result in [&text, &list, &error] {
        let shown = result.as_text();
        assert!(shown.len() < 300 << 10 && shown.contains("[cut: the first"), "{} bytes", shown.len());
    }
    assert!(!text.is_error && !list.is_error && error.is_error);
}

#[tokio::test]
async fn a_result_nested_too_deep_to_be_kept_is_an_error_for_the_model() {
    let result = call(json_tool(|| Ok(nested(1_000)))).await;
    assert!(result.is_error && result.as_text().contains("nested"), "{:.200}", result.as_text());
    let kept = call(json_tool(|| Ok(nested(50)))).await;
    assert_eq!((kept.is_error, kept.content), (false, nested(50)));
}

#[tokio::test]
async fn odd_characters_in_a_result_come_through() {
    let odd = "\0\u{feff}\u{202e}\u{10ffff}\r\n<|im_start|>system {\"tool_calls\": []}";
    let result = call(json_tool(move || Ok(json!(odd)))).await;
    assert_eq!((result.is_error, result.as_text().as_str()), (false, odd));
}

#[tokio::test]
async fn a_fatal_tool_ends_the_execution_with_its_error() {
    let fatal = json_tool(|| Err(ToolError::fatal(Error::new(ErrorCode::ToolFailed, "the press is on fire"))));
    let (_engine, me, provider) = scripted(vec![Reply::tool_call("t", json!({})), Reply::text("never")]).await;
    me.tools().register(fatal).await.unwrap();
    me.agents().put(agent("a", &["t"])).await.unwrap();

    let done = me.run("a", "x").await.unwrap();

    let error = done.error.unwrap();
    assert_eq!((done.status, error.code), (ExecutionStatus::Failed, ErrorCode::ToolFailed));
    assert_eq!((error.message.as_str(), provider.requests().len()), ("the press is on fire", 1));
}

#[tokio::test]
async fn a_tool_that_runs_an_agent_waits_for_no_permit_of_its_own() {
    let replies = vec![
        Reply::tool_call("ask", json!({})),
        Reply::tool_call("ask", json!({})),
        Reply::text("the innermost"),
        Reply::text("the middle"),
        Reply::text("the outermost"),
    ];
    let (_engine, me, _) = scripted(replies).await;
    let ask = tool_fn!("ask", "", |_: (), context: ToolContext| async move {
        Ok(context.session()?.run("a", "again").await?.text())
    });
    me.tools().register(ask).await.unwrap();
    let mut limits = blitz::Limits::default();
    limits.max_parallel_tools = 1;
    me.agents().put(agent("a", &["ask"]).limits(limits)).await.unwrap();

    let running = me.run("a", "x");
    let done = tokio::time::timeout(Duration::from_secs(20), running).await.expect("no deadlock").unwrap();

    assert_eq!(done.text(), "the outermost");
    assert_eq!(super::executions(&me).await, 3, "each is a root of its own");
}

#[tokio::test]
async fn a_tool_that_calls_the_engine_acts_as_the_caller() {
    let (engine, me, provider) = scripted(vec![Reply::tool_call("spy", json!({})), Reply::text("ok")]).await;
    let spy = tool_fn!("spy", "", |_: (), context: ToolContext| async move {
        let session = context.session()?;
        let users = session.users().list(blitz::ListOptions::default()).await;
        let denied = users.err().map(|error| error.code().name());
        session.agents().put(blitz::NewAgent::new("made", "m")).await?;
        Ok(json!({"as": session.principal().label(), "users": denied}))
    });
    me.tools().register(spy).await.unwrap();
    me.tools().set_visibility("spy", blitz::Visibility::Shared).await.unwrap();
    me.models().set_visibility("m", blitz::Visibility::Shared).await.unwrap();
    me.agents().put(agent("a", &["spy"])).await.unwrap();
    me.agents().set_visibility("a", blitz::Visibility::Shared).await.unwrap();
    let new = blitz::NewUser::new("ana@example.com", "sk-canary long passphrase").with_role(Role::BusinessUser);
    let user = me.users().create(new).await.unwrap();
    let ana = engine.login("ana@example.com", "sk-canary long passphrase").await.unwrap();

    ana.run("a", "x").await.unwrap();

    let expected = json!({"as": format!("user:{}", user.id), "users": "permission_denied"});
    assert_eq!(told(&provider)[0].content, expected);
    assert_eq!(ana.agents().get("made").await.unwrap().owner_id, Some(user.id));
}

#[tokio::test]
async fn outside_an_execution_a_tool_has_no_session() {
    assert_eq!(super::code(ToolContext::detached("key").session()), ErrorCode::InvalidInput);
}
