//! Schemas that are none, that reach out, or that cost too much; and inputs that do not follow them.

use std::time::{Duration, Instant};

use blitz::provider::Reply;
use blitz::{ErrorCode, NewPrompt, NewTool, PromptRef, Session};
use serde_json::{Value, json};

use super::{code, executions, nested};
use crate::support::engine::{agent, scripted};
use crate::support::server::Server;

/// Puts the schema wherever a user may give one, and gives what each put answers.
async fn put_everywhere(me: &Session, schema: &Value) -> Vec<(&'static str, blitz::Result<()>)> {
    let prompt = || NewPrompt::new("p", "x");
    vec![
        ("agent.output", me.agents().put(agent("a", &[]).output_schema(schema.clone())).await.map(drop)),
        ("prompt.input", me.prompts().put(prompt().with_input_schema(schema.clone())).await.map(drop)),
        ("prompt.output", me.prompts().put(prompt().with_output_schema(schema.clone())).await.map(drop)),
        ("tool.input", me.tools().put(NewTool::function("t", "", schema.clone())).await.map(drop)),
    ]
}

#[tokio::test]
async fn what_is_no_schema_is_refused_everywhere() {
    let (_engine, me, _) = scripted(vec![]).await;
    for schema in [
        json!(5),
        json!("object"),
        json!([]),
        json!({"type": "object", "properties": 5}),
        json!({"type": "object", "properties": {"a": {"type": "nope"}}}),
        json!({"type": "object", "required": "a"}),
        json!({"type": "object", "properties": {"a": {"pattern": "("}}}),
        json!({"type": "object", "properties": {"a": {"pattern": "(a)\\1"}}}),
        json!({"type": "object", "properties": {"a": {"minimum": "0"}}}),
        json!({"type": "object", "$ref": "#/nowhere"}),
        json!({"type": "object", "default": nested(200)}),
    ] {
        for (place, result) in put_everywhere(&me, &schema).await {
            assert_eq!(code(result), ErrorCode::InvalidInput, "{place}: {schema:.80}");
        }
    }
}

#[tokio::test]
async fn t49_a_schema_reaches_nothing_outside_itself() {
    let server = Server::start([]).await;
    let (_engine, me, _) = scripted(vec![]).await;
    for target in [
        format!("{}/schema.json", server.url()),
        "file:///etc/passwd".into(),
        "other.json#/a".into(),
        "//host/x".into(),
    ] {
        for keyword in ["$ref", "$dynamicRef"] {
            let schema = json!({"type": "object", "properties": {"a": {keyword: target}}});
            for (place, result) in put_everywhere(&me, &schema).await {
                assert_eq!(code(result), ErrorCode::InvalidInput, "{place}: {keyword} {target}");
            }
        }
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn t49_a_schema_that_unfolds_without_end_is_refused() {
    let (_engine, me, _) = scripted(vec![]).await;
    let level = |n: u32| (format!("l{n}"), json!({"anyOf": vec![json!({"$ref": format!("#/$defs/l{}", n + 1)}); 10]}));
    let mut levels: serde_json::Map<String, Value> = (0..20).map(level).collect();
    levels.insert("l20".into(), json!({"type": "string"}));
    let laughs = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/l0"}}, "$defs": levels});
    let began = Instant::now();
    for (place, result) in put_everywhere(&me, &laughs).await {
        assert_eq!(code(result), ErrorCode::InvalidInput, "{place}");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn t49_a_pattern_runs_in_linear_time() {
    let schema =
        json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}, "required": ["a"]});
    let evil = "a".repeat(100_000) + "!";
    let replies = vec![Reply::text(json!({"a": evil}).to_string()), Reply::text("{\"a\": \"aaa\"}")];
    let (_engine, me, _) = scripted(replies).await;
    me.agents().put(agent("a", &[]).output_schema(schema.clone())).await.unwrap();
    let prompt = NewPrompt::new("p", "{a}").with_input_schema(schema);
    me.prompts().put(prompt).await.unwrap();
    me.agents().put(agent("asks", &[]).prompt(PromptRef::latest("p"))).await.unwrap();

    let began = Instant::now();
    assert_eq!(me.run("a", "x").await.unwrap().output, json!({"a": "aaa"}));
    assert_eq!(code(me.run("asks", json!({"a": evil})).await), ErrorCode::InvalidInput);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_input_off_the_prompts_schema_is_told_by_path_without_its_value() {
    let schema = json!({
        "type": "object", "properties": {"age": {"type": "integer", "maximum": 150}}, "required": ["age"],
        "additionalProperties": false
    });
    let (_engine, me, provider) = scripted(vec![]).await;
    me.prompts().put(NewPrompt::new("p", "{age}").with_input_schema(schema)).await.unwrap();
    me.agents().put(agent("a", &[]).prompt(PromptRef::latest("p"))).await.unwrap();
    for (input, place) in [
        (json!({"age": "canary"}), "/age"),
        (json!({"age": 1e300}), "/age"),
        (json!({"age": nested(50)}), "/age"),
        (json!({}), "age"),
        (json!({"age": 1, "more": "canary"}), "more"),
        (json!(null), "age"),
        (json!("canary"), "/age"),
    ] {
        let error = me.run("a", input.clone()).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidInput, "{input}: {error}");
        let shown = format!("{error} {error:?} {}", error.details());
        assert!(shown.contains(place) && !shown.contains("canary"), "{input}: {shown}");
    }
    assert_eq!((executions(&me).await, provider.requests().len()), (0, 0));
}

#[tokio::test]
async fn an_input_nested_too_deep_to_be_kept_is_refused() {
    let (_engine, me, _) = scripted(vec![Reply::text("ok")]).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    assert_eq!(code(me.run("a", nested(200)).await), ErrorCode::InvalidInput);
    let done = me.run("a", nested(50)).await.unwrap();
    assert_eq!(me.executions().outcome(done.execution_id).await.unwrap(), done, "what is accepted can be read again");
    assert_eq!(executions(&me).await, 1);
}

#[tokio::test]
async fn settings_nested_too_deep_to_be_kept_are_refused() {
    let (_engine, me, _) = scripted(vec![]).await;
    let model =
        json!({"name": "deep", "provider": "scripted", "model_name": "x", "settings": {"extra": {"a": nested(200)}}});
    assert_eq!(code(me.call("models.put", model).await), ErrorCode::InvalidInput);
    let tool = json!({"name": "deep", "kind": "builtin", "builtin": "calculator", "config": {"a": nested(200)}});
    assert_eq!(code(me.call("tools.put", tool).await), ErrorCode::InvalidInput);
    assert!(me.models().list(blitz::ListOptions::default()).await.is_ok());
}
