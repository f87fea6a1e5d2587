//! Tool arguments as hostile or confused models write them: the model is told, the execution goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use blitz::provider::Reply;
use blitz::{ExecutionStatus, Part, ToolCall, tool_fn};

use super::told;
use crate::support::engine::{agent, scripted};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct AddArgs {
    a: f64,
    b: f64,
}

/// Lets a model call `add` with each of these texts, and gives what it was told.
async fn call_with(texts: Vec<String>) -> (u32, Vec<blitz::ToolResult>) {
    let ran = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&ran);
    let tool = tool_fn!("add", "Add.", move |args: AddArgs| {
        counter.fetch_add(1, Ordering::SeqCst);
        async move { Ok(args.a + args.b) }
    });
    let calls = texts.iter().enumerate().map(|(n, text)| Part::ToolCall(ToolCall::new(format!("c{n}"), "add", text)));
    let (_engine, me, provider) = scripted(vec![Reply::parts(calls.collect()), Reply::text("ok")]).await;
    me.tools().register(tool).await.unwrap();
    me.agents().put(agent("a", &["add"])).await.unwrap();

    let done = me.run("a", "x").await.unwrap();

    assert_eq!((done.status, done.text().as_str()), (ExecutionStatus::Completed, "ok"));
    assert_eq!(me.executions().outcome(done.execution_id).await.unwrap(), done, "the journal can be read again");
    (ran.load(Ordering::SeqCst), told(&provider))
}

#[tokio::test]
async fn t48_arguments_off_schema_never_reach_the_tool() {
    let deep =
        |open: &str, close: &str| format!("{{\"a\": {}1{}, \"b\": 1}}", open.repeat(10_000), close.repeat(10_000));
    let texts = vec![
        "{}".to_owned(),
        "{\"a\": 1}".into(),
        "{\"a\": \"1\", \"b\": 2}".into(),
        "{\"a\": 1, \"b\": 2, \"c\": 3}".into(),
        "{\"a\": 1, \"b\": 2, \"__proto__\": {\"admin\": true}}".into(),
        "{\"a\": 1, \"a\": 1, \"b\": 2}".into(),
        "{\"a\": 1e999, \"b\": 2}".into(),
        "{\"a\": NaN, \"b\": Infinity}".into(),
        "{\"a\": 1, \"b\": ".into(),
        "add one and two".into(),
        "[1, 2]".into(),
        "\"{}\"".into(),
        "null".into(),
        "true".into(),
        String::new(),
        "\0".into(),
        "{\"a\": 1, \"b\": \"\\ud800\"}".into(),
        format!("{{\"a\": \"{}\", \"b\": 2}}", "x".repeat(100_000)),
        deep("[", "]"),
        deep("{\"x\":", "}"),
        "{".repeat(10_000),
    ];
    let count = texts.len();
    let (ran, told) = call_with(texts.clone()).await;
    assert_eq!((ran, told.len()), (0, count), "the tool ran on arguments off its schema");
    for (text, result) in texts.iter().zip(&told) {
        assert!(result.is_error, "{text:.60}: {result:?}");
        let told = result.as_text();
        assert!(told.contains("arguments") && told.len() < 5_000, "{text:.60}: {told:.200}");
    }
}

#[tokio::test]
async fn t48_ten_megabytes_of_arguments_are_refused_and_kept() {
    let (ran, told) = call_with(vec![format!("{{\"a\": \"{}\", \"b\": 2}}", "x".repeat(10 << 20))]).await;
    assert_eq!(ran, 0);
    assert!(told[0].is_error && told[0].as_text().contains("KiB"), "{:.200}", told[0].as_text());
}

#[tokio::test]
async fn b05_what_weak_models_write_around_json_is_forgiven() {
    let texts = ["```json\n{\"a\": 1, \"b\": 2}\n```", "{\"a\": 1, \"b\": 2,}", "Sure: {\"a\": 1, \"b\": 2}"];
    let (ran, told) = call_with(texts.iter().map(|text| (*text).to_owned()).collect()).await;
    assert_eq!(ran, 3);
    assert!(told.iter().all(|result| !result.is_error && result.as_text() == "3.0"), "{told:?}");
}
