//! Failures: who hears of them, retries, fallbacks, time limits, budgets.

use std::time::{Duration, Instant};

use blitz::provider::{FunctionProvider, Reply, Scripted};
use blitz::{
    BudgetScope, ErrorCode, EventData, ExecutionStatus, ModelRequest, Money, NewBudget, NewModel, NodeStatus, Price,
    Session, Waiting,
};
use serde_json::{Value, json};

use super::stage::{Gates, by_id, edges, end, engine, journal, put, run, start, states, status, until, with_work};
use crate::support::engine::with_provider;

#[tokio::test]
async fn w15_a_failure_cancels_the_siblings_and_keeps_its_cause() {
    let (_engine, me, _) = engine().await;
    let done = run(
        &me,
        json!({"name": "fails", "nodes": [
            {"id": "s", "type": "start"},
            {"id": "bad", "type": "work", "config": {"fail": "tool_failed", "ms": 20}},
            {"id": "slow", "type": "work", "config": {"ms": 30000}},
            {"id": "never", "type": "work"}, {"id": "e", "type": "end"}],
            "edges": edges("s>bad s>slow slow>never bad>e never>e")}),
        json!({}),
    )
    .await;
    assert_eq!(done.status, ExecutionStatus::Failed);
    let error = done.error.clone().unwrap();
    assert_eq!((error.code, error.node.as_deref()), (ErrorCode::ToolFailed, Some("bad")));
    let states = states(&me, &done).await;
    assert_eq!(status(&states, "slow"), NodeStatus::Cancelled);
    assert_eq!(status(&states, "never"), NodeStatus::NotRun);
}

#[tokio::test]
async fn w17_w18_w19_error_ports_retries_and_going_on() {
    let (_engine, me, seen) = engine().await;
    let done = run(
        &me,
        json!({"name": "handled", "nodes": [
            {"id": "s", "type": "start"},
            {"id": "again", "type": "work", "config": {"fail": "unavailable", "fail_until": 3, "give": "at last"},
                "retry": {"max_attempts": 5, "initial_ms": 1}},
            {"id": "branch", "type": "work", "config": {"fail": "tool_failed"}, "on_error": "branch"},
            {"id": "value", "type": "work", "config": {"fail": "tool_failed"}, "on_error": {"value": 7}},
            {"id": "on", "type": "work", "config": {"fail": "tool_failed"}, "on_error": "continue"},
            {"id": "caught", "type": "template", "config": {"template": "{{ nodes.branch.error.code }}"}},
            {"id": "e", "type": "end", "config": {"output": {
                "again": "{{ nodes.again.output }}", "value": "{{ nodes.value.output }}",
                "on": "{{ nodes.on.output }}", "caught": "{{ nodes.caught.output }}"}}}],
            "edges": edges("s>again s>branch s>value s>on branch.error>caught again>e value>e on>e caught>e")}),
        json!({}),
    )
    .await;
    assert_eq!(done.status, ExecutionStatus::Completed, "{:?}", done.error);
    assert_eq!(done.output, json!({"again": "at last", "value": 7, "on": null, "caught": "tool_failed"}));
    assert_eq!(done.handled_errors, 3);
    let nodes = me.executions().nodes(done.execution_id, "").await.unwrap();
    let again: Vec<_> = nodes.iter().filter(|node| node.node == "again").collect();
    assert_eq!((again.len(), again[0].attempts, again[0].status), (1, 3, NodeStatus::Completed));
    assert_eq!(seen.lock().unwrap().len(), 6);
}

#[tokio::test]
async fn w15_of_several_failures_the_first_written_one_is_the_cause() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "first", "nodes": [
        {"id": "s", "type": "start"}, {"id": "a", "type": "work", "config": {"fail": "tool_failed", "ms": 2}},
        {"id": "b", "type": "work", "config": {"fail": "unavailable", "ms": 1}},
        {"id": "p", "type": "parallel"}, {"id": "c", "type": "work", "parent": "p", "config": {"fail": "timeout", "ms": 2}}],
        "edges": edges("s>a s>b s>p")});
    for _ in 0..10 {
        let done = run(&me, definition.clone(), json!({})).await;
        let events = journal(&me, done.execution_id).await;
        let failed = events.iter().find_map(|event| match &event.data {
            EventData::NodeFinished(end) if end.status == NodeStatus::Failed && event.path.is_empty() => {
                end.error.clone().map(|error| error.code)
            }
            _ => None,
        });
        assert_eq!((done.status, done.error.map(|error| error.code)), (ExecutionStatus::Failed, failed));
    }
}

#[tokio::test]
async fn w16_two_that_fail_at_the_same_instant_end_once_each() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "instant", "nodes": [
        {"id": "s", "type": "start"}, {"id": "a", "type": "work", "config": {"fail": "tool_failed"}},
        {"id": "b", "type": "work", "config": {"fail": "tool_failed"}}, {"id": "e", "type": "end"}],
        "edges": edges("s>a s>b a>e b>e")});
    for _ in 0..30 {
        let done = run(&me, definition.clone(), json!({})).await;
        assert_eq!(done.error.as_ref().map(|error| error.code), Some(ErrorCode::ToolFailed));
        let events = journal(&me, done.execution_id).await;
        let ends = |id: &str| {
            events.iter().filter(|event| matches!(&event.data, EventData::NodeFinished(end) if end.node == id)).count()
        };
        assert_eq!((ends("a"), ends("b")), (1, 1));
    }
}

#[tokio::test]
async fn w17_an_error_port_is_taken_while_a_sibling_fails_for_good() {
    let (engine, me, _) = engine().await;
    let gates = Gates::new(&engine);
    let definition = json!({"name": "port", "nodes": [
        {"id": "s", "type": "start"}, {"id": "caught", "type": "work", "config": {"fail": "tool_failed"}, "on_error": "branch"},
        {"id": "mend", "type": "gate", "config": {"name": "mend"}},
        {"id": "wait", "type": "gate", "config": {"name": "wait"}},
        {"id": "bad", "type": "work", "config": {"fail": "unavailable"}}],
        "edges": edges("s>caught caught.error>mend s>wait wait>bad")});
    let handle = start(&me, definition, json!({})).await;
    gates.reached("mend", 1).await;
    gates.open("wait");
    let done = end(&handle).await;
    assert_eq!((done.status, done.error.unwrap().code), (ExecutionStatus::Failed, ErrorCode::Unavailable));
    assert_eq!(done.handled_errors, 1);
    let states = by_id(&me, handle.id()).await;
    assert_eq!((states["caught"], states["mend"]), (NodeStatus::Failed, NodeStatus::Cancelled));
}

#[tokio::test]
async fn w18_attempts_are_one_row_and_only_the_last_is_seen() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "again", "nodes": [
        {"id": "s", "type": "start"},
        {"id": "a", "type": "work", "config": {"fail": "unavailable", "fail_until": 3, "give": "third"}, "retry": {"max_attempts": 3, "initial_ms": 1}},
        {"id": "e", "type": "end"}], "edges": edges("s>a a>e")});
    let done = run(&me, definition, json!({})).await;
    assert_eq!(done.output, json!({"a_output": "third"}));
    let events = journal(&me, done.execution_id).await;
    let of_a: Vec<&'static str> = events
        .iter()
        .filter_map(|event| match &event.data {
            EventData::NodeStarted(started) if started.node == "a" => Some("started"),
            EventData::NodeRetrying(retrying) if retrying.node == "a" => Some("retrying"),
            EventData::NodeFinished(end) if end.node == "a" => Some("finished"),
            _ => None,
        })
        .collect();
    assert_eq!(of_a, ["started", "retrying", "started", "retrying", "started", "finished"]);
    let rows: Vec<_> = me.executions().nodes(done.execution_id, "").await.unwrap();
    assert_eq!(rows.iter().filter(|row| row.node == "a").map(|row| row.attempts).collect::<Vec<_>>(), [3]);
}

#[tokio::test]
async fn w19_going_on_behind_retries_shows_the_last_attempt() {
    let (_engine, me, seen) = engine().await;
    let definition = json!({"name": "last", "nodes": [
        {"id": "s", "type": "start"},
        {"id": "a", "type": "work", "config": {"fail": "unavailable"}, "retry": {"max_attempts": 3, "initial_ms": 1}, "on_error": "continue"},
        {"id": "e", "type": "end", "config": {"output": {"a": "{{ nodes.a.output }}", "code": "{{ nodes.a.error.code }}"}}}],
        "edges": edges("s>a a>e")});
    let done = run(&me, definition, json!({})).await;
    assert_eq!(done.output, json!({"a": null, "code": "unavailable"}));
    assert_eq!((done.status, done.handled_errors, seen.lock().unwrap().len()), (ExecutionStatus::Completed, 1, 3));
}

#[tokio::test]
async fn w20_a_retry_that_waits_holds_no_place_and_is_cancelled_with_the_rest() {
    let (_engine, me, seen) = engine().await;
    let definition = json!({"name": "waits", "limits": {"max_parallel": 1}, "nodes": [
        {"id": "s", "type": "start"},
        {"id": "a", "type": "work", "config": {"fail": "unavailable"}, "retry": {"max_attempts": 9, "initial_ms": 3_600_000, "max_ms": 3_600_000, "jitter": "none"}},
        {"id": "b", "type": "work"}, {"id": "c", "type": "work"}], "limits": {"max_parallel": 1, "timeout_s": 86400},
        "edges": edges("s>a s>b b>c")});
    let handle = start(&me, definition, json!({})).await;
    let waiting = until(&me, handle.id(), |execution| execution.status == ExecutionStatus::Waiting).await;
    assert!(matches!(&waiting.waiting_for[..], [blitz::Waiting::Timer { key, .. }] if key == "a"), "{waiting:?}");
    assert_eq!(seen.lock().unwrap().len(), 3, "the others ran beside its wait");
    handle.cancel().await.unwrap();
    let done = end(&handle).await;
    assert_eq!(done.status, ExecutionStatus::Cancelled);
    assert_eq!(seen.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn w21_a_wait_beyond_the_deadline_fails_now() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "late", "limits": {"timeout_s": 60}, "nodes": [
        {"id": "s", "type": "start"},
        {"id": "a", "type": "work", "config": {"fail": "unavailable"}, "retry": {"max_attempts": 9, "initial_ms": 120_000, "max_ms": 120_000, "jitter": "none"}}],
        "edges": edges("s>a")});
    let began = Instant::now();
    let done = run(&me, definition, json!({})).await;
    assert_eq!((done.status, done.error.unwrap().code), (ExecutionStatus::Failed, ErrorCode::Unavailable));
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[tokio::test]
async fn w22_a_model_that_is_stopped_by_its_nodes_time_limit_is_charged_and_its_text_is_kept() {
    let (engine, me, _) = engine().await;
    let slow = FunctionProvider::new("slow", |_: ModelRequest, call: blitz::provider::ProviderCall| async move {
        call.emit_text("half of an ans");
        std::future::pending::<()>().await;
        Ok(Reply::text("never"))
    });
    engine.register_provider(slow);
    let price = Price::per_million("1", "1").unwrap();
    me.models().put(NewModel::new("slow", "slow", "any").with_price(price)).await.unwrap();
    let definition = json!({"name": "half", "nodes": [
        {"id": "s", "type": "start"}, {"id": "q", "type": "llm", "timeout_s": 1, "config": {"model": "slow", "prompt": "Say all."}}],
        "edges": edges("s>q")});
    let done = run(&me, definition, json!({})).await;
    let error = done.error.clone().unwrap();
    assert_eq!((error.code, error.node.as_deref()), (ErrorCode::Timeout, Some("q")), "{error:?}");
    assert_eq!(error.details["partial_text"], "half of an ans", "{error:?}");
    assert!(done.cost.unwrap() > Money::ZERO && done.usage.output_tokens > 0, "{done:?}");
}

#[tokio::test]
async fn w23_a_fallback_keeps_the_cost_of_what_failed_before() {
    let answers = Scripted::from_fn(|request| {
        let text = request.messages.last().map(|message| message.text_content()).unwrap_or_default();
        Reply::text(if text == "bad" { "no JSON" } else { "{\"n\": 1}" })
    });
    let (engine, me, _) = with_provider(answers).await;
    with_work(&engine);
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let definition = json!({"name": "falls", "nodes": [
        {"id": "s", "type": "start"},
        {"id": "q", "type": "llm", "config": {"model": "m", "prompt": "bad"}, "output_schema": schema, "fallback": [{"prompt": "bad"}, {"prompt": "good", "output_schema": schema}]},
        {"id": "e", "type": "end", "config": {"output": "{{ nodes.q.output }}"}}], "edges": edges("s>q q>e")});
    let done = run(&me, definition, json!({})).await;
    assert_eq!(done.output, json!({"n": 1}), "{:?}", done.error);
    assert_eq!(done.usage.requests, 3);
    let booked = me.costs().summary(blitz::CostFilter::of_root(done.execution_id)).await.unwrap();
    assert_eq!((done.cost, booked.usage.requests), (booked.known_cost(), 3));
    let rows = me.executions().nodes(done.execution_id, "").await.unwrap();
    assert_eq!(rows.iter().find(|row| row.node == "q").unwrap().attempts, 3);
}

#[tokio::test]
async fn w45_a_budget_that_is_hit_in_parallel_starts_no_more_and_is_not_overshot() {
    let dear = Scripted::from_fn(|request| {
        let most = request.settings.max_output_tokens.unwrap_or(1_000);
        Reply::text("word ".repeat(200)).with_usage(blitz::Usage::new(1, most.min(1_000)))
    });
    let (_engine, me, asked) = with_provider(dear).await;
    let limit = Money::parse("0.01").unwrap();
    me.budgets().put(NewBudget::new("all", BudgetScope::All).with_limit(limit)).await.unwrap();
    let definition = json!({"name": "dear", "nodes": [
        {"id": "s", "type": "start"}, {"id": "m", "type": "map", "config": {"items": (0..20).collect::<Vec<u32>>(), "fail": "null"}},
        {"id": "q", "type": "llm", "parent": "m", "config": {"model": "m", "prompt": "Say {{ index }}.", "settings": {"max_output_tokens": 1000}}},
        {"id": "e", "type": "end", "config": {"output": "{{ nodes.m.output }}"}}], "edges": edges("s>m m>e")});
    let done = run(&me, definition, json!({})).await;
    assert_eq!(done.status, ExecutionStatus::Completed, "{:?}", done.error);
    let answers = done.output.as_array().unwrap().iter().filter(|answer| !answer.is_null()).count();
    assert_eq!(asked.requests().len(), answers, "what was refused was not sent");
    assert!((1..20).contains(&answers), "{answers}");
    assert!(done.cost.unwrap() <= limit, "{:?}", done.cost);
    me.budgets().verify().await.unwrap();
}

#[tokio::test]
async fn w45_a_budget_that_is_hit_fails_the_whole_and_cancels_what_runs() {
    let (engine, me, asked) = with_provider(Scripted::from_fn(|_| Reply::text("never"))).await;
    let gates = Gates::new(&engine);
    me.budgets().put(NewBudget::new("all", BudgetScope::All).with_limit(Money::ZERO)).await.unwrap();
    let definition = json!({"name": "stops", "nodes": [
        {"id": "s", "type": "start"}, {"id": "runs", "type": "gate", "config": {"name": "runs"}},
        {"id": "first", "type": "gate", "config": {"name": "first"}},
        {"id": "q", "type": "llm", "config": {"model": "m", "prompt": "Say it."}}, {"id": "later", "type": "gate", "config": {"name": "later"}}],
        "edges": edges("s>runs s>first first>q q>later")});
    let handle = start(&me, definition, json!({})).await;
    gates.reached("runs", 1).await;
    gates.reached("first", 1).await;
    gates.open("first");
    let done = end(&handle).await;
    assert_eq!((done.status, done.error.unwrap().code), (ExecutionStatus::Failed, ErrorCode::BudgetExceeded));
    assert!(asked.requests().is_empty() && done.cost == Some(Money::ZERO), "nothing is sent that nobody can pay");
    let states = by_id(&me, done.execution_id).await;
    assert_eq!((states["runs"], states["q"]), (NodeStatus::Cancelled, NodeStatus::Failed));
    assert_eq!((gates.count("later"), states["later"]), (0, NodeStatus::NotRun));
}

#[tokio::test]
async fn w45_a_workflow_costs_no_more_than_its_own_limit() {
    let answers = Scripted::from_fn(|_| Reply::text("word ".repeat(50)).with_usage(blitz::Usage::new(10, 100)));
    let (_engine, me, asked) = with_provider(answers).await;
    // A token costs a thousand nanos: there is room for one answer of a hundred tokens, and not for two.
    let ask = |id: &str| json!({"id": id, "type": "llm", "config": {"model": "m", "prompt": "Say.", "settings": {"max_output_tokens": 100}}});
    let definition = json!({"name": "bound", "limits": {"max_cost": "0.00025"}, "nodes": [
        {"id": "s", "type": "start"}, ask("a"), ask("b"), ask("c"), {"id": "e", "type": "end"}], "edges": edges("s>a a>b b>c c>e")});
    let done = run(&me, definition, json!({})).await;
    let error = done.error.clone().unwrap();
    assert_eq!((done.status, error.code), (ExecutionStatus::Failed, ErrorCode::LimitExceeded), "{error:?}");
    assert!(done.cost.unwrap() <= Money::parse("0.00025").unwrap(), "{:?}", done.cost);
    assert!((1..3).contains(&asked.requests().len()), "{}", asked.requests().len());
}

#[tokio::test]
async fn a_failed_workflow_tells_its_handler_once() {
    let (_engine, me, seen) = engine().await;
    let definition = json!({"name": "told", "on_error": "tell", "nodes": [
        {"id": "s", "type": "start"}, {"id": "a", "type": "work", "config": {"fail": "tool_failed"}},
        {"id": "tell", "type": "work", "input": {"why": "{{ error.code }}"}}], "edges": edges("s>a")});
    let done = run(&me, definition, json!({})).await;
    assert_eq!((done.status, done.error.unwrap().code), (ExecutionStatus::Failed, ErrorCode::ToolFailed));
    let told: Vec<_> =
        seen.lock().unwrap().iter().filter(|work| work["input"]["why"] == "tool_failed").cloned().collect();
    assert_eq!(told.len(), 1);
}

#[tokio::test]
async fn what_a_node_promises_of_its_output_is_looked_at_for_every_type() {
    let (_engine, me, _) = engine().await;
    for (kind, config) in [
        ("code", json!({"expr": "'text'"})),
        ("template", json!({"template": "text"})),
        ("work", json!({"give": "text"})),
    ] {
        let definition = json!({"name": kind, "nodes": [
            {"id": "a", "type": kind, "config": config, "output_schema": {"type": "integer"}}]});
        let done = run(&me, definition, json!({})).await;
        assert_eq!(done.error.map(|error| error.code), Some(ErrorCode::BadOutput), "{kind}");
    }
}

#[tokio::test]
async fn a_container_has_no_retry_of_its_own() {
    let (_engine, me, _) = engine().await;
    let definition = json!({"name": "tries", "nodes": [
        {"id": "p", "type": "parallel", "retry": {"max_attempts": 3, "initial_ms": 1}},
        {"id": "a", "type": "work", "parent": "p", "config": {"fail": "unavailable"}}]});
    let found = me.workflows().validate(definition).await.unwrap();
    assert!(found.problems.iter().any(|problem| problem.path == "/nodes/0/retry"), "{:?}", found.problems);
}

/// What each way to handle a failure makes of one: the status, the output, and the code of the error.
async fn handled(me: &Session, name: &str, node: Value) -> Vec<(ExecutionStatus, Value, Option<ErrorCode>)> {
    let mut all = Vec::new();
    for (way, on_error) in
        [json!("fail"), json!("branch"), json!("continue"), json!({"value": 7})].into_iter().enumerate()
    {
        let mut node = node.clone();
        node["on_error"] = on_error;
        let mut definition = json!({"name": format!("{name}_{way}"), "nodes": [{"id": "s", "type": "start"}, node,
            {"id": "o", "type": "end", "config": {"output": "{{ ['out', nodes.x.output, nodes.x.error.code] }}"}}],
            "edges": edges("s>x x>o")});
        if way == 1 {
            let caught = json!({"id": "f", "type": "end", "config": {"output": "{{ ['error', nodes.x.error.code] }}"}});
            definition["nodes"].as_array_mut().unwrap().push(caught);
            definition["edges"] = edges("s>x x>o x.error>f");
        }
        let handle = start(me, definition, json!({})).await;
        if name == "child" {
            let waits = until(me, handle.id(), |execution| execution.status == ExecutionStatus::Waiting).await;
            let Waiting::Child { execution_id, .. } = waits.waiting_for[0] else { panic!("{waits:?}") };
            me.executions().cancel(execution_id).await.unwrap();
        }
        let done = end(&handle).await;
        all.push((done.status, done.output, done.error.map(|error| error.code)));
    }
    all
}

#[tokio::test]
async fn w33_what_is_cancelled_alone_is_a_failure_of_its_node() {
    let (_engine, me, _) = engine().await;
    put(
        &me,
        json!({"name": "asks", "nodes": [{"id": "a", "type": "approval", "config": {"message": "?"}}], "edges": []}),
    )
    .await;
    let of_child = json!({"id": "x", "type": "subflow", "config": {"workflow": "asks"}});
    let of_host = json!({"id": "x", "type": "work", "config": {"fail": "cancelled"},
        "retry": {"max_attempts": 3, "initial_ms": 1}, "fallback": [{"give": "another"}]});
    for (name, node) in [("child", of_child), ("host", of_host)] {
        let cancelled = Some(ErrorCode::Cancelled);
        let must = vec![
            (ExecutionStatus::Failed, Value::Null, cancelled),
            (ExecutionStatus::Completed, json!(["error", "cancelled"]), None),
            (ExecutionStatus::Completed, json!(["out", null, "cancelled"]), None),
            (ExecutionStatus::Completed, json!(["out", 7, "cancelled"]), None),
        ];
        assert_eq!(handled(&me, name, node).await, must, "{name}");
    }
    let map = json!({"name": "map", "nodes": [
        {"id": "s", "type": "start"}, {"id": "m", "type": "map", "config": {"items": [1, 2], "fail": "stop"}},
        {"id": "w", "type": "work", "parent": "m", "config": {"fail": "cancelled"}},
        {"id": "e", "type": "work"}], "edges": edges("s>m m>e")});
    let done = run(&me, map, json!({})).await;
    assert_eq!((done.status, done.error.unwrap().code), (ExecutionStatus::Failed, ErrorCode::Cancelled));
    assert_eq!(by_id(&me, done.execution_id).await["e"], NodeStatus::NotRun);
}

#[tokio::test]
async fn w33_a_node_cannot_say_that_it_was_cancelled() {
    let (_engine, me, _) = engine().await;
    let fails = |code: &str| json!({"name": "says", "nodes": [{"id": "x", "type": "fail", "config": {"message": "no", "code": code}}], "edges": []});
    put(&me, fails("cancelled")).await;
    let refused = me.run("says", json!({})).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::InvalidInput);
    assert!(refused.details().to_string().contains("/config/code"), "{}", refused.details());
    put(&me, fails("timeout")).await;
    assert_eq!(me.run("says", json!({})).await.unwrap().error.unwrap().code, ErrorCode::Timeout);
}

#[tokio::test]
async fn an_error_says_where_it_was_whether_it_is_handled_or_not() {
    let (_engine, me, _) = engine().await;
    let read = "nodes.b.error.node ~ ' ' ~ nodes.b.error.path ~ ' ' ~ nodes.b.error.attempt ~ ' ' ~ nodes.b.error.code";
    let broken = |on_error: &str| {
        json!({"name": format!("broken_{on_error}"), "nodes": [
            {"id": "s", "type": "start"},
            {"id": "m", "type": "map", "config": {"items": [1]}},
            {"id": "b", "type": "work", "parent": "m", "config": {"fail": "unavailable"}, "on_error": on_error,
                "retry": {"max_attempts": 2, "initial_ms": 1}},
            {"id": "r", "type": "code", "parent": "m", "config": {"expr": read}}],
            "edges": edges(if on_error == "branch" { "s>m b.error>r" } else { "s>m b>r" })})
    };
    for on_error in ["branch", "continue"] {
        let done = run(&me, broken(on_error), json!({})).await;
        assert_eq!(done.output, json!(["b m/0 2 unavailable"]), "{on_error}: {:?}", done.error);
    }
    let error = run(&me, broken("fail"), json!({})).await.error.unwrap();
    let place = (error.node.as_deref(), error.path.as_deref(), error.attempt);
    assert_eq!(place, (Some("b"), Some("m/0"), Some(2)), "{error:?}");
    let shown = serde_json::to_value(&error).unwrap();
    assert_eq!((&shown["node"], &shown["path"], &shown["attempt"]), (&json!("b"), &json!("m/0"), &json!(2)));
    assert_eq!(serde_json::from_value::<blitz::ErrorInfo>(shown).unwrap(), error);
}
