//! Executions whose user, or whose user's rights, change while they run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use blitz::provider::{Reply, Scripted};
use blitz::tool::FunctionTool;
use blitz::{
    Engine, ErrorCode, EventData, ExecutionStatus, ListOptions, Money, NewAgent, NewBudget, Outcome, Part, Role,
    RunOptions, Session, Share, ShareLevel, User, UserUpdate, tool_fn,
};
use serde_json::json;
use tokio::sync::Semaphore;

use super::{member, share_model};
use crate::bad_input::code;
use crate::support::engine::{agent, with_provider};

/// A user whose agent calls the tool `wait`, which ends once it is let, and then asks again.
struct World {
    _engine: Engine,
    root: Session,
    ana: (User, Session),
    provider: Scripted,
    entered: Arc<Semaphore>,
    leave: Arc<Semaphore>,
}

async fn world() -> World {
    let provider = Scripted::new([
        Reply::tool_call("wait", json!({})),
        Reply::tool_calls(vec![("wait", json!({})), ("other", json!({}))]),
        Reply::text("done"),
    ]);
    let (engine, root, provider) = with_provider(provider).await;
    share_model(&root).await;
    let limit = Money::parse("1").unwrap();
    root.budgets().create(NewBudget::per_user("user", limit)).await.unwrap();
    let (entered, leave) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    root.tools().register(waits(&entered, &leave)).await.unwrap();
    root.tools().register(tool_fn!("other", "", |_: ()| async { Ok("of no interest") })).await.unwrap();
    let ana = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    for tool in ["wait", "other"] {
        root.tools().share(tool, Share::with_user("ana@example.com", ShareLevel::Use)).await.unwrap();
    }
    // Her own agent names what is lent to her by its owner's name or id only where it must.
    root.agents().put(agent("a", &["wait", "other"])).await.unwrap();
    World { _engine: engine, root, ana, provider, entered, leave }
}

fn waits(entered: &Arc<Semaphore>, leave: &Arc<Semaphore>) -> FunctionTool {
    let (entered, leave) = (Arc::clone(entered), Arc::clone(leave));
    tool_fn!("wait", "", move |_: ()| {
        let (entered, leave) = (Arc::clone(&entered), Arc::clone(&leave));
        async move {
            entered.add_permits(1);
            leave.acquire().await?.forget();
            Ok("waited")
        }
    })
}

impl World {
    /// Runs the agent as Ana, changes something while its first tool runs, and gives what came of it.
    async fn run<F: Future<Output = ()>>(&self, change: impl FnOnce() -> F) -> Outcome {
        self.root.tools().set_visibility("wait", blitz::Visibility::Shared).await.unwrap();
        self.root.tools().set_visibility("other", blitz::Visibility::Shared).await.unwrap();
        self.root.agents().share("a", Share::with_user("ana@example.com", ShareLevel::Use)).await.unwrap();
        let id = self.root.agents().get("a").await.unwrap().id;
        let handle = self.ana.1.start(id, "x").await.unwrap();
        self.entered.acquire().await.unwrap().forget();
        change().await;
        self.leave.add_permits(10);
        let executions = self.root.executions();
        let ended = tokio::time::timeout(Duration::from_secs(20), executions.wait(handle.id())).await;
        ended.expect("it ends").unwrap()
    }

    async fn nothing_reserved(&self, done: &Outcome) {
        let budget = self.root.budgets().list(ListOptions::default()).await.unwrap().items.remove(0);
        let window = self.root.budgets().windows(budget.id, ListOptions::default()).await.unwrap().items.remove(0);
        assert_eq!((window.pending.money(), Some(window.posted.money())), (Money::ZERO, done.cost));
    }

    /// What the model was told in its request with this number, from 0.
    fn told(&self, number: usize) -> Vec<(bool, String)> {
        let requests = self.provider.requests();
        let parts = requests[number].messages.last().unwrap().parts.clone();
        let results = parts.into_iter().filter_map(|part| match part {
            Part::ToolResult(result) => Some((result.is_error, result.as_text())),
            _ => None,
        });
        results.collect()
    }
}

fn update(change: impl FnOnce(&mut UserUpdate)) -> UserUpdate {
    let mut update = UserUpdate::default();
    change(&mut update);
    update
}

#[tokio::test]
async fn nothing_changes_and_it_runs_to_its_end() {
    let world = world().await;
    let done = world.run(|| async {}).await;
    assert_eq!((done.status, done.text().as_str()), (ExecutionStatus::Completed, "done"));
    world.nothing_reserved(&done).await;
}

#[tokio::test]
async fn t42_an_execution_stops_at_its_next_step_once_its_user_is_disabled() {
    let world = world().await;
    let id = world.ana.0.id;
    let disable = update(|user| user.active = Some(false));
    let done = world.run(|| async { drop(world.root.users().update(id, disable).await.unwrap()) }).await;
    assert_eq!(
        (done.status, done.error.as_ref().unwrap().code),
        (ExecutionStatus::Failed, ErrorCode::PermissionDenied)
    );
    assert_eq!(world.provider.requests().len(), 1, "no further call was made in its name");
    assert!(done.cost.unwrap() > Money::ZERO, "what was spent is booked");
    world.nothing_reserved(&done).await;
}

#[tokio::test]
async fn t42_an_execution_stops_once_its_user_is_deleted() {
    let world = world().await;
    let id = world.ana.0.id;
    let done = world.run(|| async { world.root.users().delete(id).await.unwrap() }).await;
    assert_eq!(
        (done.status, done.error.as_ref().unwrap().code),
        (ExecutionStatus::Failed, ErrorCode::PermissionDenied)
    );
    assert_eq!(world.provider.requests().len(), 1);
    world.nothing_reserved(&done).await;
}

#[tokio::test]
async fn t42_an_ended_login_does_not_stop_an_execution() {
    let world = world().await;
    let id = world.ana.0.id;
    let password = update(|user| user.password = Some(blitz::Secret::new("sk-canary other passphrase")));
    let done = world.run(|| async { drop(world.root.users().update(id, password).await.unwrap()) }).await;
    assert_eq!(done.status, ExecutionStatus::Completed);
    assert_eq!(code(world.ana.1.executions().get(done.execution_id).await), ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn t42_a_run_that_is_heard_stays_its_callers_when_the_login_ends() {
    // More than a reader may fall behind: it has to read the journal.
    let (engine, root, _) = with_provider(Scripted::new([Reply::text("word ".repeat(3_000))])).await;
    share_model(&root).await;
    let (user, ana) = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    let shared = root.agents().put(agent("a", &[])).await.unwrap().id;
    root.agents().set_visibility(shared, blitz::Visibility::Shared).await.unwrap();
    let mut run = ana.agents().run_heard(shared, "x", RunOptions::default()).await.unwrap();
    let id = root.executions().list(Default::default(), ListOptions::default()).await.unwrap().items[0].id;
    root.executions().wait(id).await.unwrap();
    let password = update(|user| user.password = Some(blitz::Secret::new("sk-canary other passphrase")));
    root.users().update(user.id, password).await.unwrap();
    assert_eq!(code(ana.executions().outcome(id).await), ErrorCode::Unauthenticated);
    let mut last = None;
    while let Some(event) = run.next().await {
        last = Some(event.unwrap().data);
    }
    assert!(matches!(last, Some(EventData::ExecutionFinished(_))), "{last:?}");
    assert_eq!(run.outcome().await.unwrap().status, ExecutionStatus::Completed);
}

#[tokio::test]
async fn a_run_that_is_heard_is_cancelled_by_its_caller() {
    let silent = Scripted::from_fn(|_| Reply::text("late").with_delay(Duration::from_secs(3_600)));
    let (_engine, root, _) = with_provider(silent).await;
    root.agents().put(agent("a", &[])).await.unwrap();
    let hear = || async { root.agents().run_heard("a", "x", RunOptions::default()).await.unwrap() };
    let mut run = hear().await;
    let id = run.next().await.unwrap().unwrap().execution_id;
    run.cancel();
    assert_eq!(run.outcome().await.unwrap().status, ExecutionStatus::Cancelled);
    assert_eq!(root.executions().outcome(id).await.unwrap().status, ExecutionStatus::Cancelled);
    let mut dropped = hear().await;
    let id = dropped.next().await.unwrap().unwrap().execution_id;
    drop(dropped);
    assert_eq!(root.executions().wait(id).await.unwrap().status, ExecutionStatus::Cancelled);
}

#[tokio::test]
async fn t42_a_role_that_may_do_more_changes_nothing_for_the_execution() {
    let world = world().await;
    let id = world.ana.0.id;
    let admin = update(|user| user.role = Some(Role::Admin));
    let done = world.run(|| async { drop(world.root.users().update(id, admin).await.unwrap()) }).await;
    assert_eq!(done.status, ExecutionStatus::Completed);
}

#[tokio::test]
async fn t45_a_tool_that_is_taken_away_is_refused_and_the_model_is_told() {
    let world = world().await;
    let done = world
        .run(|| async {
            let tools = world.root.tools();
            tools.set_visibility("wait", blitz::Visibility::Private).await.unwrap();
            tools.unshare("wait", Share::with_user("ana@example.com", ShareLevel::Use)).await.unwrap();
        })
        .await;
    assert_eq!((done.status, done.text().as_str()), (ExecutionStatus::Completed, "done"));
    let told = world.told(2);
    assert!(told[0].0 && told[0].1.contains("permission denied"), "{told:?}");
    assert_eq!(told[1], (false, "of no interest".to_owned()));
    assert_eq!(world.entered.available_permits(), 0, "it ran all the same");
    let trail = world.root.audit().list(ListOptions::limit(1000)).await.unwrap().items;
    let denial = trail.iter().find(|line| line.action == "tools.call" && line.outcome == blitz::AuditOutcome::Denied);
    assert_eq!(denial.unwrap().principal, format!("user:{}", world.ana.0.id));
    world.nothing_reserved(&done).await;
}

#[tokio::test]
async fn t45_a_tool_that_the_caller_may_not_use_runs_for_nobody_else_either() {
    let (engine, root, provider) = with_provider(Scripted::from_fn(|_| Reply::text("done"))).await;
    share_model(&root).await;
    let ran = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&ran);
    let press = tool_fn!("press", "", move |_: ()| {
        counter.fetch_add(1, Ordering::SeqCst);
        async { Ok(()) }
    });
    root.tools().register(press).await.unwrap();
    root.agents().put(agent("a", &["press"])).await.unwrap();
    root.agents().set_visibility("a", blitz::Visibility::Shared).await.unwrap();
    let (_, ana) = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    assert_eq!(code(ana.run("a", "x").await), ErrorCode::NotFound, "the agent's tools are the caller's or nobody's");
    assert_eq!((ran.load(Ordering::SeqCst), provider.requests().len()), (0, 0));
    assert_eq!(code(ana.agents().put(NewAgent::new("own", "m").tool("press")).await), ErrorCode::NotFound);
}

#[tokio::test]
async fn a_user_in_the_middle_of_a_run_can_be_told_apart_from_the_host() {
    let world = world().await;
    let done = world.run(|| async {}).await;
    let seen = world.root.executions().get(done.execution_id).await.unwrap();
    assert_eq!(seen.user_id, Some(world.ana.0.id));
    let of_ana = world.root.costs().summary(blitz::CostFilter::of_user(world.ana.0.id)).await.unwrap();
    assert_eq!(Some(of_ana.cost), done.cost);
}
