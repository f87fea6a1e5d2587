//! Every shape is read, nothing unknown is lost, nothing secret is given away.

use serde_json::{Value, json};

use super::{export, read};
use crate::domain::{NodeType, OnError, ProblemCode, WorkflowDefinition};
use crate::error::ErrorCode;
use crate::workflow::validate::validate;

fn imported(value: &Value) -> WorkflowDefinition {
    read(value).unwrap().definition
}

fn errors(definition: &WorkflowDefinition) -> Vec<&'static str> {
    let found = validate(definition, &[]).problems;
    found.iter().filter(|problem| problem.is_error()).map(|problem| problem.code.name()).collect()
}

fn api_shape() -> Value {
    json!({"name": "old", "description": "from the API", "version": 1, "is_active": true, "definition": {
        "nodes": [
            {"id": "start-1", "type": "start", "position": {"x": 0, "y": 0}, "data": {}},
            {"id": "input-1", "type": "input", "data": {"default_value": {"text": "hi"}, "colour": "red"}},
            {"id": "agent-1", "type": "agent", "data": {"agent_id": 7, "label": "Analyse"}},
            {"id": "1f", "type": "end"},
        ],
        "edges": [
            {"id": "e1", "source": "start-1", "target": "input-1", "sourceHandle": "", "targetHandle": ""},
            {"source": "input-1", "target": "agent-1", "sourceHandle": "right", "targetHandle": "left"},
            {"source": "agent-1", "target": "1f"},
        ],
    }})
}

#[test]
fn w55_the_shape_of_the_api_is_read() {
    let definition = imported(&api_shape());
    assert_eq!((definition.name.as_str(), definition.description.as_str()), ("old", "from the API"));
    assert_eq!(errors(&definition), [""; 0]);
    let agent = definition.node("agent-1").unwrap();
    assert_eq!((&agent.config["agent"], agent.label.as_str()), (&json!(7), "Analyse"));
    let input = definition.node("input-1").unwrap();
    assert_eq!((&input.config["default"], &input.config["name"]), (&json!({"text": "hi"}), &json!("input-1")));
    assert_eq!(input.x["data"], json!({"colour": "red"}));
    let end = definition.node("n_1f").expect("an id that ours may not be is another");
    assert_eq!(end.x["id"], "1f");
    let edges: Vec<(&str, &str, &str)> =
        definition.edges.iter().map(|edge| (edge.from.as_str(), edge.out.as_str(), edge.to.as_str())).collect();
    assert_eq!(edges, [("start-1", "out", "input-1"), ("input-1", "out", "agent-1"), ("agent-1", "out", "n_1f")]);
    assert_eq!(definition.edges[1].x["sourceHandle"], "right");
    assert!(definition.nodes.iter().all(|node| node.position.is_some()), "what has no place gets one");
}

#[test]
fn w55_the_shape_of_the_designer_is_read() {
    let designer = json!({"name": "drawn", "updated_at": "2024-01-01", "nodes": [
        {"id": "start-1", "type": "start", "name": "Begin", "position": {"x": 10, "y": 20}, "data": {}},
        {"id": "tool-2", "type": "tool", "name": "Search", "position": {"x": 10, "y": 20}, "data": {"tool_id": "12"}},
        {"id": "end-3", "type": "end", "name": "Done"},
    ], "connections": [
        {"id": "conn-start-1-tool-2", "source": "start-1", "target": "tool-2"},
        {"id": "conn-tool-2-end-3", "source": "tool-2", "target": "end-3"},
    ]});
    let definition = imported(&designer);
    assert_eq!(errors(&definition), [""; 0]);
    assert_eq!(definition.node("tool-2").unwrap().config["tool"], json!(12));
    assert_eq!(definition.node("start-1").unwrap().label, "Begin");
    assert_eq!(definition.node("start-1").unwrap().position.map(|place| place.y), Some(20.0));
}

#[test]
fn w55_what_react_flow_keeps_is_read() {
    let flow = json!({"nodes": [
        {"id": "1", "type": "custom", "data": {"type": "start"}, "position": {"x": 0, "y": 0}, "selected": true},
        {"id": "2", "type": "conditionNode", "data": {"label": "High?", "condition": "inputs.score > 7"}},
        {"id": "g", "type": "group", "data": {}},
        {"id": "3", "type": "llm", "parentId": "g", "data": {"model_name": "m", "prompt_template": "Say {text}"}},
        {"id": "4", "type": "end", "data": {}},
    ], "edges": [
        {"id": "a", "source": "1", "target": "2"},
        {"id": "b", "source": "2", "sourceHandle": "yes", "target": "g"},
        {"id": "c", "source": "2", "sourceHandle": "no", "target": "4"},
        {"id": "d", "source": "g", "sourceHandle": "onError", "target": "4", "animated": true},
    ], "viewport": {"x": 0, "y": 0, "zoom": 1}});
    let definition = imported(&flow);
    assert_eq!(errors(&definition), [""; 0]);
    assert_eq!(definition.name, "imported");
    assert_eq!(definition.x["viewport"]["zoom"], 1);
    assert_eq!(definition.node("n_1").unwrap().kind, NodeType::Start);
    assert_eq!(
        definition.node("n_2").unwrap().config,
        json!({"expr": "inputs.score > 7"}).as_object().unwrap().clone()
    );
    assert_eq!(definition.node("n_3").unwrap().parent.as_deref(), Some("g"));
    assert_eq!(definition.node("g").unwrap().on_error, OnError::Branch);
    let outs: Vec<&str> = definition.edges.iter().map(|edge| edge.out.as_str()).collect();
    assert_eq!(outs, ["out", "true", "false", "error"]);
}

#[test]
fn what_was_read_is_read_again_unchanged() {
    for value in [api_shape(), own()] {
        let first = imported(&value);
        let text = serde_json::to_value(&first).unwrap();
        assert_eq!(imported(&text), first);
        let exported = imported(&export(&first).unwrap());
        assert_eq!(export(&exported).unwrap(), export(&first).unwrap());
        assert_eq!(serde_json::from_value::<WorkflowDefinition>(text).unwrap(), first);
    }
}

fn own() -> Value {
    json!({"format": "blitz.workflow/1", "name": "w", "future": {"a": 1}, "id": "mine",
        "vars": {"x": {"default": 1, "merge": "add"}},
        "nodes": [
            {"id": "s", "type": "start", "glow": true},
            {"id": "h", "type": "http", "config": {"url": "https://example.com", "headers": {"X-Api-Key": "sk-canary", "Accept": "*/*"}},
                "pin": null, "on_error": {"value": {"ok": false}}},
            {"id": "c", "type": "crm.lookup", "config": {"a": 1}},
            {"id": "t", "type": "tool", "config": {"tool": "mail", "arguments": {"password": "sk-canary"}}},
        ],
        "edges": [{"from": "s", "to": "h", "weight": 3}], "ui": {"zoom": 2}})
}

#[test]
fn unknown_keys_are_kept_and_told() {
    let read = read(&own()).unwrap();
    let told: Vec<&str> = read.problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(told, ["/future", "/nodes/0/glow", "/edges/0/weight"]);
    assert!(read.problems.iter().all(|problem| problem.code == ProblemCode::UnknownKey));
    let definition = read.definition;
    assert_eq!(definition.reference.as_deref(), Some("mine"));
    assert_eq!((&definition.x["future"]["a"], &definition.nodes[0].x["glow"]), (&json!(1), &json!(true)));
    assert_eq!(definition.nodes[1].pin, Some(Value::Null));
}

#[test]
fn a_retry_on_a_failure_that_does_not_exist_is_told_and_kept_aside() {
    let retry = json!({"max_attempts": 2, "on": ["timeout", "no_such", "worse"]});
    let nodes = json!([{"id": "a", "type": "template", "config": {"template": "x"}, "retry": retry}]);
    let read = read(&json!({"format": "blitz.workflow/1", "name": "w", "nodes": nodes})).unwrap();
    let told: Vec<_> =
        read.problems.iter().map(|told| (told.code.name(), told.node.as_deref(), told.path.as_str())).collect();
    let at = |place| ("E_RETRY_ON", Some("a"), place);
    assert_eq!(told, [at("/nodes/0/retry/on/1"), at("/nodes/0/retry/on/2")]);
    assert!(read.problems.iter().all(|problem| problem.fix.is_some()));
    assert!(read.problems[0].message.starts_with("no failure has the code no_such; there are "), "{:?}", read.problems);
    assert!(read.problems[0].message.contains("rate_limited"), "{:?}", read.problems);
    // Without it the node would be tried again on other failures than somebody meant.
    assert_eq!((&read.definition.nodes[0].retry, &read.definition.nodes[0].x["retry"]), (&None, &retry));
}

#[test]
fn w43_an_export_holds_no_secret() {
    let exported = export(&imported(&own())).unwrap();
    assert!(!exported.to_string().contains("canary"), "{exported}");
    assert_eq!(exported["nodes"][1]["config"]["headers"]["X-Api-Key"], "{{ secrets.x_api_key }}");
    assert_eq!(exported["nodes"][1]["config"]["headers"]["Accept"], "*/*");
}

#[test]
fn w43_an_export_holds_no_secret_however_deep_it_stood() {
    let deep = json!({"format": "blitz.workflow/1", "name": "w", "nodes": [
        {"id": "h", "type": "http", "config": {"url": "https://me:sk-canary@example.com/?api_key=sk-canary&q=1",
            "method": "POST", "body": {"login": [{"name": "me", "password": "sk-canary"}]}},
            "fallback": [{"headers": {"Authorization": "Bearer sk-canary"}}]},
        {"id": "t", "type": "tool", "config": {"tool": "mail", "arguments": {"server": {"password": "sk-canary"}}},
            "input": {"to": "me", "auth": {"access_token": "sk-canary"}}},
        {"id": "c", "type": "crm.lookup", "config": {"client": {"client_secret": "sk-canary", "region": "eu"}}},
        {"id": "a", "type": "agent", "config": {"agent": "x", "values": {"deep": {"apiKey": "sk-canary"}}}},
        {"id": "e", "type": "end"}], "edges": []});
    let exported = export(&imported(&deep)).unwrap();
    assert!(!exported.to_string().contains("canary"), "{exported}");
    let at = |place: &str| exported.pointer(place).and_then(Value::as_str).unwrap_or_else(|| panic!("{place}"));
    assert_eq!(at("/nodes/0/config/url"), "https://***@example.com/?api_key={{ secrets.api_key }}&q=1");
    assert_eq!(at("/nodes/0/config/body/login/0/password"), "{{ secrets.password }}");
    assert_eq!(at("/nodes/0/fallback/0/headers/Authorization"), "{{ secrets.authorization }}");
    assert_eq!(at("/nodes/1/config/arguments/server/password"), "{{ secrets.password }}");
    // Secrets are not read there: whoever imports it sees that something is missing.
    assert_eq!((at("/nodes/1/input/auth/access_token"), at("/nodes/1/input/to")), ("***", "me"));
    assert_eq!((at("/nodes/2/config/client/client_secret"), at("/nodes/2/config/client/region")), ("***", "eu"));
    assert_eq!(at("/nodes/3/config/values/deep/apiKey"), "{{ secrets.apikey }}");
    let again = imported(&exported);
    assert_eq!(export(&again).unwrap(), exported);
}

#[test]
fn what_has_the_wrong_form_is_told_and_kept() {
    let odd = json!({"format": "blitz.workflow/1", "name": "w", "limits": {"timeout_s": "sk-canary"}, "nodes": [
        {"id": "a", "type": "end", "retry": {"max_attempts": "sk-canary"}, "join": 5},
        "nonsense",
        {"type": "end"},
    ], "edges": [{"from": "a"}], "triggers": [{"type": "teleport"}], "vars": {"v": {"merge": "sk-canary"}}});
    let read = read(&odd).unwrap();
    let places: Vec<&str> = read.problems.iter().map(|problem| problem.path.as_str()).collect();
    let expected = [
        "/vars/v",
        "/limits",
        "/triggers/0",
        "/nodes/0/join",
        "/nodes/0/retry",
        "/nodes/1",
        "/nodes/2/id",
        "/edges/0/to",
    ];
    assert_eq!(places, expected);
    assert!(read.problems.iter().all(|problem| problem.code == ProblemCode::Shape && problem.is_error()));
    assert!(!format!("{:?}", read.problems).contains("canary"), "{:?}", read.problems);
    assert_eq!(read.definition.nodes[0].x["join"], 5);
    // Nothing of it is lost, and no check lets it pass; each place is told once.
    let x = &read.definition.x;
    assert_eq!((&x["vars"]["v"]["merge"], &x["triggers"][0]["type"]), (&json!("sk-canary"), &json!("teleport")));
    assert_eq!(x["nodes"], json!(["nonsense"]));
    let again = errors(&read.definition).into_iter().filter(|told| *told == "E_SHAPE").count();
    assert_eq!(again, 6, "limits, vars, triggers, nodes, join and retry");
    let mut all = read.problems.clone();
    super::found(&mut all, validate(&read.definition, &[]).problems);
    let shapes = all.iter().filter(|problem| problem.code == ProblemCode::Shape).count();
    assert_eq!(shapes, expected.len(), "{all:#?}");
}

#[test]
fn t62_what_is_no_workflow_is_refused_whole() {
    let refused = |value: Value| read(&value).unwrap_err().code();
    for value in [json!([]), json!(null), json!("x"), json!({}), json!({"name": "x"}), json!({"definition": []})] {
        assert_eq!(refused(value.clone()), ErrorCode::InvalidInput, "{value}");
    }
    assert_eq!(refused(json!({"format": "blitz.workflow/2", "nodes": []})), ErrorCode::InvalidInput);
    assert_eq!(refused(json!({"format": 1, "nodes": []})), ErrorCode::InvalidInput);
}

#[test]
fn t26_what_is_too_big_is_refused_whole() {
    let many: Vec<Value> = (0..20_001).map(|n| json!({"id": n, "type": "end"})).collect();
    assert_eq!(read(&json!({"nodes": many})).unwrap_err().code(), ErrorCode::TooLarge);
    let mut deep = json!(1);
    for _ in 0..90 {
        deep = json!([deep]);
    }
    assert_eq!(read(&json!({"nodes": [], "x": deep})).unwrap_err().code(), ErrorCode::TooLarge);
}

#[test]
fn a_circle_is_imported_as_a_draft() {
    let value = json!({"name": "w", "nodes": [{"id": "a", "type": "agent", "data": {"agent_id": 1}}, {"id": "b", "type": "end"}],
        "edges": [{"source": "a", "target": "b"}, {"source": "b", "target": "a"}]});
    let definition = imported(&value);
    let found = validate(&definition, &[]);
    let circle = found.problems.iter().find(|problem| problem.code == ProblemCode::Cycle).unwrap();
    assert_eq!(circle.fix.as_ref().unwrap().action, "wrap_in_loop");
}

mod any {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::{errors, read};
    use crate::workflow::picture::{States, mermaid, svg};

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z{}% ]{0,6}".prop_map(Value::from),
            prop::sample::select(vec![
                "a",
                "b",
                "start",
                "map",
                "loop",
                "if",
                "out",
                "true",
                "error",
                "{{ nodes.a.output }}"
            ])
            .prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 6, |inner| {
            let key = prop_oneof![
                prop::sample::select(vec![
                    "id",
                    "type",
                    "nodes",
                    "edges",
                    "connections",
                    "definition",
                    "data",
                    "config",
                    "from",
                    "to",
                    "source",
                    "target",
                    "out",
                    "parent",
                    "join",
                    "when",
                    "input",
                    "x",
                    "retry",
                    "expr",
                    "items",
                    "cases",
                    "vars",
                    "position",
                    "label",
                    "format",
                    "name",
                ])
                .prop_map(str::to_owned),
                "[a-z]{0,3}",
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((key, inner), 0..6).prop_map(|pairs| Value::Object(Map::from_iter(pairs))),
            ]
        })
    }

    proptest! {
        /// Whatever comes, reading, checking and drawing it ends without a panic.
        #[test]
        fn value_is_read_checked_and_drawn(nodes in prop::collection::vec(value(), 0..5), edges in prop::collection::vec(value(), 0..5), own in any::<bool>()) {
            let mut given = serde_json::json!({"nodes": nodes, "edges": edges});
            if own {
                given["format"] = "blitz.workflow/1".into();
            }
            if let Ok(read) = read(&given) {
                errors(&read.definition);
                mermaid(&read.definition, &States::default());
                svg(&read.definition, &States::default());
            }
        }
    }
}
