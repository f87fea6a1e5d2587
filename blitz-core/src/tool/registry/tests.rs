//! Whatever a model writes and whatever a tool does, the model is told and nothing breaks.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::tool::FunctionTool;
use crate::tool_fn;

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    a: f64,
    #[serde(default)]
    note: String,
}

fn prepared(tool: FunctionTool) -> Arc<PreparedTool> {
    let host = HostTools::default();
    let spec = tool.spec();
    host.register(Arc::new(tool));
    host.prepare("hash", &NewTool::function(spec.name, spec.description, spec.input_schema)).unwrap()
}

fn double() -> Arc<PreparedTool> {
    prepared(
        tool_fn!("double", "Doubles.", |args: Args| async move { Ok(args.a * 2.0 + args.note.len() as f64) }).pure(),
    )
}

async fn run(tool: &PreparedTool, arguments: &str) -> ToolResult {
    let call = ToolCall::new("c1", "double", arguments);
    match tool.arguments(&call) {
        Ok(arguments) => tool.run(&call, arguments, ToolContext::detached("key")).await.result,
        Err(problem) => ToolResult::error("c1", "double", problem),
    }
}

#[tokio::test]
async fn runs_with_arguments_that_follow_the_schema() {
    let result = run(&double(), r#"{"a": 21}"#).await;
    assert_eq!((result.content, result.is_error), (json!(42.0), false));
}

#[tokio::test]
async fn b05_mends_what_weak_models_write() {
    for text in ["```json\n{\"a\": 1}\n```", "Sure: {\"a\": 1,}", r#""{\"a\": 1}""#, "{\"a\": 1, \"note\": \"\",\n}"] {
        assert_eq!(run(&double(), text).await.content, json!(2.0), "{text}");
    }
}

#[tokio::test]
async fn t48_arguments_off_schema_are_told_and_not_run() {
    let deep = format!("{{\"a\": {}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let huge = format!("{{\"a\": 1, \"note\": \"{}\"}}", "x".repeat(10 << 20));
    let wrong = [
        "",
        "[1]",
        "7",
        "not json",
        r#"{"a": "x"}"#,
        r#"{"a": 1, "b": 2}"#,
        r#"{"a": 1, "a": 2}"#,
        r#"{"a": 1e999}"#,
        r#"{"__proto__": {"a": 1}}"#,
        &deep,
        &huge,
    ];
    for text in wrong {
        let result = run(&double(), text).await;
        assert!(result.is_error, "{} was run", &text[..text.len().min(60)]);
        assert!(result.as_text().len() < 4096, "the message repeats the arguments");
    }
}

#[tokio::test]
async fn b09_a_panic_is_a_result() {
    let tool = prepared(FunctionTool::new("double", "", |_: Args| async move {
        if true {
            panic!("boom");
        }
        Ok(0)
    }));
    let result = run(&tool, r#"{"a": 1}"#).await;
    assert!(result.is_error && result.as_text().contains("panicked"));
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_hangs_is_cut_off_and_told_to_stop() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let hangs = tool_fn!("double", "", move |_args: Args, context: ToolContext| {
        let tell = tell.clone();
        async move {
            let cancel = context.cancel.clone();
            tokio::spawn(async move {
                cancel.cancelled().await;
                tell.send(()).unwrap();
            });
            std::future::pending::<()>().await;
            Ok(0)
        }
    });
    let tool = prepared(hangs.with_timeout(Duration::from_secs(3)));
    let result = run(&tool, r#"{"a": 1}"#).await;
    assert!(result.is_error && result.as_text().contains("3000 ms"), "{}", result.as_text());
    assert_eq!(told.recv().await, Some(()));
}

#[tokio::test]
async fn b47_a_huge_result_is_cut_off_and_says_so() {
    let tool = prepared(tool_fn!("double", "", |_a: Args| async move { Ok("é".repeat(400_000)) }));
    let whole = run(&tool, r#"{"a": 1}"#).await;
    assert_eq!(whole.as_text().len(), 800_000, "a workflow gets all of it");
    let text = for_a_model(whole).as_text();
    assert!(text.len() < MAX_RESULT + 100 && text.contains("[cut:"));
}

#[test]
fn a_function_of_another_shape_does_not_pass_for_the_recorded_one() {
    let host = HostTools::default();
    let record = NewTool::function("double", "", json!({"type": "object"}));
    assert!(host.prepare("h", &record).is_err());
    host.register(Arc::new(tool_fn!("double", "", |args: Args| async move { Ok(args.a) })));
    assert!(host.prepare("h", &record).is_err());
}

#[test]
fn refuses_records_that_nothing_could_run() {
    let object = json!({"type": "object"});
    let wrong = [
        NewTool::function("", "", object.clone()),
        NewTool::function("two words", "", object.clone()),
        NewTool::function("x".repeat(65), "", object.clone()),
        NewTool::function("f", "", json!({"type": "string"})),
        NewTool::function("f", "", json!({"type": "object", "properties": 7})),
        NewTool::function("f", "", json!({"type": "object", "properties": {"a": {"$ref": "https://example.com/s"}}})),
        NewTool::function("f", "", object.clone()).with_config("root", "/"),
        NewTool::function("f", "", object).with_timeout(Duration::ZERO),
        NewTool::builtin("no_such_builtin"),
        NewTool::builtin("file_read"),
    ];
    for record in wrong {
        assert_eq!(validate_tool(&record).unwrap_err().code(), crate::ErrorCode::InvalidInput, "{record:?}");
    }
}
