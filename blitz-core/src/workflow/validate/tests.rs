//! What a definition may not be, and what its plan is.

use serde_json::{Value, json};

use super::{Checked, validate};
use crate::domain::{Effect, NodeTypeInfo, Problem, ProblemCode, WorkflowDefinition};

fn definition(value: Value) -> WorkflowDefinition {
    serde_json::from_value(value).unwrap()
}

fn checked(mut value: Value) -> Checked {
    if value.get("name").is_none() {
        value["name"] = "w".into();
    }
    validate(&definition(value), &[])
}

fn codes(checked: &Checked) -> Vec<&'static str> {
    let mut codes: Vec<&str> = checked.problems.iter().map(|problem| problem.code.name()).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// Nodes as `id:type`, edges as `from>to` or `from.port>to`.
fn graph(nodes: &[&str], edges: &[&str]) -> Value {
    let nodes: Vec<Value> = nodes.iter().map(|text| node(text)).collect();
    let edges: Vec<Value> = edges
        .iter()
        .map(|text| {
            let (from, to) = text.split_once('>').unwrap();
            let (from, out) = from.split_once('.').unwrap_or((from, "out"));
            json!({"from": from, "out": out, "to": to})
        })
        .collect();
    json!({"name": "w", "nodes": nodes, "edges": edges, "vars": {"x": {}, "log": {"merge": "append"}}})
}

/// `id:type` or `id:type@parent`, with the settings that its type wants.
fn node(text: &str) -> Value {
    let (text, parent) = text.split_once('@').map_or((text, None), |(text, parent)| (text, Some(parent)));
    let (id, kind) = text.split_once(':').unwrap_or((text, "template"));
    let config = match kind {
        "template" => json!({"template": "x"}),
        "agent" => json!({"agent": "a"}),
        "if" => json!({"expr": "true"}),
        "map" => json!({"items": [1]}),
        "loop" => json!({"max_iterations": 3}),
        "set" => json!({"vars": {"x": 1}}),
        "subflow" => json!({"workflow": "other"}),
        "fail" => json!({"message": "no"}),
        "switch" => json!({"value": "1", "cases": [{"value": 1, "port": "one"}]}),
        _ => json!({}),
    };
    let mut node = json!({"id": id, "type": kind, "config": config});
    if let Some(parent) = parent {
        node["parent"] = parent.into();
    }
    node
}

fn with(mut value: Value, id: &str, field: &str, content: Value) -> Value {
    let nodes = value["nodes"].as_array_mut().unwrap();
    nodes.iter_mut().find(|node| node["id"] == id).unwrap()[field] = content;
    value
}

fn clean(value: Value) -> super::Plan {
    let checked = checked(value);
    assert!(checked.problems.is_empty(), "{:#?}", checked.problems);
    checked.into_plan().unwrap()
}

fn only(value: Value, code: ProblemCode) -> Problem {
    let checked = checked(value);
    assert_eq!(codes(&checked), [code.name()], "{:#?}", checked.problems);
    assert_eq!(checked.plan.is_none(), code.name().starts_with("E_") && code != ProblemCode::Pin);
    checked.problems.into_iter().next().unwrap()
}

#[test]
fn a_diamond_becomes_a_plan() {
    let plan = clean(graph(&["s:start", "a", "b", "e:end"], &["s>b", "s>a", "b>e", "a>e"]));
    let ids: Vec<&str> = plan.nodes.iter().map(|node| node.id.as_str()).collect();
    assert_eq!(ids, ["s", "a", "b", "e"]);
    let ranks: Vec<u32> = plan.nodes.iter().map(|node| node.rank).collect();
    assert_eq!(ranks, [0, 1, 1, 2]);
    assert_eq!(plan.nodes[3].incoming, [2, 3], "edge order, as the list has it");
    assert_eq!(plan.nodes[0].outgoing, [("out".to_owned(), vec![0, 1])]);
    assert_eq!((&plan.scopes[0].starts, &plan.scopes[0].ends), (&vec![0], &vec![3]));
    assert!(plan.nodes.iter().all(|node| node.reachable));
}

#[test]
fn bodies_are_scopes_of_their_own() {
    let value = graph(&["s:start", "m:map", "a@m", "l:loop@m", "b@l", "c@m"], &["s>m", "a>l", "l>c"]);
    let plan = clean(value);
    assert_eq!(plan.scopes.len(), 3);
    let (map, inner) = (plan.index("m").unwrap(), plan.index("l").unwrap());
    let body = plan.nodes[map].body.unwrap();
    assert_eq!(plan.scopes[body].owner, Some(map));
    let ids = |nodes: &[usize]| nodes.iter().map(|node| plan.nodes[*node].id.as_str()).collect::<Vec<_>>().join(" ");
    assert_eq!(ids(&plan.scopes[body].nodes), "a l c");
    assert_eq!((ids(&plan.scopes[body].starts), ids(&plan.scopes[body].ends)), ("a".to_owned(), "c".to_owned()));
    let b = plan.index("b").unwrap();
    assert_eq!(plan.containers(b).collect::<Vec<_>>(), [inner, map]);
}

#[test]
fn w10_starts_are_several_or_none_and_have_no_edge_coming_in() {
    let two = clean(graph(&["s:start", "t:start", "e:end"], &["s>e", "t>e"]));
    assert_eq!(two.scopes[0].starts, [0, 1]);
    let none = clean(graph(&["a", "b", "e:end"], &["a>e", "b>e"]));
    assert_eq!(none.scopes[0].starts, [0, 1]);
    only(graph(&["s:start", "t:start"], &["s>t"]), ProblemCode::StartIncoming);
}

#[test]
fn w12_what_no_path_leads_to_is_a_warning() {
    let value = graph(&["s:start", "e:end", "lost", "behind"], &["s>e", "lost>behind"]);
    let found = checked(value);
    assert_eq!(codes(&found), ["W_UNREACHABLE"]);
    assert_eq!(found.problems.len(), 2);
    assert!(!found.problems.iter().any(Problem::is_error));
    let plan = found.into_plan().unwrap();
    assert!(!plan.nodes[2].reachable && !plan.nodes[3].reachable);
    assert_eq!(plan.scopes[0].starts, [0]);
}

#[test]
fn w13_edges_in_a_circle_are_refused_with_a_way_out() {
    let circle = only(graph(&["s:start", "a", "b"], &["s>a", "a>b", "b>a"]), ProblemCode::Cycle);
    let fix = circle.fix.unwrap();
    assert_eq!((fix.action.as_str(), &fix.arguments), ("wrap_in_loop", &json!({"nodes": ["a", "b"]})));
    only(graph(&["s:start", "a"], &["s>a", "a>a"]), ProblemCode::SelfEdge);
    // Only through the border of a container.
    let border = checked(graph(&["s:start", "m:map", "a@m", "b"], &["s>m", "a>b", "b>m"]));
    assert_eq!(codes(&border), ["E_BORDER", "E_CYCLE"]);
    let two = checked(graph(&["s:start", "a", "b", "c", "d"], &["s>a", "a>b", "b>a", "b>c", "c>d", "d>c"]));
    assert_eq!(two.problems.iter().filter(|problem| problem.code == ProblemCode::Cycle).count(), 2);
}

#[test]
fn w14_everything_is_said_in_one_pass() {
    let mut value = graph(
        &["s:start", "a:nonsense", "b:if", "b:if", "1x", "note:note"],
        &["s>b", "b.maybe>1x", "s>gone", "gone>s", "note>s", "s>note", "s>a"],
    );
    value["edges"].as_array_mut().unwrap().push(json!({"from": "s", "to": "1x", "in": "side"}));
    value["on_error"] = "nobody".into();
    value["limits"] = json!({"timeout_s": 0, "max_nodes": 3});
    value["inputs"] = json!({"type": "nothing"});
    value["format"] = "blitz.workflow/9".into();
    value["name"] = "a/b".into();
    let found = checked(value);
    let expected = [
        "E_DUPLICATE_ID",
        "E_FORMAT",
        "E_ID",
        "E_MISSING_NODE",
        "E_NAME",
        "E_NOTE_EDGE",
        "E_RANGE",
        "E_SCHEMA",
        "E_START_INCOMING",
        "E_TOO_MANY_NODES",
        "E_UNKNOWN_PORT",
        "E_UNKNOWN_TYPE",
    ];
    assert_eq!(codes(&found), expected, "{:#?}", found.problems);
    let refused = found.into_plan().unwrap_err();
    assert_eq!(refused.code(), crate::error::ErrorCode::InvalidInput);
    assert!(refused.details()["problems"].as_array().unwrap().len() >= expected.len());
    only(json!({"nodes": []}), ProblemCode::Empty);
    only(json!({"nodes": [{"id": "n", "type": "note"}]}), ProblemCode::Empty);
}

#[test]
fn problems_name_the_node_the_edge_and_the_place() {
    let found = checked(graph(&["s:start", "a:agnet"], &["s>a", "s.side>a"]));
    let kind = found.problems.iter().find(|problem| problem.code == ProblemCode::UnknownType).unwrap();
    assert_eq!((kind.node.as_deref(), kind.path.as_str()), (Some("a"), "/nodes/1/type"));
    assert!(kind.message.contains("did you mean agent?"), "{}", kind.message);
    let port = found.problems.iter().find(|problem| problem.code == ProblemCode::UnknownPort).unwrap();
    assert_eq!((port.edge.as_deref(), port.path.as_str()), (Some("1"), "/edges/1/out"));
}

#[test]
fn parents_are_containers_and_hold_no_circle() {
    let parent = |nodes: &[&str]| codes(&checked(graph(nodes, &[]))).join(" ");
    assert_eq!(parent(&["a", "b@a"]), "E_PARENT");
    assert_eq!(parent(&["a@gone"]), "E_MISSING_NODE");
    assert_eq!(parent(&["m:map@m"]), "E_EMPTY_BODY E_PARENT");
    assert!(parent(&["m:map@n", "n:map@m"]).contains("E_PARENT"));
    assert_eq!(parent(&["m:map"]), "E_EMPTY_BODY");
    let mut deep: Vec<String> = vec!["m0:map".to_owned()];
    deep.extend((1..20).map(|level| format!("m{level}:map@m{}", level - 1)));
    deep.push("a@m19".to_owned());
    let deep: Vec<&str> = deep.iter().map(String::as_str).collect();
    assert_eq!(parent(&deep), "E_TOO_DEEP");
}

#[test]
fn reading_what_does_not_run_before_is_refused() {
    let base = || graph(&["s:start", "a", "b", "m:map", "c@m", "e:end"], &["s>a", "s>b", "a>m", "m>e", "b>e"]);
    let reads = |id: &str, expression: &str| {
        let found = checked(with(base(), id, "input", json!({"x": expression})));
        codes(&found).join(" ")
    };
    assert_eq!(reads("e", "{{ nodes.a.output }}{{ nodes.m.output }}{{ nodes['b'].status }}"), "");
    assert_eq!(reads("c", "{{ nodes.a.output }}{{ item }}{{ index }}{{ inputs.x }}"), "");
    assert_eq!(reads("a", "{{ nodes.b.output }}"), "E_NOT_UPSTREAM");
    assert_eq!(reads("b", "{{ nodes.m.output }}"), "E_NOT_UPSTREAM");
    assert_eq!(reads("a", "{{ nodes.a.output }}"), "E_NOT_UPSTREAM");
    assert_eq!(reads("c", "{{ nodes.m.output }}"), "E_NOT_UPSTREAM");
    assert_eq!(reads("e", "{{ nodes.c.output }}"), "E_NOT_UPSTREAM");
    assert_eq!(reads("e", "{{ nodes.gone.output }}"), "E_UNKNOWN_NAME");
    assert_eq!(reads("e", "{{ nodes.a.text }}"), "E_UNKNOWN_NAME");
    assert_eq!(reads("e", "{{ nodes[inputs.x].output }}"), "E_UNKNOWN_NAME");
    assert_eq!(reads("e", "{{ vars.y }}{{ input.z }}{{ error }}"), "E_UNKNOWN_NAME");
    assert_eq!(reads("e", "{{ item }}"), "E_OUTSIDE_BODY");
    assert_eq!(reads("c", "{{ loop.count }}"), "E_OUTSIDE_BODY");
    assert_eq!(reads("e", "{{ secrets.key }}"), "E_SECRET");
    assert_eq!(reads("e", "{{ nodes.a.output +"), "E_EXPRESSION");
    assert_eq!(reads("e", "{{ nodes.a.output + }}"), "E_EXPRESSION");
    let inside = checked(with(base(), "e", "input", json!({"x": "{{ nodes.c.output }}"})));
    assert!(inside.problems[0].message.contains("read nodes.m.output"), "{:?}", inside.problems[0]);
}

#[test]
fn until_and_carry_read_the_body() {
    let value = graph(&["s:start", "l:loop", "a@l", "e:end"], &["s>l", "l>e"]);
    let config = json!({
        "max_iterations": 5, "until": "nodes.a.output == 1 or loop.count > 3", "carry": {"x": "{{ nodes.a.output }}"},
    });
    let plan = clean(with(value.clone(), "l", "config", config));
    let l = &plan.nodes[plan.index("l").unwrap()];
    assert_eq!((&l.after.nodes, l.after.names.rounds, l.reads.nodes.len()), (&vec![2], true, 0));
    only(with(value.clone(), "l", "config", json!({"until": "true"})), ProblemCode::LoopBound);
    only(with(value, "l", "config", json!({"max_iterations": 1, "carry": {"unknown": 1}})), ProblemCode::UnknownName);
}

#[test]
fn settings_follow_the_schema_of_their_type() {
    let value = graph(&["s:start", "h:http"], &["s>h"]);
    let http = |config: Value| checked(with(value.clone(), "h", "config", config));
    let good =
        json!({"url": "https://example.com/{{ inputs.id }}", "headers": {"Authorization": "Bearer {{ secrets.key }}"}});
    let found = http(good);
    assert!(found.problems.is_empty(), "{:#?}", found.problems);
    let plan = found.into_plan().unwrap();
    assert_eq!(plan.nodes[1].effect, Effect::Idempotent, "a request that only reads");
    assert!(plan.nodes[1].reads.names.secrets.contains("key"));
    assert_eq!(codes(&http(json!({"url": "x", "headers": {"Authorization": "Bearer sk-1"}}))), ["W_PLAIN_SECRET"]);
    let wrong = http(json!({"method": "BREW", "urll": "x", "query": {"a": "{{ nodes. }}"}}));
    assert_eq!(codes(&wrong), ["E_CONFIG", "E_EXPRESSION"], "{:#?}", wrong.problems);
    let message = format!("{:?}", http(json!({"url": 5, "body": "sk-canary", "response": "sk-canary"})).problems);
    assert!(!message.contains("canary"), "{message}");
    let fallback = with(value, "h", "config", json!({"url": "x"}));
    assert_eq!(codes(&checked(with(fallback, "h", "fallback", json!([{"url": 5}])))), ["E_CONFIG"]);
}

#[test]
fn what_does_nothing_on_a_node_is_said() {
    let value = graph(&["s:start", "x:set", "m:map", "e:end"], &["s>x", "x>m", "m>e"]);
    for (field, given) in [("heartbeat_s", json!(5)), ("cache", json!({"ttl_s": 60}))] {
        for node in ["x", "m", "e"] {
            let checked = checked(with(value.clone(), node, field, given.clone()));
            let found = checked.problems.iter().find(|problem| problem.message.starts_with(field));
            let problem = found.unwrap_or_else(|| panic!("{field} of {node}: {:#?}", checked.problems));
            assert_eq!((problem.code, problem.node.as_deref()), (ProblemCode::Ignored, Some(node)));
            assert_eq!(problem.fix.as_ref().map(|fix| fix.action.as_str()), Some("remove"));
        }
        // A call can be kept; a tool or node of the host may say that it is alive.
        let http = with(graph(&["s:start", "h:http"], &["s>h"]), "h", "config", json!({"url": "https://example.com"}));
        let expected: &[&str] = if field == "cache" { &[] } else { &["W_IGNORED"] };
        assert_eq!(codes(&checked(with(http, "h", field, given))), expected);
    }
}

#[test]
fn what_was_published_before_a_problem_was_known_makes_its_plan() {
    let mut value = graph(&["s:start", "t:template"], &["s>t"]);
    value["nodes"][1]["config"] = json!({"template": "{{ inputs.name | uppr }}"});
    value["triggers"] = json!([{"type": "event", "name": "sold", "when": "trigger.dat"}]);
    let found = checked(value);
    assert_eq!(codes(&found), ["E_TRIGGER", "E_UNKNOWN_FILTER"]);
    assert!(found.problems.iter().all(Problem::is_error), "{:#?}", found.problems);
    let told = super::refused(&found.problems).to_string();
    assert!(told.contains("the workflow cannot be published: E_TRIGGER"), "{told}");
    assert!(found.plan.is_some(), "it runs");
}

#[test]
fn a_switch_that_compares_has_a_value() {
    let value = graph(&["s:start", "w:switch"], &["s>w"]);
    only(with(value, "w", "config", json!({"cases": [{"port": "one", "value": 1}]})), ProblemCode::Config);
}

#[test]
fn joins_wait_for_no_more_than_comes() {
    let join = |join: Value| {
        let value = graph(&["s:start", "a", "b", "e:end"], &["s>a", "s>b", "a>e", "b>e"]);
        codes(&checked(with(value, "e", "join", join))).join(" ")
    };
    assert_eq!(join(json!({"mode": "n", "n": 2})), "");
    assert_eq!(join(json!({"mode": "first", "cancel_rest": true})), "");
    assert_eq!(join(json!({"mode": "n", "n": 3})), "E_JOIN");
    assert_eq!(join(json!({"mode": "n"})), "E_JOIN");
    assert_eq!(join(json!({"mode": "all", "cancel_rest": true})), "E_JOIN");
    assert_eq!(join(json!({"mode": "all", "n": 1})), "E_JOIN");
}

#[test]
fn writers_side_by_side_are_a_race() {
    let race = |value: Value| codes(&checked(value)).join(" ");
    assert_eq!(race(graph(&["s:start", "a:set", "b:set"], &["s>a", "s>b"])), "W_RACE");
    assert_eq!(race(graph(&["s:start", "a:set", "b:set"], &["s>a", "a>b"])), "");
    let branches = graph(&["s:start", "i:if", "a:set", "b:set"], &["s>i", "i.true>a", "i.false>b"]);
    assert_eq!(race(branches), "", "only one of the two runs");
    let both = graph(&["s:start", "i:if", "a:set", "b:set"], &["s>i", "i.true>a", "i.true>b"]);
    assert_eq!(race(both), "W_RACE");
    let late = graph(&["s:start", "i:if", "a:set", "b:set"], &["s>i", "s>a", "i.true>a", "i.false>b"]);
    assert_eq!(race(late), "W_RACE", "one is reached without the fork");
    let merged =
        with(graph(&["s:start", "a:set", "b:set"], &["s>a", "s>b"]), "a", "config", json!({"vars": {"log": 1}}));
    assert_eq!(race(with(merged, "b", "config", json!({"vars": {"log": 2}}))), "");
    let inside = graph(&["s:start", "p:parallel", "a:set@p", "b:set@p"], &["s>p"]);
    assert_eq!(race(inside), "W_RACE");
}

#[test]
fn w54_a_pin_is_for_drafts() {
    let value = with(graph(&["s:start", "a"], &["s>a"]), "a", "pin", Value::Null);
    let pinned = only(value.clone(), ProblemCode::Pin);
    assert!(pinned.is_error());
    let found = checked(value);
    assert!(found.problems.iter().any(Problem::is_error));
    assert_eq!(found.into_plan().unwrap().nodes[1].spec.pin, Some(Value::Null));
}

#[test]
fn a_workflow_does_not_run_itself() {
    let value = with(graph(&["s:start", "a:subflow"], &["s>a"]), "a", "config", json!({"workflow": "w"}));
    only(value, ProblemCode::Recursion);
}

#[test]
fn a_handler_stands_alone() {
    let mut value = graph(&["s:start", "h", "e:end"], &["s>e"]);
    value["on_error"] = "h".into();
    let reading = with(value.clone(), "h", "input", json!({"why": "{{ error.message }}", "s": "{{ nodes.s.output }}"}));
    let plan = clean(reading);
    assert_eq!(plan.handler, Some(1));
    assert!(!plan.scopes[0].starts.contains(&1));
    value["edges"].as_array_mut().unwrap().push(json!({"from": "h", "to": "e"}));
    only(value, ProblemCode::Handler);
    let mut alone = graph(&["h"], &[]);
    alone["on_error"] = "h".into();
    only(alone, ProblemCode::Empty);
}

#[test]
fn error_ports_need_on_error() {
    let value = graph(&["s:start", "a", "e:end"], &["s>a", "a>e", "a.error>e"]);
    only(value.clone(), ProblemCode::UnknownPort);
    let plan = clean(with(value, "a", "on_error", "branch".into()));
    assert_eq!(plan.nodes[1].ports, ["out", "error"]);
    let open = with(graph(&["s:start", "a"], &["s>a"]), "a", "on_error", "branch".into());
    only(open, ProblemCode::OpenPort);
}

#[test]
fn retries_of_unsafe_nodes_are_a_warning() {
    let value = with(graph(&["s:start", "t:tool"], &["s>t"]), "t", "config", json!({"tool": "mail"}));
    let value = with(value, "t", "retry", json!({"max_attempts": 3}));
    only(value.clone(), ProblemCode::UnsafeRetry);
    clean(with(value, "t", "effect", "idempotent".into()));
}

#[test]
fn a_retry_on_what_no_attempt_would_change_is_a_problem() {
    let value = |on: Value| with(graph(&["s:start", "a:template"], &["s>a"]), "a", "retry", json!({ "on": on }));
    clean(value(json!(["tool_failed", "timeout", "bad_output"])));
    for never in
        ["invalid_input", "provider_auth", "unauthenticated", "permission_denied", "budget_exceeded", "cancelled"]
    {
        let problem = only(value(json!(["timeout", never])), ProblemCode::RetryOn);
        assert_eq!((problem.node.as_deref(), problem.path.as_str()), (Some("a"), "/nodes/1/retry/on/1"));
        assert!(problem.message.starts_with(never), "{}", problem.message);
        let fix = problem.fix.unwrap();
        assert_eq!((fix.action.as_str(), &fix.arguments["path"]), ("remove", &json!("/nodes/1/retry/on/1")));
    }
}

#[test]
fn ports_follow_the_settings() {
    let value = graph(
        &["s:start", "w:switch", "ask:approval", "l:loop", "a@l", "e:end"],
        &["s>w", "w.one>ask", "w.default>l", "ask.later>e", "ask.timeout>e", "l.cap>e", "l>e"],
    );
    let value = with(value, "ask", "config", json!({"message": "Well?", "options": ["now", "later"]}));
    let value = with(value, "l", "config", json!({"max_iterations": 2, "until": "false", "on_cap": "port"}));
    let plan = clean(value);
    assert_eq!(plan.nodes[plan.index("ask").unwrap()].ports, ["now", "later", "timeout"]);
    assert_eq!(plan.nodes[plan.index("w").unwrap()].ports, ["one", "default"]);
}

#[test]
fn types_of_the_host_have_their_own_settings_and_ports() {
    let value = json!({"name": "w", "nodes": [
        {"id": "s", "type": "start"}, {"id": "h", "type": "crm.lookup", "config": {"id": 5}}, {"id": "e", "type": "end"},
    ], "edges": [{"from": "s", "to": "h"}, {"from": "h", "out": "found", "to": "e"}]});
    let known = NodeTypeInfo::host("crm.lookup", "Finds a customer.")
        .with_config(json!({"type": "object", "properties": {"id": {"type": "string"}}, "additionalProperties": false}))
        .with_ports(["found", "missing"])
        .with_effect(Effect::Pure);
    let found = validate(&definition(value.clone()), std::slice::from_ref(&known));
    assert_eq!(codes(&found), ["E_CONFIG"]);
    let plan = validate(&definition(with(value.clone(), "h", "config", json!({"id": "{{ inputs.id }}"}))), &[known]);
    let plan = plan.into_plan().unwrap();
    assert_eq!(
        (plan.nodes[1].effect, &plan.nodes[1].ports),
        (Effect::Pure, &vec!["found".to_owned(), "missing".to_owned()])
    );
    assert_eq!(
        codes(&validate(&definition(value), &[])),
        ["E_UNKNOWN_TYPE"],
        "its ports are not known, so none is wrong"
    );
}

#[test]
fn triggers_are_checked() {
    let trigger = |trigger: Value| {
        let mut value = graph(&["s:start"], &[]);
        value["triggers"] = json!([trigger]);
        codes(&checked(value)).join(" ")
    };
    for right in ["0 9 * * mon-fri", "*/15 0-6,22 1 jan,7 0", "@daily", "59 23 31 12 7"] {
        assert_eq!(trigger(json!({"type": "schedule", "cron": right, "zone": "Europe/Berlin"})), "", "{right}");
    }
    for wrong in [
        "",
        "* * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "*/0 * * * *",
        "5-1 * * * *",
        "a * * * *",
        "* * * * * *",
    ] {
        assert_eq!(trigger(json!({"type": "schedule", "cron": wrong})), "E_TRIGGER", "{wrong}");
    }
    assert_eq!(trigger(json!({"type": "schedule", "cron": "@daily", "zone": "Mars Base"})), "E_TRIGGER");
    assert_eq!(trigger(json!({"type": "event", "name": "paid", "when": "trigger.data.amount > 3"})), "");
    assert_eq!(trigger(json!({"type": "event", "name": "paid", "when": "trigger. >"})), "E_TRIGGER");
    assert_eq!(trigger(json!({"type": "webhook", "name": ""})), "E_TRIGGER");
    assert_eq!(trigger(json!({"type": "manual"})), "");
}

#[test]
fn what_a_trigger_reads_is_the_trigger_with_its_own_fields() {
    let found = |trigger: Value| {
        let mut value = graph(&["s:start"], &[]);
        value["triggers"] = json!([trigger]);
        let told = |problem: Problem| format!("{} {}: {}", problem.code.name(), problem.path, problem.message);
        checked(value).problems.into_iter().map(told).collect::<Vec<_>>().join("; ").replace('`', "")
    };
    let webhook = |input: Value| found(json!({"type": "webhook", "name": "w", "input": input}));
    let event = |when: &str| found(json!({"type": "event", "name": "e", "when": when}));
    assert_eq!(webhook(json!({"a": "{{ trigger.body.a }}", "b": "{{ trigger.name }}", "c": "{{ trigger }}"})), "");
    assert_eq!(event("trigger.data.x == 1 and trigger['data'] is defined"), "");
    let schedule = |input: &str| found(json!({"type": "schedule", "cron": "@daily", "input": {"n": input}}));
    assert_eq!(schedule("{{ trigger.missed }}"), "");
    for (wrong, names, place) in [
        (webhook(json!({"a": "{{ inputs.b }}"})), "inputs is not there", "/triggers/0/input"),
        (webhook(json!("{{ nodes.s.output }}")), "nodes is not there", "/triggers/0/input"),
        (webhook(json!("{{ secrets.key }}")), "secrets is not there", "/triggers/0/input"),
        (webhook(json!("{{ trigger.data }}")), "no data: it has type, name, body, at", "/triggers/0/input"),
        (event("trigger.body.x == 1"), "no body: it has type, name, data, at", "/triggers/0/when"),
        (event("amount > 3"), "amount is not there", "/triggers/0/when"),
        (schedule("{{ trigger.name }}"), "no name: it has type, at, missed", "/triggers/0/input"),
    ] {
        assert!(wrong.starts_with(&format!("E_TRIGGER {place}")) && wrong.contains(names), "{wrong}");
    }
}

#[test]
fn what_an_import_set_aside_refuses_until_it_is_changed() {
    let good = graph(&["s:start", "a", "e:end"], &["s>a", "a>e"]);
    for (node, key, value) in [("a", "join", json!("all")), ("a", "retry", json!(3)), ("e", "timeout_s", json!("5"))] {
        let mut kept = good.clone();
        let at = kept["nodes"].as_array().unwrap().iter().position(|each| each["id"] == node).unwrap();
        kept["nodes"][at]["x"] = json!({key: value, "glow": true});
        let found = checked(kept);
        let problem = found.problems.iter().find(|problem| problem.is_error()).expect(key);
        let told = (problem.code, problem.node.as_deref(), problem.path.clone());
        assert_eq!(told, (ProblemCode::Shape, Some(node), format!("/nodes/{at}/{key}")));
        assert!(found.plan.is_none());
    }
    for kept in [json!({"limits": 5}), json!({"on_error": 1}), json!({"vars": {"v": 1}}), json!({"triggers": [1]})] {
        let mut value = good.clone();
        value["x"] = kept;
        only(value, ProblemCode::Shape);
    }
    let mut fine = good.clone();
    fine["x"] = json!({"viewer": {"join": 1}});
    fine["nodes"][1]["x"] = json!({"type": "custom", "id": "7", "data": {"retry": 3}});
    clean(fine);
}

#[test]
fn fields_of_the_result_read_the_workflow() {
    let mut value = graph(&["s:start", "a", "e:end"], &["s>a", "a>e"]);
    value["outputs"] =
        json!({"type": "object", "properties": {"score": {"type": "integer", "value": "{{ nodes.a.output }}"}}});
    let plan = clean(value.clone());
    assert_eq!((plan.outputs[0].0.as_str(), &plan.output_reads.nodes), ("score", &vec![1]));
    value["outputs"]["properties"]["score"]["value"] = "{{ nodes.z.output }}".into();
    only(value.clone(), ProblemCode::UnknownName);
    value["outputs"]["properties"]["score"]["value"] = "{{ nodes. }}".into();
    only(value, ProblemCode::Expression);
}

#[test]
fn t26_what_is_too_big_is_refused_before_it_is_looked_at() {
    let nodes: Vec<Value> = (0..2_001).map(|n| json!({"id": format!("n{n}"), "type": "end"})).collect();
    only(json!({"nodes": nodes}), ProblemCode::TooLarge);
    let edges: Vec<Value> = (0..10_001).map(|_| json!({"from": "a", "to": "b"})).collect();
    only(json!({"nodes": [], "edges": edges}), ProblemCode::TooLarge);
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    let value = with(graph(&["s:start", "a"], &["s>a"]), "a", "input", json!({"x": deep}));
    only(value, ProblemCode::TooLarge);
}

#[test]
fn a_large_graph_is_checked_in_no_time() {
    let ids: Vec<String> = (0..2_000).map(|n| format!("n{n}:set")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let edges: Vec<String> = (1..2_000).map(|n| format!("n{}>n{n}", n - 1)).collect();
    let edges: Vec<&str> = edges.iter().map(String::as_str).collect();
    let mut value = graph(&ids, &edges);
    value["limits"] = json!({"max_nodes": 2_000});
    assert_eq!(clean(value).nodes[1_999].rank, 1_999);
}

#[test]
fn every_type_of_the_engine_has_a_schema_that_is_one() {
    for info in super::super::config::builtin() {
        assert!(super::super::config::check(&info.kind).is_some(), "{}", info.kind);
        assert!(!info.description.is_empty() && info.config["type"] == "object", "{}", info.kind);
    }
}

#[test]
fn what_a_type_does_not_have_is_a_problem() {
    let one = |kind: &str, node: Value| {
        let mut definition = json!({"name": "w", "nodes": [{"id": "n", "type": kind}]});
        definition["nodes"][0].as_object_mut().unwrap().extend(node.as_object().unwrap().clone());
        let found = checked(definition).problems;
        found.into_iter().map(|problem| format!("{} {}", problem.code.name(), problem.path)).collect::<Vec<_>>()
    };
    // A wait ends when its settings say.
    assert_eq!(one("wait", json!({"config": {"seconds": 5}, "timeout_s": 3})), ["W_IGNORED /nodes/0/timeout_s"]);
    assert_eq!(one("wait", json!({"config": {"seconds": 5}})), [""; 0]);
    // What leads on, waits or asks makes no attempts.
    let (retry, fallback) = (json!({"max_attempts": 2}), json!([{}]));
    for (kind, config) in [
        ("wait", json!({"seconds": 5})),
        ("approval", json!({"message": "?"})),
        ("if", json!({"expr": "true"})),
        ("start", json!({})),
    ] {
        let told = one(kind, json!({"config": config, "retry": retry, "fallback": fallback}));
        let told: Vec<&str> = told.iter().filter(|told| told.contains(" /nodes/0/")).map(String::as_str).collect();
        assert_eq!(told, ["W_IGNORED /nodes/0/retry", "W_IGNORED /nodes/0/fallback"], "{kind}");
    }
    assert_eq!(one("start", json!({"timeout_s": 5})), ["W_IGNORED /nodes/0/timeout_s"]);
    let asks = one("approval", json!({"config": {"message": "?"}, "timeout_s": 5}));
    assert!(!asks.iter().any(|told| told.contains("W_IGNORED")), "{asks:?}");
    let calls = one("http", json!({"config": {"url": "https://a.example"}, "retry": retry, "timeout_s": 5}));
    assert!(!calls.iter().any(|told| told.contains("W_IGNORED")), "{calls:?}");
    let agent = json!({"config": {"agent": "a", "conversation": "{{ inputs.id }}"}});
    assert_eq!(one("agent", agent), ["E_CONFIG /nodes/0/config"]);
}
