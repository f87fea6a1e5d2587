//! The race: eight processes of 64 tasks each spend from one budget on one file, and are killed at
//! any instant. What the model service was sent is the truth that the ledger is held against.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use blitz::provider::{FunctionProvider, Reply};
use blitz::{
    BudgetPeriod, BudgetScope, CostFilter, Engine, ErrorCode, Money, NewAgent, NewBudget, RetryPolicy, Usage,
    UsageQuery,
};
use tokio::task::JoinSet;

use crate::support::folder::Folder;

const FOLDER: &str = "BLITZ_TEST_RACE";
const PROCESSES: usize = 8;
const TASKS: usize = 64;
/// About so many milliseconds lie between two kills.
const PAUSE: u64 = 60;
/// What a call holds and costs.
const FEE: i64 = 1_000_000;

struct Campaign {
    calls: i64,
    kills: usize,
    lasts: Duration,
    /// Whether every kill counts; a short one may run out of room before.
    in_full: bool,
}

fn campaign() -> Campaign {
    if std::env::var_os("BLITZ_TORTURE").is_some() {
        return Campaign { calls: 200_000, kills: 1_000, lasts: Duration::from_secs(60), in_full: true };
    }
    Campaign { calls: 3_000, kills: 12, lasts: Duration::from_secs(12), in_full: false }
}

/// An engine on the file whose model notes in the world that it was asked, before it answers.
async fn open(folder: &Path) -> Engine {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("asked")).unwrap();
    let provider = FunctionProvider::new("truth", move |_, _| {
        (&log).write_all(b".").unwrap();
        async {
            tokio::task::yield_now().await;
            Ok(Reply::text("done").with_usage(Usage::new(3, 3)))
        }
    });
    let path = folder.join("race.db");
    Engine::builder(path.to_str().unwrap()).with_provider(provider).open().await.unwrap()
}

/// A process of the race; in a plain run of the tests nothing happens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let engine = open(Path::new(&folder)).await;
    let me = engine.root("race");
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let me = me.clone();
        tasks.spawn(async move {
            loop {
                let done = me.run("a", "go").await.unwrap();
                match done.error.map(|error| error.code) {
                    None => {}
                    Some(ErrorCode::BudgetExceeded) => return,
                    Some(code) => panic!("{code}"),
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    engine.close().await.unwrap();
}

fn start(folder: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "money::race::worker", "--nocapture"]).env(FOLDER, folder);
    command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i11_a_race_of_killed_processes_overspends_loses_and_leaks_nothing() {
    let Campaign { calls, kills, lasts, in_full } = campaign();
    let folder = Folder::new();
    let folder = folder.path();
    let engine = open(folder).await;
    let me = engine.root("race");
    me.models().put(super::model("truth", "0.001")).await.unwrap();
    me.agents().put(NewAgent::new("a", "truth").retry(RetryPolicy::never())).await.unwrap();
    let limit = Money::from_nanos(calls * FEE);
    let budgets = [
        NewBudget::new("money", BudgetScope::All).with_limit(limit),
        NewBudget::new("requests", BudgetScope::Model).of("truth").requests(calls).every(BudgetPeriod::Year),
        NewBudget::new("tokens", BudgetScope::Agent).tokens(i64::MAX / 4).rolling(24),
    ];
    for budget in budgets {
        me.budgets().put(budget).await.unwrap();
    }
    engine.close().await.unwrap();

    let mut children: Vec<Child> = (0..PROCESSES).map(|_| start(folder)).collect();
    let mut has_room = true;
    let (began, mut killed, mut random) = (Instant::now(), 0, 0x2545_F491_4F6C_DD1D_u64);
    while began.elapsed() < lasts || (killed < kills && began.elapsed() < lasts * 20) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        tokio::time::sleep(Duration::from_millis(PAUSE / 2 + random % PAUSE)).await;
        let child = &mut children[(random >> 32) as usize % PROCESSES];
        match child.try_wait().unwrap() {
            Some(status) => {
                assert!(status.success(), "a process of the race failed: {status}");
                // Nobody has room any more: the rest comes to its end by itself.
                if children.iter_mut().all(|child| child.try_wait().unwrap().is_some()) {
                    has_room = false;
                    break;
                }
            }
            None if killed < kills => {
                child.kill().unwrap();
                child.wait().unwrap();
                killed += 1;
                *child = start(folder);
            }
            None => {}
        }
    }
    for mut child in children {
        let _ = child.kill();
        child.wait().unwrap();
    }

    // Opening settles what the dead have left.
    let engine = open(folder).await;
    let me = engine.root("race");
    me.budgets().verify().await.unwrap();
    let asked = std::fs::metadata(folder.join("asked")).unwrap().len() as i64;
    let mut leaked = 0;
    let mut posted = 0;
    for name in ["money", "requests", "tokens"] {
        let budget = me.budgets().find(name).await.unwrap();
        let windows = me.budgets().windows(budget.id, blitz::ListOptions::limit(1000)).await.unwrap().items;
        leaked += windows.iter().map(|window| window.pending.units()).sum::<i64>();
        if name == "money" {
            posted = windows.iter().map(|window| window.posted.units()).sum();
        }
        if name == "requests" {
            let requests: i64 = windows.iter().map(|window| window.posted.units()).sum();
            assert!(requests <= calls, "{requests} of {calls}");
        }
    }
    let booked = me.costs().summary(CostFilter::all()).await.unwrap().cost.nanos();
    let told = me.usage().query(UsageQuery::default()).await.unwrap().total.cost.nanos();
    let overspent = (posted - limit.nanos()).max(0);
    let lost = (asked * FEE - posted).max(0);
    println!(
        "race: {PROCESSES} processes x {TASKS} tasks, {killed} kills, {asked} calls asked, {} booked: overspent {overspent}, \
         lost {lost}, leaked {leaked}",
        posted / FEE
    );
    assert_eq!((overspent, lost, leaked), (0, 0, 0));
    assert_eq!((booked, told), (posted, posted));
    assert!(asked > 0 && killed > 0);
    if in_full || has_room {
        assert_eq!(killed, kills, "the campaign ended before its last kill");
    }
    engine.close().await.unwrap();
}
