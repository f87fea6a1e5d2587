//! What a business user may not: see, use, change or spend what is not its own.

use blitz::provider::Reply;
use blitz::{
    CostFilter, Engine, ErrorCode, ExportFormat, ListOptions, NewAgent, NewBudget, NewModel, NewPrompt, NewTool,
    NewUser, PromptRef, Role, Session, Share, ShareLevel, UsageQuery, User, UserUpdate, Visibility,
};
use serde_json::{Map, json};

use super::{PASSWORD, member, share_model};
use crate::bad_input::code;
use crate::support::engine::scripted;
use crate::support::server::Server;

/// Ana and Ben, business users, and an execution of Ana's agent `mine`.
struct World {
    _engine: Engine,
    root: Session,
    ana: (User, Session),
    ben: Session,
    execution: blitz::ExecutionId,
}

async fn world() -> World {
    let (engine, root, _) = scripted(vec![Reply::text("secret answer")]).await;
    share_model(&root).await;
    let ana = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    let (_, ben) = member(&engine, &root, "ben@example.com", Role::BusinessUser).await;
    ana.1.agents().put(NewAgent::new("mine", "m")).await.unwrap();
    ana.1.prompts().put(NewPrompt::new("prompt", "Hello {name}")).await.unwrap();
    let execution = ana.1.run("mine", "secret question").await.unwrap().execution_id;
    World { _engine: engine, root, ana, ben, execution }
}

#[tokio::test]
async fn t39_anothers_records_are_not_found() {
    let world = world().await;
    let ben = &world.ben;
    let agent = world.ana.1.agents().get("mine").await.unwrap().id;
    let prompt = world.ana.1.prompts().get("prompt").await.unwrap().id;
    let share = || Share::with_user("ben@example.com", ShareLevel::Manage);
    let page = ListOptions::default;
    for name in ["mine".to_owned(), "ana@example.com/mine".to_owned()] {
        assert_eq!(code(ben.agents().get(name.as_str()).await), ErrorCode::NotFound, "{name}");
        assert_eq!(code(ben.run(name.as_str(), "x").await), ErrorCode::NotFound, "{name}");
    }
    let codes = [
        code(ben.agents().get(agent).await),
        code(ben.run(agent, "x").await),
        code(ben.agents().update(agent, Map::new()).await),
        code(ben.agents().delete(agent).await),
        code(ben.agents().share(agent, share()).await),
        code(ben.agents().shares(agent).await),
        code(ben.agents().set_visibility(agent, Visibility::Shared).await),
        code(ben.agents().put(NewAgent::new("x", "m").agent("ana@example.com/mine")).await),
        code(ben.prompts().render(prompt, None, Map::new()).await),
        code(ben.prompts().versions(prompt, page()).await),
        code(ben.prompts().version(prompt, 1).await),
        code(ben.agents().put(NewAgent::new("x", "m").prompt(PromptRef::latest("ana@example.com/prompt"))).await),
        code(ben.executions().get(world.execution).await),
        code(ben.executions().outcome(world.execution).await),
        code(ben.executions().steps(world.execution, page()).await),
        code(ben.executions().wait(world.execution).await),
        code(ben.executions().cancel(world.execution).await),
        code(ben.executions().decide(world.execution, "1/tool/0", blitz::Decision::Rerun).await),
        code(
            futures_util::StreamExt::next(&mut ben.executions().events(world.execution, 0)).await.expect("it says why"),
        ),
    ];
    assert_eq!(codes, [ErrorCode::NotFound; 19]);
    assert!(ben.agents().list(page()).await.unwrap().items.is_empty());
    assert!(ben.prompts().list(page()).await.unwrap().items.is_empty());
    assert!(ben.executions().list(Default::default(), page()).await.unwrap().items.is_empty());
    assert_eq!(world.root.agents().get(agent).await.unwrap().spec.name, "mine");
}

#[tokio::test]
async fn what_is_missing_and_what_is_hidden_look_alike() {
    let world = world().await;
    let agent = world.ana.1.agents().get("mine").await.unwrap().id;
    let hidden = world.ben.agents().get(agent).await.unwrap_err();
    let missing = world.ben.agents().get(blitz::ResourceId(7_000)).await.unwrap_err();
    assert_eq!((hidden.to_string(), hidden.details()), (missing.to_string(), missing.details()));
    let hidden = world.ben.executions().get(world.execution).await.unwrap_err();
    let missing = world.ben.executions().get(blitz::ExecutionId(7_000)).await.unwrap_err();
    assert_eq!((hidden.to_string(), hidden.details()), (missing.to_string(), missing.details()));
}

#[tokio::test]
async fn t39_a_private_model_runs_for_its_owner_only() {
    let world = world().await;
    world.root.models().put(NewModel::new("dear", "scripted", "dear")).await.unwrap();
    assert_eq!(code(world.ben.models().get("dear").await), ErrorCode::NotFound);
    assert_eq!(code(world.ben.agents().put(NewAgent::new("a", "dear")).await), ErrorCode::NotFound);
    // Even an agent that an admin opened to everybody runs on what its caller may use.
    world.root.agents().put(NewAgent::new("lent", "dear")).await.unwrap();
    world.root.agents().set_visibility("lent", Visibility::Shared).await.unwrap();
    assert_eq!(code(world.ben.run("lent", "x").await), ErrorCode::NotFound);
}

#[tokio::test]
async fn t39_what_only_admins_do_is_denied_and_audited() {
    let world = world().await;
    let (ben, page) = (&world.ben, ListOptions::default);
    let budget = NewBudget::per_user("b", blitz::Money::ZERO);
    let denied = [
        code(ben.users().list(page()).await),
        code(ben.users().get(world.ana.0.id).await),
        code(ben.users().create(NewUser::new("cem@example.com", PASSWORD)).await),
        code(ben.users().update(world.ana.0.id, UserUpdate::default()).await),
        code(ben.users().delete(world.ana.0.id).await),
        code(ben.audit().list(page()).await),
        code(ben.audit().verify(None).await),
        code(ben.budgets().list(page()).await),
        code(ben.budgets().create(budget.clone()).await),
        code(ben.budgets().put(budget).await),
        code(ben.models().put(NewModel::new("x", "scripted", "x").with_api_key("sk-canary")).await),
        code(ben.models().update("m", Map::new()).await),
        code(ben.models().delete("m").await),
        code(ben.tools().put(NewTool::builtin("file_read").with_config("root", "/")).await),
        code(ben.tools().register(blitz::tool_fn!("t", "", |_: ()| async { Ok(1) })).await),
        code(ben.executions().recover().await),
    ];
    assert_eq!(denied, [ErrorCode::PermissionDenied; 16]);
    let trail = world.root.audit().list(ListOptions::limit(1000)).await.unwrap().items;
    let denials = trail.iter().filter(|line| line.outcome == blitz::AuditOutcome::Denied);
    assert!(denials.clone().count() >= 10, "denials are in the trail");
    assert!(
        denials.clone().all(|line| line.principal.starts_with("user:")),
        "{denials:?}",
        denials = denials.collect::<Vec<_>>()
    );
    assert_eq!(world.root.audit().verify(None).await.unwrap().first_bad, None);
}

#[tokio::test]
async fn t40_no_field_of_a_request_raises_a_role() {
    let world = world().await;
    let ben = world.ben.principal().user_id().unwrap();
    let mut raise = UserUpdate::default();
    raise.role = Some(Role::Admin);
    assert_eq!(code(world.ben.users().update(ben, raise).await), ErrorCode::PermissionDenied);
    let update = json!({"id": ben, "update": {"role": "admin"}});
    assert_eq!(code(world.ben.call("users.update", update).await), ErrorCode::PermissionDenied);
    // Fields that no method takes are refused, not ignored.
    let agent = |field: &str| json!({"name": "x", "model": "m", field: "admin"});
    for field in ["role", "owner_id", "visibility", "revision", "id", "__proto__"] {
        assert_eq!(code(world.ben.call("agents.put", agent(field)).await), ErrorCode::InvalidInput, "{field}");
        let patch = json!({"id": "x", "patch": {field: "admin"}});
        world.ben.agents().put(NewAgent::new("x", "m")).await.unwrap();
        assert_eq!(code(world.ben.call("agents.update", patch).await), ErrorCode::InvalidInput, "{field}");
    }
    assert_eq!(world.root.users().get(ben).await.unwrap().role, Role::BusinessUser);
}

#[tokio::test]
async fn t39_costs_are_ones_own_whatever_is_asked() {
    let world = world().await;
    let ana = world.ana.0.id;
    for filter in [CostFilter::all(), CostFilter::of_root(world.execution)] {
        let mine = world.ana.1.costs().summary(filter).await.unwrap();
        assert!(mine.cost > blitz::Money::ZERO);
        let theirs = world.ben.costs().summary(filter).await.unwrap();
        assert_eq!((theirs.cost, theirs.usage.requests), (blitz::Money::ZERO, 0), "{filter:?}");
        assert!(world.ben.costs().list(filter, ListOptions::default()).await.unwrap().items.is_empty(), "{filter:?}");
        assert_eq!(world.root.costs().summary(filter).await.unwrap().cost, mine.cost);
    }
    // What is somebody else's by its very words is denied, and not answered with one's own.
    let of_ana = CostFilter::of_user(ana);
    let mut of_her = UsageQuery::default();
    of_her.user_id = Some(ana);
    let query = || of_her.clone();
    let before = world.root.audit().list(ListOptions::limit(1000)).await.unwrap().items.len();
    let denied = [
        code(world.ben.costs().summary(of_ana).await),
        code(world.ben.costs().list(of_ana, ListOptions::default()).await),
        code(world.ben.usage().query(query()).await),
        code(world.ben.usage().export(query(), ExportFormat::Csv).await),
        code(world.ben.keys().list(Some(ana), ListOptions::default()).await),
    ];
    assert_eq!(denied, [ErrorCode::PermissionDenied; 5]);
    let trail = world.root.audit().list(ListOptions::limit(1000)).await.unwrap().items;
    let about = |line: &&blitz::AuditRecord| {
        line.outcome == blitz::AuditOutcome::Denied && line.object.contains(&format!("user:{ana}"))
    };
    assert!(trail[before..].iter().any(|line| about(&line)), "{:?}", &trail[before..]);
    assert!(world.ana.1.costs().summary(of_ana).await.unwrap().cost > blitz::Money::ZERO);
    assert_eq!(world.ana.1.usage().query(query()).await.unwrap().total.calls, 1);
    assert_eq!(world.root.usage().query(query()).await.unwrap().total.calls, 1);
    // An export is as narrow as a question.
    for query in [json!({"user_id": null, "by": ["user"]}), json!({"by": ["user"]})] {
        for format in ["jsonl", "csv"] {
            let export = json!({"query": query, "format": format});
            let lines = |text: serde_json::Value| text.as_str().unwrap().lines().count() - usize::from(format == "csv");
            assert_eq!(lines(world.ben.call("usage.export", export.clone()).await.unwrap()), 0, "{export}");
            assert_eq!(lines(world.ana.1.call("usage.export", export.clone()).await.unwrap()), 1, "{export}");
            assert_eq!(lines(world.root.call("usage.export", export).await.unwrap()), 1);
        }
    }
}

#[tokio::test]
async fn t17_a_user_cannot_book_on_another() {
    let world = world().await;
    for field in ["user_id", "principal", "user", "tags"] {
        let run = json!({"agent": "mine", "input": "x", field: 1});
        assert_eq!(code(world.ana.1.call("agents.run", run).await), ErrorCode::InvalidInput, "{field}");
    }
}

#[tokio::test]
async fn t69_nobody_tries_an_address_or_a_command_without_the_right_to() {
    let world = world().await;
    let server = Server::start([]).await;
    let tool = |tool: NewTool| serde_json::to_value(tool).unwrap();
    // Whatever makes the engine go somewhere: there is no method that only tries a connection.
    for (method, input) in [
        ("models.put", json!({"name": "own", "provider": "openai", "model_name": "x", "base_url": server.url()})),
        ("models.create", json!({"name": "own", "provider": "openai", "model_name": "x", "base_url": server.url()})),
        ("models.embed", json!({"model": "openai:x", "inputs": ["a"]})),
        ("tools.put", tool(NewTool::builtin("file_read").with_config("root", "/"))),
        ("tools.create", tool(NewTool::builtin("file_read").with_config("root", "/"))),
        ("webhooks.put", json!({"name": "w", "url": server.url(), "secret": "a long enough secret"})),
        ("webhooks.retry", json!({"id": 1})),
        ("webhooks.deliver", json!({})),
    ] {
        assert_eq!(code(world.ben.call(method, input).await), ErrorCode::PermissionDenied, "{method}");
    }
    assert!(blitz::Method::all().all(|method| !method.name.ends_with(".test")), "one that does is tested here too");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn t75_a_page_is_capped_and_an_odd_cursor_refused() {
    let world = world().await;
    let page = world.root.executions().list(Default::default(), ListOptions::limit(u32::MAX)).await.unwrap();
    assert_eq!(page.items.len(), 1);
    assert_eq!(world.root.agents().list(ListOptions::limit(0)).await.unwrap().items.len(), 1, "at least one");
    for cursor in ["", "x", "-1", "1; DROP TABLE users", "99999999999999999999", "1e3", "' OR 1=1"] {
        let page = || ListOptions::limit(10).after(cursor);
        let codes = [
            code(world.root.agents().list(page()).await),
            code(world.root.users().list(page()).await),
            code(world.root.budgets().list(page()).await),
            code(world.root.costs().list(CostFilter::all(), page()).await),
            code(world.root.audit().list(page()).await),
            code(world.root.executions().list(Default::default(), page()).await),
            code(world.root.executions().steps(world.execution, page()).await),
            code(world.ana.1.prompts().versions("prompt", page()).await),
        ];
        assert_eq!(codes, [ErrorCode::InvalidInput; 8], "{cursor:?}");
    }
}
