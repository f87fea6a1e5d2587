use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::super::complete;
use super::*;
use crate::domain::{Delta, Message, MessageRole, ModelSettings, OutputSchema, Provenance, ToolResult, Usage};

const LEASE: &str = "# Lease of the flat\n\n1. Rent. The tenant pays the rent on the first day of each month. \
    2. Liability. The tenant is liable for all damages to the flat and must repair them. \
    3. End. The landlord may terminate the lease without notice after a breach of it. \
    The flat is let as is, in the state in which the tenant has seen it.";

fn tool(name: &str, properties: Value, required: &[&str]) -> ToolSpec {
    ToolSpec::new(name, "", json!({"type": "object", "properties": properties, "required": required}))
}

fn binary(name: &str, kind: &str) -> ToolSpec {
    tool(name, json!({"a": {"type": kind}, "b": {"type": kind}}), &["a", "b"])
}

fn calculator() -> ToolSpec {
    tool("calculator", json!({"expression": {"type": "string"}}), &["expression"])
}

fn reader() -> ToolSpec {
    tool("file_read", json!({"path": {"type": "string"}, "offset": {"type": "integer"}}), &["path"])
}

fn request(text: &str, tools: Vec<ToolSpec>) -> ModelRequest {
    ModelRequest::new("m", vec![Message::user(text)]).with_tools(tools)
}

/// The text of an answer.
fn text(response: &ModelResponse) -> String {
    response.message.text_content()
}

/// The name and the arguments of an answer's only call.
fn call(response: &ModelResponse) -> Option<(String, Value)> {
    let mut calls = response.message.tool_calls();
    let call = calls.next()?;
    assert!(calls.next().is_none());
    Some((call.name.clone(), serde_json::from_str(&call.arguments).unwrap()))
}

/// Answers calls by a function until there is a final answer; gives the calls and that answer.
fn play(
    mut request: ModelRequest,
    run: impl Fn(&str, &Value) -> std::result::Result<Value, String>,
) -> (Vec<(String, Value)>, ModelResponse) {
    let mut calls = Vec::new();
    loop {
        let response = respond(&request);
        assert_eq!(respond(&request), response, "the same request gives the same answer");
        assert!(calls.len() < 20, "it does not end");
        let Some((name, arguments)) = call(&response) else { return (calls, response) };
        let id = response.message.tool_calls().next().unwrap().id.clone();
        let is_known = |part: &Part| matches!(part, Part::ToolCall(call) if call.id == id);
        assert!(!request.messages.iter().flat_map(|message| &message.parts).any(is_known));
        let result = match run(&name, &arguments) {
            Ok(value) => ToolResult::new(id, &name, value),
            Err(message) => ToolResult::error(id, &name, message),
        };
        request.messages.push(response.message);
        request.messages.push(Message::new(MessageRole::Tool, vec![Part::ToolResult(result)]));
        calls.push((name, arguments));
    }
}

fn add(_: &str, arguments: &Value) -> std::result::Result<Value, String> {
    Ok(json!(arguments["a"].as_f64().unwrap() + arguments["b"].as_f64().unwrap()))
}

#[test]
fn the_first_example_works() {
    let (calls, done) = play(request(r#"{"question":"2 + 3?"}"#, vec![binary("add", "number")]), add);
    assert_eq!(calls, [("add".to_owned(), json!({"a": 2, "b": 3}))]);
    assert_eq!(text(&done), "[offline] The result is 5.");
    assert_eq!((done.model_name.as_str(), done.finish_reason), ("offline", FinishReason::Stop));
}

#[test]
fn a_chain_of_operations_goes_through_tools_one_by_one() {
    let tools = vec![binary("add_numbers", "number"), binary("multiply", "integer")];
    let (calls, done) = play(request("What is 2 + 3 * 4 + 1?", tools.clone()), |name, arguments| {
        let [a, b] = ["a", "b"].map(|key| arguments[key].as_f64().unwrap());
        Ok(json!({"result": if name == "multiply" { a * b } else { a + b }}))
    });
    let names: Vec<&str> = calls.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["multiply", "add_numbers", "add_numbers"]);
    assert!(text(&done).contains("15"));
    // Without a tool for every operation none is called, and no wrong number is given.
    let (calls, done) = play(request("What is 2 + 3 / 4?", tools), add);
    assert_eq!(calls, []);
    assert!(text(&done).contains("stand-in"));
}

#[test]
fn a_tool_is_found_by_its_description() {
    let mut tool = binary("op7", "number");
    tool.description = "Divides one number by another.".into();
    let response = respond(&request("Please divide 10 by 4.", vec![binary("add", "number"), tool]));
    assert_eq!(call(&response), Some(("op7".into(), json!({"a": 10, "b": 4}))));
}

#[test]
fn a_calculator_gets_the_whole_expression_once() {
    let (calls, done) = play(request("what is 12.5 * (3+4)", vec![binary("add", "number"), calculator()]), |_, _| {
        Ok(json!({"expression": "12.5 * (3 + 4)", "result": 87.5}))
    });
    assert_eq!(calls, [("calculator".to_owned(), json!({"expression": "12.5 * (3 + 4)"}))]);
    assert_eq!(text(&done), "[offline] The result is 87.5.");
    let (calls, done) = play(request("what is 1/0?", vec![calculator()]), |_, _| Err("division by zero".into()));
    assert_eq!(calls.len(), 1);
    assert!(text(&done).contains("division by zero"));
}

#[test]
fn a_named_file_is_read_and_summed_up() {
    let asked = r#"Read the file "lease.txt" and tell me what the rent is about."#;
    let (calls, done) = play(request(asked, vec![reader()]), |_, _| Ok(json!(LEASE)));
    assert_eq!(calls, [("file_read".to_owned(), json!({"path": "lease.txt"}))]);
    assert!(text(&done).starts_with("[offline] "));
    assert!(text(&done).contains("The tenant pays the rent"));
}

#[test]
fn a_long_file_is_read_on_but_not_without_end() {
    let page = |_: &str, arguments: &Value| {
        let offset = arguments["offset"].as_u64().unwrap_or(0);
        Ok(json!({"content": format!("Page {offset} of it. "), "next_offset": offset + 10}))
    };
    let (calls, _) = play(request(r#"{"document": "long.txt"}"#, vec![reader()]), page);
    let offsets: Vec<&Value> = calls.iter().map(|(_, arguments)| &arguments["offset"]).collect();
    assert_eq!(offsets, [&Value::Null, &json!(10), &json!(20), &json!(30)]);
    let ends = |_: &str, _: &Value| Ok(json!({"content": "All of it.", "next_offset": null, "truncated": false}));
    assert_eq!(play(request("document: a.txt", vec![reader()]), ends).0.len(), 1);
    // A server that does not move on is not asked again.
    let stuck = |_: &str, _: &Value| Ok(json!({"content": "", "next_offset": 0, "truncated": true}));
    assert_eq!(play(request("document: a.txt", vec![reader()]), stuck).0.len(), 1);
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    let (calls, done) = play(request("Summarise a.txt", vec![reader()]), |_, _| Err("no such file".into()));
    assert_eq!(calls.len(), 1);
    assert!(text(&done).contains("no such file"));
}

fn report() -> OutputSchema {
    let schema = json!({
        "type": "object",
        "properties": {
            "document": {"type": "string"},
            "summary": {"type": "string"},
            "risk_score": {"type": "integer", "minimum": 0, "maximum": 100},
            "issues": {"type": "array", "items": {
                "type": "object",
                "properties": {"severity": {"enum": ["low", "medium", "high"]}, "quote": {"type": "string"}},
                "required": ["severity", "quote"]
            }},
            "issues_found": {"type": "integer"}
        },
        "required": ["document", "summary", "risk_score", "issues", "issues_found"]
    });
    OutputSchema::new("output", schema)
}

#[test]
fn a_document_is_read_scored_by_calculator_and_reported() {
    let asked = r#"{"document": "papers/lease.txt"}"#;
    let mut request = request(asked, vec![reader(), calculator()]).with_output_schema(report());
    request.messages.insert(0, Message::system("Read the document and work out the score with the calculator."));
    let (calls, done) =
        play(request, |name, _| if name == "calculator" { Ok(json!(11)) } else { Ok(json!({"content": LEASE})) });
    let (name, arguments) = &calls[1];
    assert_eq!((calls.len(), name.as_str()), (2, "calculator"));
    assert_eq!(arguments["expression"], "4 * 2 + 2 * 1 + 0");
    let report: Value = serde_json::from_str(&text(&done)).unwrap();
    assert_eq!((&report["risk_score"], &report["document"]), (&json!(11), &json!("lease.txt")));
    assert_eq!(report["issues"].as_array().unwrap().len(), 3);
    assert_eq!(report["issues_found"], 3);
    for issue in report["issues"].as_array().unwrap() {
        assert!(LEASE.contains(issue["quote"].as_str().unwrap()));
    }
}

#[test]
fn a_document_in_the_question_is_scored_too() {
    let asked = format!("Judge this lease, use the calculator for the score:\n\n{LEASE}");
    let response = respond(&request(&asked, vec![calculator()]));
    assert_eq!(call(&response), Some(("calculator".into(), json!({"expression": "4 * 2 + 2 * 1 + 0"}))));
}

#[test]
fn scores_beyond_a_hundred_are_bounded_in_the_expression() {
    let text: String = (0..40).map(|i| format!("The seller is liable for every defect number {i}. ")).collect();
    let response = respond(&request(&format!("Use the calculator:\n\n{text}"), vec![calculator()]));
    assert_eq!(call(&response).unwrap().1["expression"], "min(100, 4 * 30 + 2 * 0 + 0)");
}

#[test]
fn choices_of_tools_are_respected() {
    let asked = "2 + 3?";
    let tools = || {
        vec![
            binary("add", "number"),
            tool(
                "note",
                json!({"severity": {"enum": ["x", "y"]}, "input": {"type": "string"}}),
                &["severity", "input"],
            ),
        ]
    };
    let with = |choice: ToolChoice| request(asked, tools()).with_tool_choice(choice);
    assert_eq!(call(&respond(&with(ToolChoice::None))), None);
    assert_eq!(call(&respond(&with(ToolChoice::Required))).unwrap().0, "add");
    let forced = call(&respond(&with(ToolChoice::Tool("note".into())))).unwrap();
    assert_eq!(forced, ("note".into(), json!({"severity": "x", "input": "2 + 3?"})));
    assert_eq!(call(&respond(&with(ToolChoice::Tool("gone".into())))).unwrap().0, "add");
    // Nothing asks for a call here, so the first tool on offer is called, once.
    let required = request("Hello!", tools()).with_tool_choice(ToolChoice::Required);
    let (calls, _) = play(required, |_, _| Ok(json!("done")));
    assert_eq!(calls, [("add".to_owned(), json!({"a": 0, "b": 0}))]);
}

#[test]
fn a_correction_is_no_new_question() {
    let schema = OutputSchema::new(
        "output",
        json!({"type": "object", "properties": {"result": {"type": "number"}}, "required": ["result"]}),
    );
    let first = respond(&request("2 + 3?", vec![binary("add", "number")]));
    let id = first.message.tool_calls().next().unwrap().id.clone();
    let result = Part::ToolResult(ToolResult::new(id, "add", json!(5.0)));
    let mut messages = vec![Message::user("2 + 3?"), first.message, Message::new(MessageRole::Tool, vec![result])];
    messages.push(Message::assistant("five"));
    messages.push(Message::user("Your last answer holds no JSON value."));
    let again = ModelRequest::new("m", messages).with_tools(vec![binary("add", "number")]).with_output_schema(schema);
    assert_eq!(text(&respond(&again)), r#"{"result":5}"#);
}

#[test]
fn a_new_question_makes_new_calls_and_forgets_the_old_number() {
    let (_, done) = play(request("2 + 3?", vec![binary("add", "number")]), add);
    let mut next = request("2 + 3?", vec![binary("add", "number")]);
    let first = respond(&next);
    let id = first.message.tool_calls().next().unwrap().id.clone();
    next.messages.extend([
        first.message,
        Message::new(MessageRole::Tool, vec![Part::ToolResult(ToolResult::new(id, "add", json!(5)))]),
    ]);
    next.messages.extend([done.message, Message::user("And 4 + 5?")]);
    let second = respond(&next);
    assert_eq!(second.message.tool_calls().next().unwrap().id, "offline_2");
    next.messages.push(Message::user("Hello there"));
    assert!(text(&respond(&next)).contains("no language model"));
}

#[test]
fn plain_questions_get_salient_sentences_or_the_truth() {
    let summed = text(&respond(&request(&format!("Sum this up:\n\n{LEASE}"), vec![])));
    assert!(summed.starts_with("[offline] ") && summed.contains("tenant"), "{summed}");
    assert!(summed.matches(". ").count() <= 4);
    let short = "Rivers carry water to the sea.";
    assert_eq!(text(&respond(&request(short, vec![]))), format!("[offline] {short}"));
    for asked in ["Who are you?", "Please write me a poem about the sea.", "Hello.", ""] {
        assert!(text(&respond(&request(asked, vec![]))).contains("no language model"), "{asked}");
    }
}

#[test]
fn the_cap_cuts_prose_and_shortens_lists() {
    let long: String = (0..40).map(|i| format!("The seller is liable for every defect number {i}. ")).collect();
    let capped = |tokens: u64| ModelSettings { max_output_tokens: Some(tokens), ..ModelSettings::default() };
    let prose = respond(&request(&long, vec![]).with_settings(capped(4)));
    assert_eq!((text(&prose).len(), prose.finish_reason), (32, FinishReason::Length));
    let full = respond(&request(&long, vec![]).with_output_schema(report()));
    let short = respond(&request(&long, vec![]).with_output_schema(report()).with_settings(capped(250)));
    assert_eq!(short.finish_reason, FinishReason::Stop);
    let issues = |response: &ModelResponse| {
        serde_json::from_str::<Value>(&text(response)).unwrap()["issues"].as_array().unwrap().len()
    };
    assert_eq!((issues(&full), issues(&short)), (30, 10));
}

#[tokio::test]
async fn an_answer_streams_and_counts_its_usage() {
    let offline = Offline::new();
    assert!(offline.profile("offline").free);
    let context = CallContext::new(Duration::from_secs(5));
    let items: Vec<StreamItem> = offline
        .stream(request("2 + 3?", vec![binary("add", "number")]), context.clone())
        .map(Result::unwrap)
        .collect()
        .await;
    assert_eq!(items[0], StreamItem::Delta(Delta::ToolCall { index: 0, name: "add".into() }));
    assert_eq!(items[1], StreamItem::Delta(Delta::Arguments { index: 0, text: r#"{"a":2,"b":3}"#.into() }));
    let StreamItem::Done(done) = &items[2] else { panic!("{items:?}") };
    assert_eq!(done.usage, Some(Usage::new(2, 4).with_provenance(Provenance::Counted)));
    assert_eq!(done.finish_reason, FinishReason::ToolCalls);
    // A large request is worked out elsewhere, with the same answer.
    let large = request(&LEASE.repeat(300), vec![]);
    let expected = respond(&large);
    assert_eq!(complete(offline.stream(large, context)).await.unwrap(), expected);
}

#[test]
fn a_large_document_takes_well_under_a_second() {
    let texts = [
        LEASE.repeat(1 << 20 >> 8),
        "word ".repeat(40_000),
        ". ".repeat(100_000),
        "1. ".repeat(60_000),
        "(\"".repeat(100_000),
        "liable".repeat(30_000),
        "\n#\n".repeat(60_000),
    ];
    for text in texts {
        let start = Instant::now();
        let request = request(&text, vec![reader(), calculator()])
            .with_output_schema(report())
            .with_tool_choice(ToolChoice::None);
        respond(&request);
        let took = start.elapsed();
        // Unoptimised, on a busy machine; twice quadratic work would take minutes.
        assert!(took < Duration::from_secs(10), "{took:?} for {:?}", &text[..12]);
    }
}

proptest! {
    #[test]
    fn any_text_does_no_harm(asked in "\\PC{0,200}|[0-9+*/().,: \"a-f-]{0,80}", read in "(\\PC|\n){0,200}") {
        let tools = vec![reader(), calculator(), binary("add", "number")];
        let request = request(&asked, tools).with_output_schema(report());
        play(request, |name, _| if name == "add" { Ok(json!(1)) } else { Ok(json!(read)) });
    }
}
