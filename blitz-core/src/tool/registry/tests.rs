use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::*;
use crate::error::ErrorCode;
use crate::tool::{FunctionTool, tool_fn};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct AddArgs {
    a: f64,
    b: f64,
}

fn prepared(tool: FunctionTool) -> Arc<PreparedTool> {
    let record = NewTool::function(tool.spec().name, "", json!({"type": "object"}));
    let host = HostTools::default();
    host.register(Arc::new(tool));
    Arc::new(PreparedTool::new(&record, &host).unwrap().unwrap())
}

fn add() -> Arc<PreparedTool> {
    prepared(tool_fn!("add", "Add two numbers.", |a: AddArgs| async move { Ok(a.a + a.b) }))
}

async fn run(tool: &Arc<PreparedTool>, arguments: &str) -> ToolOutcome {
    tool.run(&ToolCall::new("c1", tool.spec().name.clone(), arguments), ToolContext::detached("key")).await
}

#[tokio::test]
async fn a_call_gives_a_result_bound_to_its_id() {
    let outcome = run(&add(), r#"{"a": 2, "b": 3}"#).await;
    assert_eq!(outcome.result, ToolResult::new("c1", "add", json!(5.0)));
    assert!(!outcome.failed_arguments && outcome.fatal.is_none());
}

#[tokio::test]
async fn t48_arguments_off_the_schema_never_reach_the_tool() {
    let reached = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&reached);
    let tool = prepared(tool_fn!("add", "", move |_: AddArgs, _context: ToolContext| {
        seen.store(true, Ordering::Relaxed);
        async { Ok(()) }
    }));
    let huge = format!(r#"{{"a": 1, "b": "{}"}}"#, "x".repeat(10 << 20));
    let deep = format!(r#"{{"a": {}1{}, "b": 1}}"#, "[".repeat(100_000), "]".repeat(100_000));
    for arguments in [
        r#"{"a": 1}"#,
        r#"{"a": 1, "b": "two"}"#,
        r#"{"a": 1, "b": 2, "c": 3}"#,
        r#"{"a": 1, "b": 2, "__proto__": {"a": 1}}"#,
        r#"{"a": 1, "b": 2, "b": 3}"#,
        r#"{"a": 1, "b": 1e999}"#,
        "not json",
        &huge,
        &deep,
    ] {
        let outcome = run(&tool, arguments).await;
        assert!(outcome.failed_arguments && outcome.result.is_error && outcome.fatal.is_none());
        assert!(outcome.result.as_text().len() < 2_000);
    }
    assert!(!reached.load(Ordering::Relaxed));
    assert_eq!(
        run(&tool, r#"{"a": 1, "b": "two"}"#).await.result.as_text(),
        r#"the arguments do not fit: /b: the value is not of type "number""#
    );
}

#[tokio::test]
async fn b05_repairable_arguments_are_run() {
    assert_eq!(run(&add(), "```json\n{\"a\": 2, \"b\": 3,}\n```").await.result.content, json!(5.0));
}

#[tokio::test]
async fn b09_a_panic_or_hang_is_a_result_and_siblings_go_on() {
    let panics = prepared(tool_fn!("panics", "", |_: ()| async { if true { panic!("on purpose") } else { Ok(()) } }));
    let cancelled = Arc::new(std::sync::Mutex::new(None));
    let kept = Arc::clone(&cancelled);
    let hangs = tool_fn!("hangs", "", move |_: (), context: ToolContext| {
        *kept.lock().unwrap() = Some(context.cancel);
        std::future::pending::<Result<(), ToolError>>()
    });
    let hangs = prepared(hangs.with_timeout(Duration::from_millis(20)));
    let good = add();
    let (panicked, hung, added) =
        tokio::join!(run(&panics, "{}"), run(&hangs, "{}"), run(&good, r#"{"a": 2, "b": 3}"#));
    assert!(panicked.result.is_error && panicked.result.as_text().contains("panicked"));
    assert!(hung.result.is_error && hung.result.as_text().contains("timed out after 20 ms"));
    assert!(cancelled.lock().unwrap().as_ref().unwrap().is_cancelled());
    assert_eq!(added.result.content, json!(5.0));
}

#[tokio::test]
async fn b47_errors_of_a_tool_keep_their_class() {
    let failing = prepared(tool_fn!("t", "", |_: ()| async { Err::<(), _>(ToolError::failed("no such city")) }));
    let outcome = run(&failing, "").await;
    assert_eq!((outcome.result.as_text().as_str(), outcome.failed_arguments), ("no such city", false));
    let hint = prepared(tool_fn!("t", "", |_: ()| async { Err::<(), _>(ToolError::retry("use a country")) }));
    let outcome = run(&hint, "").await;
    assert_eq!((outcome.result.as_text().as_str(), outcome.failed_arguments), ("use a country", true));
    let fatal = prepared(tool_fn!("t", "", |_: ()| async { Err::<(), _>(ToolError::Fatal(Error::closed("gone"))) }));
    let outcome = run(&fatal, "").await;
    assert!(outcome.result.is_error);
    assert_eq!(outcome.fatal.unwrap().code(), ErrorCode::Closed);
}

#[tokio::test]
async fn b47_a_long_result_is_cut_with_a_note() {
    let long = prepared(tool_fn!("t", "", |_: ()| async { Ok("é".repeat(MAX_RESULT)) }));
    let text = run(&long, "").await.result.as_text();
    assert!(text.len() < MAX_RESULT + 100 && text.ends_with("of 524288 bytes are shown]"));
    let list = prepared(tool_fn!("t", "", |_: ()| async { Ok(vec![1; MAX_RESULT]) }));
    assert!(run(&list, "").await.result.content.as_str().unwrap().contains("[cut: "));
    let failing =
        prepared(tool_fn!("t", "", |_: ()| async { Err::<(), _>(ToolError::failed("x".repeat(MAX_RESULT * 2))) }));
    assert!(run(&failing, "").await.result.as_text().len() < MAX_RESULT + 100);
}

#[test]
fn a_missing_function_is_none_and_a_registered_one_is_replaced() {
    let host = HostTools::default();
    let record = NewTool::function("add", "", json!({"type": "object"}));
    assert!(PreparedTool::new(&record, &host).unwrap().is_none());
    assert!(host.register(Arc::new(tool_fn!("add", "One.", |_: ()| async { Ok(1) }))).is_none());
    let one = PreparedTool::new(&record, &host).unwrap().unwrap();
    assert!(host.register(Arc::new(tool_fn!("add", "Two.", |_: AddArgs| async { Ok(2) }).pure())).is_some());
    let two = PreparedTool::new(&record, &host).unwrap().unwrap();
    assert_eq!((one.spec().description.as_str(), two.spec().description.as_str()), ("One.", "Two."));
    assert_eq!((one.effect(), two.effect()), (Effect::Unsafe, Effect::Pure));
    assert_ne!(one.schema_hash(), two.schema_hash());
    assert_eq!(host.names().into_iter().collect::<Vec<_>>(), ["add"]);
}

#[test]
fn a_record_wins_over_its_function() {
    let host = HostTools::default();
    host.register(Arc::new(tool_fn!("t", "Own.", |_: ()| async { Ok(1) }).pure()));
    let record =
        NewTool::function("t", "Said.", json!({})).with_effect(Effect::Unsafe).with_timeout(Duration::from_secs(5));
    let tool = PreparedTool::new(&record, &host).unwrap().unwrap();
    assert_eq!(
        (tool.spec().description.as_str(), tool.effect(), tool.timeout()),
        ("Said.", Effect::Unsafe, Duration::from_secs(5))
    );
}

#[tokio::test]
async fn builtins_run_under_any_name() {
    let record = NewTool::builtin("calculator").named("sums");
    validate_tool(&record).unwrap();
    let tool = Arc::new(PreparedTool::new(&record, &HostTools::default()).unwrap().unwrap());
    assert_eq!((tool.spec().name.as_str(), tool.effect()), ("sums", Effect::Pure));
    assert_eq!(run(&tool, r#"{"expression": "2 + 3"}"#).await.result.content, json!(5));
    assert!(run(&tool, r#"{"expression": "1/0"}"#).await.result.is_error);
    let folder = tempfile::tempdir().unwrap();
    let record = NewTool::builtin("file_list").with_config("root", folder.path().to_str().unwrap());
    let tool = Arc::new(PreparedTool::new(&record, &HostTools::default()).unwrap().unwrap());
    assert_eq!(tool.spec(), &builtin_spec("file_list").unwrap());
    assert_eq!(run(&tool, "").await.result.content["entries"], json!([]));
}

#[test]
fn tools_are_validated_before_they_are_stored() {
    let function = |schema| NewTool::function("add", "", schema);
    validate_tool(&function(json!({"type": "object"}))).unwrap();
    let named = |name: &str| NewTool::function(name, "", json!({"type": "object"}));
    let mut no_schema = function(json!({}));
    no_schema.input_schema = None;
    for tool in [
        named(""),
        named("a b"),
        named("é"),
        named(&"a".repeat(65)),
        function(json!({})),
        function(json!({"type": "array"})),
        function(json!({"type": "object", "properties": {"a": {"$ref": "http://x"}}})),
        function(json!({"type": "object"})).with_timeout(Duration::ZERO),
        function(json!({"type": "object"})).with_config("root", "/"),
        no_schema,
        NewTool::builtin("shell"),
        NewTool::builtin("file_read"),
        NewTool::builtin("calculator").with_config("root", "/"),
    ] {
        assert_eq!(validate_tool(&tool).unwrap_err().code(), ErrorCode::InvalidInput, "{tool:?}");
    }
}
