//! Drafts, publication, versions, imports and pictures, as a user meets them.

use blitz::{
    Edge, ErrorCode, ListOptions, MergeRule, NewAgent, NewRole, NewUser, NodeType, Permission, PictureFormat,
    ProblemCode, Role, Scope, Session, Share, ShareLevel, Workflow, WorkflowDefinition, WorkflowLimits,
};
use serde_json::{Value, json};

use crate::bad_input::code;
use crate::support::engine::scripted;

/// The smallest example of the format: a question of risk, and a person where it is high.
fn triage() -> Value {
    json!({"format": "blitz.workflow/1", "name": "triage",
    "inputs": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    "nodes": [
        {"id": "s", "type": "start"},
        {"id": "risk", "type": "agent", "config": {"agent": "risk_analyzer"}, "input": {"text": "{{ inputs.text }}"},
            "retry": {"max_attempts": 3}, "on_error": "branch"},
        {"id": "hi", "type": "if", "config": {"expr": "nodes.risk.output.score >= 7"}},
        {"id": "ask", "type": "approval", "timeout_s": 86_400},
        {"id": "e", "type": "end"},
    ],
    "edges": [
        {"from": "s", "to": "risk"}, {"from": "risk", "to": "hi"}, {"from": "risk", "out": "error", "to": "e"},
        {"from": "hi", "out": "true", "to": "ask"}, {"from": "hi", "out": "false", "to": "e"},
        {"from": "ask", "out": "approved", "to": "e"},
    ]})
}

fn definition(value: Value) -> WorkflowDefinition {
    serde_json::from_value(value).unwrap()
}

async fn with_analyzer() -> (blitz::Engine, Session) {
    let (engine, me, _) = scripted(vec![]).await;
    me.agents().put(NewAgent::new("risk_analyzer", "m")).await.unwrap();
    (engine, me)
}

/// A workflow that needs nothing of the catalogue.
fn plain(name: &str) -> Workflow {
    Workflow::new(name).start("s").template("t", "Hello {{ inputs.name }}").end("e").edge("s", "t").edge("t", "e")
}

fn problem_codes(error: &blitz::Error) -> Vec<String> {
    let problems = error.details()["problems"].as_array().cloned().unwrap_or_default();
    problems.iter().filter_map(|problem| problem["code"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn the_smallest_example_is_put_checked_and_published() {
    let (_engine, me) = with_analyzer().await;
    let put = me.call("workflows.put", triage()).await.unwrap();
    assert_eq!((&put["name"], &put["revision"]), (&json!("triage"), &json!(1)));
    assert_eq!(me.call("workflows.put", triage()).await.unwrap()["revision"], 1, "nothing changed");
    let checked = me.call("workflows.validate", json!({"definition": triage()})).await.unwrap();
    assert_eq!((&checked["valid"], &checked["problems"]), (&json!(true), &json!([])));
    let published = me.workflows().publish("triage").await.unwrap();
    assert_eq!((published.version, published.spec.nodes.len()), (1, 5));
    assert_eq!(me.workflows().publish("triage").await.unwrap().version, 1, "nothing changed");
    assert_eq!(code(me.agents().put(NewAgent::new("triage", "m")).await), ErrorCode::Conflict);
    assert_eq!(code(me.workflows().put(WorkflowDefinition::new("risk_analyzer")).await), ErrorCode::Conflict);
}

#[tokio::test]
async fn what_was_built_is_what_its_json_says() {
    let built = Workflow::new("triage")
        .inputs(triage()["inputs"].clone())
        .start("s")
        .agent("risk", "risk_analyzer")
        .input(json!({"text": "{{ inputs.text }}"}))
        .attempts(3)
        .choose("hi", "nodes.risk.output.score >= 7")
        .node("ask", NodeType::Approval, json!({}))
        .timeout_s(86_400)
        .end("e")
        .edge("s", "risk")
        .edge("risk", "hi")
        .on_failure("risk", "e")
        .port("hi", "true", "ask")
        .port("hi", "false", "e")
        .port("ask", "approved", "e")
        .build();
    assert_eq!(built, definition(triage()));
    let nested = Workflow::new("nested")
        .map("each", "inputs.files", |body| body.template("one", "{{ item }}"))
        .config("concurrency", 4)
        .repeat("again", 3, "loop.count > 1", |body| body.template("two", "x"))
        .http("call", "https://example.com/{{ inputs.id }}")
        .var("seen", json!([]), MergeRule::Append)
        .build();
    let (_engine, me) = with_analyzer().await;
    let parents: Vec<Option<&str>> = nested.nodes.iter().map(|node| node.parent.as_deref()).collect();
    assert_eq!(parents, [None, Some("each"), None, Some("again"), None]);
    assert_eq!(nested.nodes[0].config["concurrency"], 4);
    let checked = me.workflows().validate(json!(nested)).await.unwrap();
    assert!(checked.valid, "{:?}", checked.problems);
}

#[tokio::test]
async fn w14_a_broken_draft_is_kept_and_not_published() {
    let (_engine, me) = with_analyzer().await;
    let mut broken = definition(triage());
    broken.nodes[1].kind = NodeType::from_name("agnet");
    broken.edges.push(Edge::new("e", "risk"));
    broken.edges.push(Edge::new("hi", "nowhere").port("maybe"));
    me.workflows().put(broken.clone()).await.unwrap();
    assert_eq!(me.workflows().get("triage").await.unwrap().spec, broken);
    let refused = me.workflows().publish("triage").await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::InvalidInput);
    let codes = problem_codes(&refused);
    for expected in ["E_UNKNOWN_TYPE", "E_MISSING_NODE", "E_UNKNOWN_PORT", "E_CYCLE"] {
        assert!(codes.iter().any(|code| code == expected), "{expected} in {codes:?}");
    }
    assert!(me.workflows().versions("triage", ListOptions::default()).await.unwrap().items.is_empty());
    assert_eq!(code(me.workflows().diff("triage", None, None).await), ErrorCode::NotFound);
    me.workflows().delete("triage").await.unwrap();
    assert_eq!(code(me.workflows().get("triage").await), ErrorCode::NotFound);
}

#[tokio::test]
async fn w54_a_pin_is_refused_on_publication() {
    let (_engine, me) = with_analyzer().await;
    let pinned = plain("p").with(|node| node.pin = Some(json!(null))).build();
    me.workflows().put(pinned).await.unwrap();
    assert_eq!(problem_codes(&me.workflows().publish("p").await.unwrap_err()), ["E_PIN"]);
}

#[tokio::test]
async fn versions_never_change_and_roll_back() {
    let (_engine, me) = with_analyzer().await;
    me.workflows().put(plain("w").build()).await.unwrap();
    let first = me.workflows().publish("w").await.unwrap();
    // Layout is no content: it is a revision of the draft and no version.
    let mut moved = plain("w").build();
    moved.ui = json!({"zoom": 2});
    let moved = me.workflows().put(moved).await.unwrap();
    assert_eq!(moved.revision, 2);
    assert_eq!(me.workflows().publish("w").await.unwrap().version, 1);
    let changed = plain("w").with(|node| node.label = "Done".to_owned()).wait("pause", 5).edge("t", "pause").build();
    me.workflows().put(changed).await.unwrap();
    let diff = me.workflows().diff("w", None, None).await.unwrap();
    assert!(!diff.same);
    assert_eq!((diff.added, diff.removed), (vec!["pause".to_owned()], vec![]));
    assert_eq!(diff.edges_added, ["t.out -> pause"]);
    assert_eq!((diff.changed[0].id.as_str(), diff.changed[0].fields[0].path.as_str()), ("e", "/label"));
    let second = me.workflows().publish("w").await.unwrap();
    assert_eq!(second.version, 2);
    assert_eq!(me.workflows().version("w", 1).await.unwrap(), first);
    let third = me.workflows().rollback("w", 1).await.unwrap();
    assert_eq!((third.version, &third.content_hash), (3, &first.content_hash));
    assert!(me.workflows().diff("w", Some(1), Some(3)).await.unwrap().same);
    assert_eq!(me.workflows().get("w").await.unwrap().spec.nodes.len(), 4, "the draft stays");
    let page = me.workflows().versions("w", ListOptions::limit(2)).await.unwrap();
    assert_eq!((page.items.len(), page.next_cursor.is_some()), (2, true));
    assert_eq!(code(me.workflows().version("w", 9).await), ErrorCode::NotFound);
    assert_eq!(code(me.workflows().rollback("w", 9).await), ErrorCode::NotFound);
    let trail = me.audit().list(ListOptions::default()).await.unwrap();
    assert!(trail.items.iter().any(|line| line.action == "workflows.publish" && line.details["version"] == 2));
}

#[tokio::test]
async fn what_a_workflow_names_must_be_there_when_it_is_published() {
    let (_engine, me, _) = scripted(vec![]).await;
    me.call("workflows.put", triage()).await.unwrap();
    let refused = me.workflows().publish("triage").await.unwrap_err();
    assert_eq!(problem_codes(&refused), ["E_REFERENCE"]);
    assert!(refused.to_string().contains("risk_analyzer"), "{refused}");
    me.agents().put(NewAgent::new("risk_analyzer", "m")).await.unwrap();
    me.workflows().publish("triage").await.unwrap();
}

#[tokio::test]
async fn w30_workflows_that_lead_back_to_themselves_are_refused() {
    let (_engine, me) = with_analyzer().await;
    let calls = |name: &str, other: &str| {
        Workflow::new(name).start("s").subflow("next", other).end("e").edge("s", "next").edge("next", "e").build()
    };
    me.workflows().put(calls("own", "own")).await.unwrap();
    assert_eq!(problem_codes(&me.workflows().publish("own").await.unwrap_err()), ["E_RECURSION"]);
    me.workflows().put(plain("c").build()).await.unwrap();
    me.workflows().put(calls("b", "c")).await.unwrap();
    assert_eq!(problem_codes(&me.workflows().publish("b").await.unwrap_err()), ["E_REFERENCE"], "c is not published");
    me.workflows().publish("c").await.unwrap();
    me.workflows().publish("b").await.unwrap();
    me.workflows().put(calls("a", "b")).await.unwrap();
    me.workflows().publish("a").await.unwrap();
    me.workflows().put(calls("c", "a")).await.unwrap();
    assert_eq!(problem_codes(&me.workflows().publish("c").await.unwrap_err()), ["E_RECURSION"]);
}

#[tokio::test]
async fn w55_all_shapes_are_imported_and_come_back_without_secrets() {
    let (_engine, me) = with_analyzer().await;
    let old = json!({"name": "old", "description": "", "definition": {
        "nodes": [{"id": "start-1", "type": "start"}, {"id": "agent-1", "type": "agent", "data": {"agent_id": 2}},
            {"id": "http-1", "type": "http", "data": {"url": "https://example.com", "headers": {"Authorization": "Bearer sk-canary"}}},
            {"id": "end-1", "type": "end"}],
        "edges": [{"source": "start-1", "target": "agent-1"}, {"source": "agent-1", "target": "http-1"},
            {"source": "http-1", "target": "end-1"}],
    }});
    let imported = me.workflows().import(old.clone(), None).await.unwrap();
    assert_eq!(imported.workflow.spec.name, "old");
    assert_eq!(imported.problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), [ProblemCode::PlainSecret]);
    let exported = me.workflows().export("old", None).await.unwrap();
    assert!(!exported.to_string().contains("canary"), "{exported}");
    let again = me.call("workflows.import", json!({"definition": exported, "name": "again"})).await.unwrap();
    assert_eq!((&again["workflow"]["name"], &again["problems"]), (&json!("again"), &json!([])));
    me.workflows().publish("again").await.unwrap();
    assert_eq!(me.workflows().import(old, None).await.unwrap().workflow.revision, 1, "the same again is no change");
}

#[tokio::test]
async fn t62_a_wrong_import_keeps_nothing() {
    let (_engine, me) = with_analyzer().await;
    for wrong in [json!("x"), json!({}), json!({"format": "blitz.workflow/9", "name": "w", "nodes": []}), json!([1])] {
        assert_eq!(code(me.workflows().import(wrong.clone(), None).await), ErrorCode::InvalidInput, "{wrong}");
        assert_eq!(code(me.workflows().validate(wrong.clone()).await), ErrorCode::InvalidInput, "{wrong}");
    }
    let other = json!({"format": "blitz.workflow/9", "name": "w"});
    assert_eq!(code(me.call("workflows.put", other).await), ErrorCode::InvalidInput);
    assert!(me.workflows().list(ListOptions::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn t26_a_fan_out_of_a_million_is_a_typed_error() {
    let (_engine, me) = with_analyzer().await;
    let nodes: Vec<Value> = (0..1_000_000).map(|n| json!({"id": n})).collect();
    let huge = json!({"name": "w", "nodes": nodes});
    assert_eq!(code(me.workflows().import(huge, None).await), ErrorCode::TooLarge);
    let mut deep = json!(1);
    for _ in 0..120 {
        deep = json!({"a": deep});
    }
    let deep = json!({"name": "w", "nodes": [{"id": "a", "type": "end", "config": {"output": deep}}]});
    assert_eq!(code(me.workflows().validate(deep.clone()).await), ErrorCode::TooLarge);
    assert_eq!(code(me.call("workflows.put", deep).await), ErrorCode::InvalidInput);
    let many = Workflow::new("many")
        .limits(serde_json::from_value(json!({"max_nodes": 2})).unwrap())
        .start("a")
        .end("b")
        .end("c");
    let checked = me.workflows().validate(json!(many.build())).await.unwrap();
    assert!(checked.problems.iter().any(|problem| problem.code == ProblemCode::TooManyNodes));
    assert_eq!(WorkflowLimits::default().max_nodes, 200);
}

#[tokio::test]
async fn a_schema_and_the_types_of_nodes_are_there_for_forms() {
    let (_engine, me) = with_analyzer().await;
    let schema = me.call("workflows.schema", Value::Null).await.unwrap();
    let agent = NewAgent::new("judge", "m").output_schema(schema.clone());
    me.agents().put(agent).await.expect("it is a schema that the engine takes itself");
    assert_eq!(schema["properties"]["nodes"]["type"], "array");
    let types = me.call("workflows.node_types", json!({})).await.unwrap();
    let types = types.as_array().unwrap();
    assert_eq!(types.len(), NodeType::ALL.len());
    let http = types.iter().find(|info| info["type"] == "http").unwrap();
    assert_eq!(http["config"]["properties"]["url"]["x-expression"], "template");
    assert_eq!(http["ports"], json!(["out"]));
}

#[tokio::test]
async fn pictures_are_text_of_both_kinds() {
    let (_engine, me) = with_analyzer().await;
    me.call("workflows.put", triage()).await.unwrap();
    let mermaid = me.call("workflows.picture", json!({"id": "triage"})).await.unwrap();
    assert!(mermaid.as_str().unwrap().starts_with("flowchart LR\n"), "{mermaid}");
    me.workflows().publish("triage").await.unwrap();
    let svg = me.workflows().picture("triage", Some(1), PictureFormat::Svg).await.unwrap();
    assert!(svg.starts_with("<svg ") && svg.contains("risk") && svg.ends_with("</svg>\n"), "{svg}");
}

#[tokio::test]
async fn workflows_have_owners_and_shares_as_agents_have() {
    let (engine, root) = with_analyzer().await;
    // A business user makes drafts; an author publishes them too.
    let may = Permission::ALL.iter().copied().filter(|permission| permission.name().starts_with("workflows:"));
    let author = root.roles().create(NewRole::new("author", may.map(Scope::own))).await.unwrap().name;
    for name in ["ana", "ben"] {
        let user = NewUser::new(format!("{name}@example.com"), "sk-canary long passphrase")
            .with_role(Role::from_name(&author).unwrap());
        root.users().create(user).await.unwrap();
    }
    let ana = engine.login("ana@example.com", "sk-canary long passphrase").await.unwrap();
    let ben = engine.login("ben@example.com", "sk-canary long passphrase").await.unwrap();
    ana.workflows().put(plain("mine").build()).await.unwrap();
    ana.workflows().publish("mine").await.unwrap();
    let hers = "ana@example.com/mine";
    assert_eq!(code(ben.workflows().get(hers).await), ErrorCode::NotFound);
    assert_eq!(code(ben.workflows().publish(hers).await), ErrorCode::NotFound);
    ana.workflows().share("mine", Share::with_user("ben@example.com", ShareLevel::View)).await.unwrap();
    assert_eq!(ben.workflows().versions(hers, ListOptions::default()).await.unwrap().items.len(), 1);
    assert_eq!(ben.workflows().export(hers, Some(1)).await.unwrap()["name"], "mine");
    assert_eq!(code(ben.workflows().publish(hers).await), ErrorCode::PermissionDenied);
    assert_eq!(code(ben.workflows().rollback(hers, 1).await), ErrorCode::PermissionDenied);
    ana.workflows().share("mine", Share::with_user("ben@example.com", ShareLevel::Manage)).await.unwrap();
    ben.workflows().publish(hers).await.unwrap();
    // Whoever publishes must be allowed to use what it names: Ben may not know of the host's agent.
    ben.call("workflows.put", triage()).await.unwrap();
    assert_eq!(problem_codes(&ben.workflows().publish("triage").await.unwrap_err()), ["E_REFERENCE"]);
    root.users().create(NewUser::new("eve@example.com", "sk-canary long passphrase")).await.unwrap();
    let eve = engine.login("eve@example.com", "sk-canary long passphrase").await.unwrap();
    eve.workflows().put(plain("draft").build()).await.unwrap();
    assert_eq!(code(eve.workflows().publish("draft").await), ErrorCode::PermissionDenied);
}

#[test]
fn the_page_of_workflows_shows_the_builder_as_it_is() {
    let page = crate::source::text(&crate::source::workspace().join("docs/workflows.md"));
    let by_hand = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a definition");
    let by_hand: blitz::WorkflowDefinition = serde_json::from_str(by_hand).expect("is one");
    // The code of the page.
    let triage = blitz::Workflow::new("triage")
        .inputs(json!({"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}))
        .start("s")
        .agent("risk", "risk_analyzer")
        .input(json!({"text": "{{ inputs.text }}"}))
        .attempts(3)
        .choose("hi", "nodes.risk.output.score >= 7")
        .approval("ask", "Let it pass?")
        .timeout_s(86_400)
        .end("e")
        .edge("s", "risk")
        .edge("risk", "hi")
        .on_failure("risk", "e")
        .port("hi", "true", "ask")
        .port("hi", "false", "e")
        .port("ask", "approved", "e")
        .build();
    assert_eq!(triage, by_hand);
    let own = include_str!("definition.rs");
    let code = page.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the builder");
    let plain = |text: &str| text.split_whitespace().collect::<String>().replace("blitz::", "");
    assert!(plain(own).contains(&plain(code)), "the page shows another builder");
}

#[tokio::test]
async fn a_definition_off_its_shape_is_refused_with_the_place() {
    let (_engine, me, _) = scripted(vec![]).await;
    let nodes = json!([{"id": "s", "type": "start"}, {"id": "w", "type": "code", "input": "{{ a_secret }}"}]);
    let error = me.call("workflows.put", json!({"name": "bad", "nodes": nodes})).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidInput);
    assert!(error.chain().contains("/nodes/1/input"), "{}", error.chain());
    assert!(!error.chain().contains("a_secret"), "{}", error.chain());
}

#[tokio::test]
async fn what_an_import_cannot_read_keeps_it_from_being_published() {
    let (_engine, me, _) = super::stage::engine().await;
    let nodes = json!([{"id": "s", "type": "start"}, {"id": "e", "type": "end", "join": "all", "retry": 3}]);
    let odd = json!({"format": "blitz.workflow/1", "name": "odd", "nodes": nodes, "edges": [{"from": "s", "to": "e"}]});
    let imported = me.workflows().import(odd, None).await.unwrap();
    let places: Vec<&str> = imported.problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(places, ["/nodes/1/join", "/nodes/1/retry"], "each is told once");
    let refused = me.workflows().publish("odd").await.expect_err("it would run with what is usual");
    assert!(refused.to_string().contains("E_SHAPE at node e: the field join"), "{refused}");
    assert_eq!(refused.details()["problems"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_code_that_no_failure_has_is_named_with_its_place() {
    let (_engine, me, _) = super::stage::engine().await;
    let node = json!({"id": "a", "type": "http", "config": {"url": "https://a.example"}, "retry": {"on": ["timeout", "nope"]}});
    let definition = json!({"name": "w", "nodes": [{"id": "s", "type": "start"}, node], "edges": []});
    let told = me.call("workflows.put", definition).await.expect_err("there is no such code").to_string();
    for part in ["/nodes/1/retry", "node `a`", "no failure has the code nope", "rate_limited", "bad_output"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[tokio::test]
async fn a_rerun_from_what_is_not_there_names_it_and_what_is() {
    let (_engine, me, _) = super::stage::engine().await;
    let definition = json!({"name": "w", "nodes": [{"id": "s", "type": "start"}, {"id": "m", "type": "map", "config": {"items": [1]}},
        {"id": "in", "type": "code", "parent": "m", "config": {"expr": "1"}}], "edges": [{"from": "s", "to": "m"}]});
    let done = super::stage::run(&me, definition, json!({})).await;
    for (from, also) in [("nope", "there are s, m"), ("in", "it is in a container")] {
        let refused = me.executions().rerun(done.execution_id, blitz::Rerun::from(from)).await;
        let told = refused.expect_err("it is not at the top").to_string();
        assert!(told.contains(from) && told.contains(also), "{told}");
    }
}
