//! A hard budget with headroom for a few calls lets exactly those through, however many come at once.

use std::time::Duration;

use blitz::provider::{CallContext, ModelStream, Provider, Reply, Scripted};
use blitz::{
    BudgetScope, ErrorCode, EventData, Execution, ExecutionFilter, ExecutionId, ExecutionStatus, ListOptions,
    ModelRequest, Money, NewBudget, NewModel, NewUser, Session, Usage, Visibility,
};
use futures_util::{FutureExt, StreamExt};

use super::kills::Worker;
use super::stage::Stage;
use super::truth::Fact;
use super::worker::{Role, World, request_of, tell};
use crate::support::folder::Folder;
use crate::support::server::{Reply as Answer, Server};

/// Calls that the budget pays for.
const ROOM: usize = 7;

/// What one call of an agent holds, by its first journal records.
async fn held_by_one(me: &Session, id: ExecutionId) -> Money {
    let mut events = me.executions().events(id, 0);
    while let Some(event) = events.next().await {
        if let EventData::StepStarted(started) = event.expect("an event").data {
            return started.reserved.expect("it has a price");
        }
    }
    panic!("no call was reserved");
}

/// A limit for so many calls, and a little more that pays for none.
fn room_for(calls: usize, each: Money) -> Money {
    let sum = (0..calls).fold(Money::from_nanos(100), |sum, _| sum.add(each).expect("a sum"));
    assert!(each > Money::from_nanos(100));
    sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t01_of_many_executions_at_once_exactly_those_with_headroom_call() {
    const AT_ONCE: usize = 100;
    let stage = Stage::calling(&[]);
    let life = stage.open().await;
    let user = life.me.users().create(NewUser::new("ann@example.org", "sk-canary long password")).await.unwrap();
    life.me.models().set_visibility("m", Visibility::Shared).await.unwrap();
    for (tool, _) in super::stage::EFFECTS {
        life.me.tools().set_visibility(tool, Visibility::Shared).await.unwrap();
    }
    for agent in ["a", "child"] {
        life.me.agents().set_visibility(agent, Visibility::Shared).await.unwrap();
    }
    let sample = life.start().await;
    life.wait(sample).await;
    let each = held_by_one(&life.me, sample).await;
    let asked = stage.model.asked().len();
    let budget = NewBudget::per_user("users", room_for(ROOM, each)).only(user.id.0);
    let budget = life.me.budgets().put(budget).await.unwrap();
    let ann = life.engine.login("ann@example.org", "sk-canary long password").await.unwrap();
    stage.model.held.hold("a/1");

    let starts = futures_util::future::join_all((0..AT_ONCE).map(|_| ann.start("a", "go"))).await;
    let ids: Vec<_> = starts.into_iter().map(|start| start.unwrap().id()).collect();
    // Those that are let through wait for the model; all others end.
    stage.model.was_asked(asked + ROOM).await;
    let failed = ExecutionFilter::in_status(ExecutionStatus::Failed);
    loop {
        let failed = life.me.executions().list(failed, ListOptions::limit(1000)).await.unwrap().items;
        let refused = |execution: &Execution| execution.error.as_ref().unwrap().code == ErrorCode::BudgetExceeded;
        assert!(failed.len() <= AT_ONCE - ROOM && failed.iter().all(refused), "{} were refused", failed.len());
        if failed.len() == AT_ONCE - ROOM {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(stage.model.asked().len() - asked, ROOM);
    stage.model.held.release("a/1");
    for id in ids {
        life.wait(id).await;
    }
    assert_eq!(stage.model.asked().len() - asked, ROOM, "who was refused is not let in later");
    let windows = life.me.budgets().windows(budget.id, ListOptions::default()).await.unwrap().items;
    assert_eq!(windows[0].pending, Money::ZERO);
    life.me.budgets().verify().await.unwrap();
}

/// How many executions each process of [`t02_the_same_from_four_processes`] starts.
const EACH: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t02_the_same_from_four_processes() {
    let folder = Folder::new();
    let world = World::new(folder.path(), 2);
    world.found().await;
    let (engine, me) = world.open().await;
    let sample = me.start("parent", "sample").await.unwrap();
    let each = held_by_one(&me, sample.id()).await;
    me.executions().cancel(sample.id()).await.unwrap();
    sample.wait().await.unwrap();
    me.budgets().put(NewBudget::per_user("users", room_for(ROOM, each))).await.unwrap();
    let asked = || {
        let lines = world.truth.lines();
        lines.iter().filter(|line| matches!(&line.fact, Fact::Asked(of) if of.label == "many")).count()
    };

    let workers: Vec<Worker> = (0..4).map(|seed| Worker::start(Role::Hold, folder.path(), seed)).collect();
    workers.iter().for_each(Worker::is_ready);
    std::fs::write(folder.path().join("go"), "").unwrap();
    // Each says once more that it is ready, when every start of its has been let through or refused.
    workers.iter().for_each(Worker::says_again);
    // The last of them may still be on their way.
    while asked() < ROOM {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(asked(), ROOM, "of {} at once", 4 * EACH);
    std::fs::write(folder.path().join("answer"), "").unwrap();
    for mut worker in workers {
        worker.heard();
    }
    assert_eq!(asked(), ROOM, "who was refused is not let in later");
    me.budgets().verify().await.unwrap();
    let all = me.executions().list(ExecutionFilter::default(), ListOptions::default()).await.unwrap();
    let of = |status| all.items.iter().filter(|execution| execution.status == status).count();
    assert_eq!((of(ExecutionStatus::Completed), of(ExecutionStatus::Failed)), (ROOM, 4 * EACH - ROOM));
    engine.close().await.unwrap();
}

/// Waits until a file appears beside the database.
async fn appears(world: &World, name: &str) {
    while !world.folder().join(name).exists() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What a process of [`t02_the_same_from_four_processes`] does.
pub(super) async fn hold(world: &World) {
    let (engine, me) = world.open_with(Holding(world.clone())).await;
    let user = world.login(&engine).await;
    tell("ready");
    appears(world, "go").await;
    let starts = futures_util::future::join_all((0..EACH).map(|_| user.start("parent", "many"))).await;
    let handles: Vec<_> = starts.into_iter().map(|start| start.expect("starts")).collect();
    for handle in &handles {
        // Its first call is with the service, or it has failed.
        let mut events = handle.events();
        while let Some(event) = events.next().await {
            if matches!(event.expect("an event").data, EventData::StepStarted(_) | EventData::ExecutionFinished(_)) {
                break;
            }
        }
    }
    tell("ready");
    for handle in handles {
        let outcome = handle.wait().await.expect("ends");
        let refused = outcome.error.as_ref().map(|error| error.code) == Some(ErrorCode::BudgetExceeded);
        assert!(refused || outcome.status == ExecutionStatus::Completed, "{outcome:?}");
    }
    me.budgets().verify().await.expect("the windows follow from the ledger");
    engine.close().await.expect("closes");
}

/// A model service that answers once it may.
struct Holding(World);

impl Provider for Holding {
    fn name(&self) -> &str {
        "service"
    }

    fn stream(&self, request: ModelRequest, context: CallContext) -> ModelStream {
        let world = self.0.clone();
        async move {
            world.truth.tell(Fact::Asked(request_of(&request)));
            appears(&world, "answer").await;
            Scripted::from_fn(|_| Reply::text("done").with_usage(Usage::new(10, 1))).stream(request, context)
        }
        .into_stream()
        .flatten()
        .boxed()
    }
}

#[tokio::test]
async fn t23_a_file_opens_where_the_embedding_of_a_dead_process_raises_an_alert() {
    let server = Server::start([]).await;
    let stage = Stage::calling(&[]);
    // Nobody answers it: the process ends while it waits.
    server.push(Answer::head(200, &[]).hang());
    let url = server.url().to_owned();
    stage
        .killed(move |life| async move {
            let price =
                serde_json::from_value(serde_json::json!({"input": "0", "output": "0", "request": "1"})).unwrap();
            let model =
                NewModel::new("e", "openai", "small").with_base_url(url).with_api_key("sk-canary").with_price(price);
            life.me.models().put(model).await.unwrap();
            let soft = NewBudget::new("b", BudgetScope::All).with_limit(Money::parse("1").unwrap()).soft();
            life.me.budgets().put(soft.with_thresholds(vec![50])).await.unwrap();
            let me = life.me.clone();
            tokio::spawn(async move { me.models().embed("e", ["a"]).await.map(drop) });
            while server.requests().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    let life = stage.open().await;
    let alerts = life.me.alerts().list(ListOptions::default()).await.unwrap().items;
    assert_eq!(alerts.iter().map(|alert| alert.threshold).collect::<Vec<_>>(), [50]);
}
