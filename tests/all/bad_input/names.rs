//! Names and ids that lead nowhere.

use blitz::provider::Reply;
use blitz::{BudgetId, ErrorCode, ExecutionId, ListOptions, NewAgent, NewPrompt, PromptRef, ResourceId, UserId};
use futures_util::StreamExt;
use serde_json::{Map, json};

use super::{code, executions};
use crate::support::engine::{agent, priced, scripted};

#[tokio::test]
async fn an_agent_that_names_what_is_not_there_is_refused_and_says_what() {
    let (_engine, me, _) = scripted(vec![]).await;
    me.prompts().put(NewPrompt::new("p", "Hello {name}")).await.unwrap();
    let plain = || NewAgent::new("a", "m");
    for (missing, agent) in [
        ("gone-model", NewAgent::new("a", "gone-model")),
        ("gone-prompt", plain().prompt(PromptRef::latest("gone-prompt"))),
        ("p", plain().prompt(PromptRef::at("p", 2))),
        ("gone-tool", plain().tool("gone-tool")),
        ("gone-agent", plain().agent("gone-agent")),
    ] {
        for result in [me.agents().create(agent.clone()).await, me.agents().put(agent).await] {
            let error = result.unwrap_err();
            assert_eq!(error.code(), ErrorCode::NotFound, "{missing}: {error}");
            assert!(error.to_string().contains(missing), "the message names {missing}: {error}");
        }
    }
    assert!(me.agents().list(ListOptions::default()).await.unwrap().items.is_empty());

    me.agents().put(plain()).await.unwrap();
    let patch = serde_json::from_value(json!({"tools": ["gone-tool"]})).unwrap();
    assert_eq!(code(me.agents().update("a", patch).await), ErrorCode::NotFound);
    assert!(me.agents().get("a").await.unwrap().spec.tools.is_empty());
}

#[tokio::test]
async fn errors_name_things_as_people_do() {
    let (_engine, me, _) = scripted(vec![]).await;
    let nobody = me.run("nobody", "x").await.unwrap_err().to_string();
    assert_eq!(nobody, "there is no such agent or workflow, or it is not open to you");
    for (method, input, told) in [
        ("executions.get", json!({"id": "seven"}), "the input does not fit at /id: expected a whole number"),
        (
            "audit.list",
            json!({"limit": -1}),
            "the input does not fit at /limit: expected a whole number from 0 to 4294967295",
        ),
        ("agents.put", json!({"name": 5, "model": "m"}), "the input does not fit at /name: expected a string"),
        (
            "agents.put",
            json!({"name": "a", "model": "m", "tools": "t"}),
            "the input does not fit at /tools: expected a list",
        ),
        ("agents.put", json!("x"), "the input does not fit: expected an object"),
    ] {
        assert_eq!(me.call(method, input).await.unwrap_err().to_string(), told);
    }
}

#[tokio::test]
async fn an_agent_whose_parts_were_deleted_cannot_run() {
    let (_engine, me, provider) = scripted(vec![Reply::text("hi")]).await;
    me.models().put(priced("other")).await.unwrap();
    me.agents().put(NewAgent::new("a", "other")).await.unwrap();
    me.models().delete("other").await.unwrap();

    let error = me.run("a", "x").await.unwrap_err();

    assert_eq!(error.code(), ErrorCode::NotFound);
    assert_eq!((executions(&me).await, provider.requests().len()), (0, 0));
}

#[tokio::test]
async fn running_what_is_not_there_is_not_found() {
    let (_engine, me, _) = scripted(vec![]).await;
    for name in ["gone", "", "me/gone", "nobody@example.com/gone", "a/b/c", "\0", "🦀", "m", &"x".repeat(100_000)] {
        assert_eq!(code(me.run(name, "x").await), ErrorCode::NotFound, "{name:.20}");
        assert_eq!(code(me.start(name, "x").await), ErrorCode::NotFound, "{name:.20}");
        assert_eq!(code(me.stream(name, "x").await), ErrorCode::NotFound, "{name:.20}");
    }
    for id in [0, -1, 7_000, i64::MAX, i64::MIN] {
        assert_eq!(code(me.run(ResourceId(id), "x").await), ErrorCode::NotFound, "{id}");
    }
    assert_eq!(executions(&me).await, 0);
}

#[tokio::test]
async fn the_id_of_another_noun_is_no_agent() {
    let (_engine, me, _) = scripted(vec![]).await;
    let model = me.models().get("m").await.unwrap().id;
    assert_eq!(code(me.run(model, "x").await), ErrorCode::NotFound);
    assert_eq!(code(me.agents().get(model).await), ErrorCode::NotFound);
    assert_eq!(code(me.prompts().delete(model).await), ErrorCode::NotFound);
    assert!(me.models().get("m").await.is_ok());
}

#[tokio::test]
async fn ids_that_nobody_has_are_not_found() {
    let (_engine, me, _) = scripted(vec![]).await;
    let page = ListOptions::default;
    for id in [0, -1, 7_000, i64::MAX, i64::MIN] {
        let (execution, budget, user) = (ExecutionId(id), BudgetId(id), UserId(id));
        let (executions, budgets, users) = (me.executions(), me.budgets(), me.users());
        let mut events = executions.events(execution, 0);
        let codes = [
            code(executions.get(execution).await),
            code(executions.steps(execution, page()).await),
            code(executions.outcome(execution).await),
            code(executions.wait(execution).await),
            code(executions.cancel(execution).await),
            code(executions.decide(execution, "1/tool/0", blitz::Decision::Rerun).await),
            code(events.next().await.expect("the stream says why")),
            code(budgets.get(budget).await),
            code(budgets.update(budget, Map::new()).await),
            code(budgets.delete(budget).await),
            code(budgets.windows(budget, page()).await),
            code(users.get(user).await),
            code(users.update(user, blitz::UserUpdate::default()).await),
            code(users.delete(user).await),
            code(me.tools().get(ResourceId(id)).await),
            code(me.prompts().versions(ResourceId(id), page()).await),
            code(me.prompts().version("gone", 1).await),
            code(me.prompts().render("gone", None, Map::new()).await),
        ];
        assert_eq!(codes, [ErrorCode::NotFound; 18], "{id}");
        assert!(events.next().await.is_none(), "a stream ends behind its error");
    }
}

#[tokio::test]
async fn the_events_of_a_child_are_asked_of_its_root() {
    let replies = vec![Reply::tool_call("child", json!({"input": "x"})), Reply::text("child"), Reply::text("parent")];
    let (_engine, me, _) = scripted(replies).await;
    me.agents().put(agent("child", &[])).await.unwrap();
    me.agents().put(agent("parent", &[]).agent("child")).await.unwrap();
    let root = me.run("parent", "x").await.unwrap().execution_id;
    let mut all = blitz::ExecutionFilter::default();
    all.children = true;
    let listed = me.executions().list(all, ListOptions::default()).await.unwrap().items;
    let child = listed.iter().find(|execution| execution.parent_id == Some(root)).unwrap().id;

    let mut events = me.executions().events(child, 0);

    assert_eq!(code(events.next().await.expect("the stream says why")), ErrorCode::InvalidInput);
    assert_eq!(me.executions().wait(child).await.unwrap().text(), "child");
}

#[tokio::test]
async fn a_method_that_is_not_there_is_not_found() {
    let (_engine, me, _) = scripted(vec![]).await;
    for name in [
        "",
        "agents",
        "agents.",
        ".list",
        "agents.nope",
        "Agents.List",
        "agents.list ",
        "agents.list\0",
        "models.list; drop",
    ] {
        assert_eq!(code(me.call(name, json!({})).await), ErrorCode::NotFound, "{name:?}");
    }
    for name in ["agents.stream", "executions.events", "tools.register"] {
        assert_eq!(code(me.call(name, json!({})).await), ErrorCode::InvalidInput, "{name:?}");
    }
}
