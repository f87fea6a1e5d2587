use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::schema::SchemaCheck;
use crate::domain::{MessageRole, OutputSchema, ToolResult};

const LEASE: &str = "LEASE AGREEMENT\n\nThis lease is between Ana Silva and Harbour Homes. The rent is 1200 a month.\n\n\
    The landlord may terminate this lease without notice. The tenant shall not sublet the flat. \
    The landlord gives no warranty for the boiler. The tenant is liable for all damages. The flat has two rooms.";

fn add_tool() -> ToolSpec {
    let schema = json!({"type": "object", "required": ["a", "b"],
        "properties": {"a": {"type": "number", "format": "double"}, "b": {"type": "number", "format": "double"}}});
    ToolSpec::new("add", "Add two numbers.", schema)
}

fn calculator_tool() -> ToolSpec {
    let schema =
        json!({"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]});
    ToolSpec::new("calculator", "Computes.", schema)
}

fn read_tool() -> ToolSpec {
    let schema = json!({"type": "object", "required": ["path"],
        "properties": {"path": {"type": "string"}, "offset": {"type": "integer"}}});
    ToolSpec::new("file_read", "Reads a text file.", schema)
}

fn request(question: &str, tools: &[ToolSpec]) -> ModelRequest {
    ModelRequest::new("offline", vec![Message::user(question)]).with_tools(tools.to_vec())
}

fn only_call(request: &ModelRequest) -> ToolCall {
    let response = respond(request);
    assert_eq!(response.finish_reason, FinishReason::ToolCalls);
    response.message.tool_calls().next().unwrap().clone()
}

/// The request that follows when the one tool call of this one gave `content`.
fn answered(mut request: ModelRequest, content: Value) -> ModelRequest {
    let call = only_call(&request);
    let result = ToolResult::new(&call.id, &call.name, content);
    request.messages.push(Message::new(MessageRole::Assistant, vec![Part::ToolCall(call)]));
    request.messages.push(Message::new(MessageRole::Tool, vec![Part::ToolResult(result)]));
    request
}

fn arguments(call: &ToolCall) -> Value {
    serde_json::from_str(&call.arguments).unwrap()
}

fn text(request: &ModelRequest) -> String {
    respond(request).message.text_content()
}

fn output(request: ModelRequest, schema: Value) -> Value {
    let check = SchemaCheck::new(&schema).unwrap();
    let value = serde_json::from_str(&text(&request.with_output_schema(OutputSchema::new("out", schema)))).unwrap();
    check.check(&value).unwrap_or_else(|problems| panic!("{value}: {problems:?}"));
    value
}

#[test]
fn the_quickstart_adds_with_its_tool() {
    let first = request(r#"{"question":"2 + 3?"}"#, &[add_tool()]);
    let call = only_call(&first);
    assert_eq!((call.name.as_str(), arguments(&call)), ("add", json!({"a": 2, "b": 3})));
    let second = answered(first, json!(5.0));
    assert_eq!(text(&second), "[offline] The result is 5.");
}

#[test]
fn the_right_tool_is_found_for_an_operator() {
    let schema = add_tool().input_schema;
    let tools = [add_tool(), ToolSpec::new("mul", "Multiply two numbers.", schema)];
    assert_eq!(only_call(&request("what is 4 times 5.5", &tools)).name, "mul");
    assert_eq!(respond(&request("what is 4 - 5", &tools)).finish_reason, FinishReason::Stop);
    let call = only_call(&request("what is 12.5 * (3+4)?", &[add_tool(), calculator_tool()]));
    assert_eq!(arguments(&call), json!({"expression": "12.5 * (3+4)"}));
}

#[test]
fn a_second_question_calls_again_with_another_id() {
    let mut talk = answered(request("2 + 3", &[add_tool()]), json!(5));
    talk.messages.push(Message::assistant("[offline] The result is 5."));
    talk.messages.push(Message::user("4 + 4"));
    let call = only_call(&talk);
    assert_eq!((call.id.as_str(), arguments(&call)), ("offline-2", json!({"a": 4, "b": 4})));
}

#[test]
fn a_named_file_is_read_once_and_summed_up() {
    for question in [
        "Read the file docs/lease.txt and sum it up.",
        "document: docs/lease.txt",
        r#"{"document": "docs/lease.txt"}"#,
        "Analyse the contract in docs/lease.txt.",
    ] {
        let first = request(question, &[calculator_tool(), read_tool()]);
        assert_eq!(arguments(&only_call(&first)), json!({"path": "docs/lease.txt"}), "{question}");
        let second = answered(first, json!({"path": "docs/lease.txt", "content": LEASE, "size": 1}));
        let summary = text(&second);
        assert!(summary.starts_with("[offline] ") && summary.contains("lease"), "{summary}");
    }
}

#[test]
fn a_contract_is_scored_with_the_calculator_and_shaped() {
    let schema = json!({"type": "object", "additionalProperties": false,
        "required": ["summary", "issues", "risk_score", "needs_review"],
        "properties": {
            "summary": {"type": "string"},
            "issues": {"type": "array", "items": {"$ref": "#/$defs/Issue"}},
            "risks": {"type": "array", "items": {"type": "string"}},
            "risk_score": {"type": "integer", "minimum": 0, "maximum": 100},
            "confidence": {"type": "number", "minimum": 0, "maximum": 1},
            "needs_review": {"type": "boolean"}},
        "$defs": {"Issue": {"type": "object", "required": ["title", "severity", "quote"], "properties": {
            "title": {"type": "string", "maxLength": 40}, "severity": {"enum": ["low", "medium", "high"]},
            "quote": {"type": "string"}}}}});
    let question = "Analyse the document: lease.txt. Compute the risk score with the calculator.";
    let first = request(question, &[read_tool(), calculator_tool()]);
    let second = answered(first, json!(LEASE));
    let call = only_call(&second);
    assert_eq!((call.name.as_str(), arguments(&call)), ("calculator", json!({"expression": "10 + 4 * 2 + 10 * 2"})));
    let value = output(answered(second, json!(38)), schema);
    assert_eq!(value["risk_score"], 38);
    assert_eq!(value["needs_review"], true);
    let issues = value["issues"].as_array().unwrap();
    assert_eq!(issues.len(), 4);
    assert_eq!(issues[0]["quote"], "The landlord may terminate this lease without notice.");
    assert_eq!((&issues[0]["severity"], &issues[1]["severity"]), (&json!("high"), &json!("medium")));
    assert_eq!(value["risks"][1], "The tenant shall not sublet the flat.");
    assert!(value["summary"].as_str().unwrap().contains("lease"));
}

#[test]
fn a_failed_tool_is_told_and_not_called_again() {
    let mut talk = request("Read the file x.txt", &[read_tool()]);
    let call = only_call(&talk);
    talk.messages.push(Message::new(MessageRole::Assistant, vec![Part::ToolCall(call.clone())]));
    let result = ToolResult::error(call.id, call.name, "there is no such file or folder");
    talk.messages.push(Message::new(MessageRole::Tool, vec![Part::ToolResult(result)]));
    assert_eq!(text(&talk), "[offline] The tool file_read failed: there is no such file or folder");
}

#[test]
fn tool_choice_is_followed() {
    let none = request("2 + 3", &[add_tool()]).with_tool_choice(ToolChoice::None);
    assert_eq!(respond(&none).finish_reason, FinishReason::Stop);
    let named = request("hello", &[calculator_tool(), add_tool()]).with_tool_choice(ToolChoice::Tool("add".into()));
    assert_eq!(only_call(&named).name, "add");
    let required = request("hello", &[calculator_tool()]).with_tool_choice(ToolChoice::Required);
    assert_eq!(only_call(&required).name, "calculator");
}

#[test]
fn a_sum_without_a_document_fills_a_schema() {
    let schema = json!({"type": "object", "properties": {"answer": {"type": "string"}, "result": {"type": "number"}}, "required": ["answer", "result"]});
    let value = output(answered(request("2 + 3?", &[add_tool()]), json!(5.0)), schema);
    assert_eq!(value, json!({"answer": "The result is 5.", "result": 5}));
}

#[test]
fn the_cap_on_output_is_kept_and_usage_counted() {
    let mut asked = request(LEASE, &[]);
    asked.settings.max_output_tokens = Some(5);
    let response = respond(&asked);
    assert_eq!(response.finish_reason, FinishReason::Length);
    assert!(response.message.text_content().len() <= 20);
    let usage = response.usage.unwrap();
    assert_eq!((usage.output_tokens, usage.requests, usage.provenance), (5, 1, Provenance::Counted));
    assert!(usage.input_tokens > 0 && usage.input_tokens <= Offline.input_token_bound(&asked));
    assert_eq!(response.model_name, "offline");
    assert!(Offline.profile("offline").free);
}

#[tokio::test]
async fn words_stream_and_fold_to_the_whole() {
    let stream =
        Offline.stream(request("Blitz is an engine for agents.", &[]), CallContext::new(Duration::from_secs(1)));
    let items: Vec<StreamItem> = stream.map(Result::unwrap).collect().await;
    let streamed: String = items
        .iter()
        .filter_map(|item| match item {
            StreamItem::Delta(Delta::Text { text }) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let Some(StreamItem::Done(whole)) = items.last() else { panic!("no end") };
    assert_eq!(streamed, "[offline] Blitz is an engine for agents.");
    assert_eq!(whole.message.text_content(), streamed);
}

#[test]
fn schemas_of_every_kind_get_valid_values() {
    for schema in [
        json!({"type": ["string", "null"]}),
        json!({"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 3}]}),
        json!({"oneOf": [{"type": "object", "properties": {"kind": {"const": "a"}}, "required": ["kind"]},
                         {"type": "object", "properties": {"kind": {"const": "b"}}, "required": ["kind"]}]}),
        json!({"allOf": [{"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"properties": {"b": {"type": "integer"}}, "required": ["b"]}]}),
        json!({"type": "object", "required": ["x"], "additionalProperties": {"type": "integer"}}),
        json!({"type": "object", "minProperties": 2, "additionalProperties": {"type": "string"}}),
        json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": false, "minItems": 2}),
        json!({"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 3, "uniqueItems": true}),
        json!({"type": "array", "items": {"type": "string", "maxLength": 10}, "minItems": 9, "uniqueItems": true}),
        json!({"type": "array", "items": {"type": "integer", "multipleOf": 5}, "minItems": 4, "uniqueItems": true}),
        json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
        json!({"type": "integer", "minimum": 7, "multipleOf": 5}),
        json!({"type": "string", "format": "date-time"}),
        json!({"type": "string", "minLength": 900}),
        json!({"enum": [null, 3]}),
        json!({"type": "object", "properties": {"next": {"$ref": "#"}, "n": {"type": "integer"}}, "required": ["n"]}),
        json!({"$defs": {"t": {"type": "object", "required": ["v", "kids"], "properties": {
            "v": {"type": "string"}, "kids": {"type": "array", "items": {"$ref": "#/$defs/t"}}}}}, "$ref": "#/$defs/t"}),
        json!({"type": "object", "properties": {"up": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["up"]}),
        json!({"properties": {"default": {"type": "boolean", "default": true}}}),
        json!(true),
        json!({}),
    ] {
        for material in ["", "hello", LEASE] {
            output(request(material, &[]), schema.clone());
        }
    }
}

#[test]
fn t49_a_schema_that_demands_itself_ends() {
    let twice =
        json!({"type": "object", "required": ["a", "b"], "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}});
    let branches = json!({"anyOf": [{"$ref": "#/$defs/x"}, {"$ref": "#/$defs/x"}], "$defs": {"x": {
        "type": "object", "required": ["a", "b"], "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}}}});
    for schema in [twice, branches, json!({"$ref": "#"})] {
        respond(&request(LEASE, &[]).with_output_schema(OutputSchema::new("out", schema)));
    }
}

fn any_schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({"type": "boolean"})),
        Just(json!({"type": "null"})),
        Just(json!({"enum": ["low", "high", 3]})),
        Just(json!({"const": {"x": [1]}})),
        (-50i64..50, 0i64..50)
            .prop_map(|(least, more)| json!({"type": "integer", "minimum": least, "maximum": least + more})),
        (-5i64..5, 1i64..50)
            .prop_map(|(least, more)| json!({"type": "number", "exclusiveMinimum": least, "maximum": least + more})),
        (0usize..40, 0usize..40)
            .prop_map(|(least, more)| json!({"type": "string", "minLength": least, "maxLength": least + more})),
    ];
    let name = prop_oneof!["summary", "issues", "risk_score", "title", "quote", "severity", "count", "flag", "x"];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec((name.clone(), inner.clone(), any::<bool>()), 0..4).prop_map(|fields| {
                let required: Vec<String> = fields
                    .iter()
                    .filter(|field| field.2)
                    .map(|field| field.0.clone())
                    .collect::<std::collections::BTreeSet<_>>()
                    .into_iter()
                    .collect();
                let properties: Map<String, Value> =
                    fields.into_iter().map(|(name, schema, _)| (name, schema)).collect();
                json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
            }),
            (inner.clone(), 0usize..4, 0usize..4).prop_map(|(items, least, more)| {
                json!({"type": "array", "items": items, "minItems": least, "maxItems": least + more})
            }),
            (inner.clone(), inner).prop_map(|(a, b)| json!({"anyOf": [a, b]})),
        ]
    })
}

proptest! {
    #[test]
    fn any_schema_gets_a_valid_value(schema in any_schema(), long: bool) {
        output(request(if long { LEASE } else { "Hi there" }, &[]), schema);
    }

    #[test]
    fn any_question_gets_the_same_answer_twice(question in ".{0,200}") {
        let asked = request(&question, &[add_tool(), calculator_tool(), read_tool()]);
        prop_assert_eq!(respond(&asked), respond(&asked));
    }
}
