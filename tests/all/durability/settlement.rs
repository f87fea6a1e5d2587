//! What a call is booked at whose process is gone: by the host's policy, to the nano-dollar, with a line in the trail.

use blitz::provider::FunctionProvider;
use blitz::{
    AuditRecord, BudgetScope, CostFilter, Engine, EngineSettings, EntryKind, ErrorCode, ExecutionStatus, LedgerEntry,
    ListOptions, Money, NewAgent, NewBudget, NewModel, Provenance, RecoverySettlement, Session, Usage,
};
use futures_util::FutureExt as _;
use serde_json::json;

use super::broken::broken_off;
use super::stage::{Life, Stage};
use crate::support::canary::shown;

/// What a call of the stage holds: 1,000 tokens in and 4,096 out, at a thousand nano-dollars each.
const RESERVED: Money = Money::from_nanos(5_096_000);
/// What of it is certain.
const FLOOR: Money = Money::from_nanos(1_000_000);

const POLICIES: [(RecoverySettlement, &str, Money, u64); 2] =
    [(RecoverySettlement::Reserved, "reserved", RESERVED, 4_096), (RecoverySettlement::Floor, "floor", FLOOR, 0)];

async fn settled(me: &Session) -> Vec<LedgerEntry> {
    let entries = me.costs().list(CostFilter::all(), ListOptions::limit(1000)).await.unwrap().items;
    entries.into_iter().filter(|entry| entry.kind == EntryKind::Settle).collect()
}

async fn lines(me: &Session) -> Vec<AuditRecord> {
    let trail = me.audit().list(ListOptions::limit(1000)).await.unwrap().items;
    trail.into_iter().filter(|line| line.action == "ledger.settle_dead").collect()
}

/// The lives on the stage end so: killed in the middle, or closed without a grace.
async fn dies(stage: &Stage, killed: bool) {
    let held = stage.clone();
    let part = move |life: Life| async move {
        let all = NewBudget::new("all", BudgetScope::All).with_limit(Money::parse("1").unwrap());
        life.me.budgets().put(all).await.unwrap();
        for _ in 0..3 {
            life.start().await;
        }
        held.model.was_asked(3).await;
        if !killed {
            life.cut().await;
        }
    };
    if killed { stage.killed(part).await } else { part(stage.open().await).await }
}

#[tokio::test]
async fn what_a_dead_process_left_open_is_booked_by_the_policy_to_the_nano() {
    for (policy, name, cost, output) in POLICIES {
        for killed in [true, false] {
            let stage = Stage::calling(&[]).with_settlement(policy);
            stage.model.held.hold("a/1");
            dies(&stage, killed).await;
            stage.model.held.release("a/1");

            let life = stage.open().await;
            let entries = settled(&life.me).await;
            assert_eq!(entries.iter().map(|entry| entry.amount).collect::<Vec<_>>(), [Some(cost); 3], "{name}");
            let used = Usage::new(1_000, output).with_provenance(Provenance::Estimated);
            assert!(entries.iter().all(|entry| entry.usage == Some(used)), "{name}: {entries:?}");
            let budget = life.me.budgets().find("all").await.unwrap().id;
            let windows = life.me.budgets().windows(budget, ListOptions::default()).await.unwrap().items;
            assert_eq!((windows[0].posted.units(), windows[0].pending.units()), (3 * cost.nanos(), 0));
            let told = lines(&life.me).await;
            assert_eq!(told.len(), 3, "{told:?}");
            for line in &told {
                assert_eq!((line.principal.as_str(), &line.details["settlement"]), ("engine", &json!(name)));
                assert_eq!((&line.details["cost"], &line.details["step"]), (&json!(cost), &json!("1/model")));
            }
            // What is booked is what the executions say, once they have gone on.
            for id in life.engine.recover().await.unwrap() {
                let done = life.wait(id).await;
                assert_eq!(done.status, ExecutionStatus::Completed);
                assert_eq!(done.cost, Some(cost.add(Money::from_nanos(110_000)).unwrap()));
                life.audit(&done).await;
            }
            assert_eq!(lines(&life.me).await.len(), 3, "each is settled once");
        }
    }
}

#[tokio::test]
async fn what_a_driver_left_open_that_broke_off_is_booked_by_the_policy_too() {
    for (policy, name, cost, _) in POLICIES {
        for given_up in [true, false] {
            let (_stage, life, id) = broken_off(policy).await;
            assert_eq!(lines(&life.me).await.len(), 0);
            if given_up {
                life.me.executions().cancel(id).await.unwrap();
            } else {
                assert_eq!(life.engine.recover().await.unwrap(), [id]);
            }
            let done = life.wait(id).await;
            let told = lines(&life.me).await;
            assert_eq!(told.len(), 1, "{told:?}");
            assert_eq!((&told[0].details["settlement"], &told[0].details["cost"]), (&json!(name), &json!(cost)));
            assert!(told[0].principal.starts_with("root"), "{told:?}");
            life.audit(&done).await;
        }
    }
}

#[tokio::test]
async fn a_call_without_a_price_has_none_by_either_policy() {
    for (policy, ..) in POLICIES {
        let stage = Stage::calling(&[]).with_settlement(policy);
        let silent = || FunctionProvider::new("silent", |_, _| std::future::pending().boxed());
        let engine = stage.builder().with_provider(silent()).open().await.unwrap();
        let me = engine.root("test");
        me.models().put(NewModel::new("u", "silent", "x")).await.unwrap();
        me.agents().put(NewAgent::new("u", "u")).await.unwrap();
        me.start("u", "go").await.unwrap();
        engine.close_within(std::time::Duration::ZERO).await.unwrap();
        let engine = stage.builder().open().await.unwrap();
        let entries = settled(&engine.root("test")).await;
        assert_eq!(entries.iter().map(|entry| entry.amount).collect::<Vec<_>>(), [None]);
    }
}

#[tokio::test]
async fn the_policy_is_a_setting_and_a_wrong_one_is_told() {
    for (policy, name, ..) in POLICIES {
        let settings = json!({"database_url": ":memory:", "recovery_settlement": name});
        assert_eq!(EngineSettings::from_json(settings).unwrap().recovery_settlement, policy);
    }
    assert_eq!(EngineSettings::new(":memory:").recovery_settlement, RecoverySettlement::Reserved);
    for wrong in [json!("free"), json!(""), json!(null), json!(0), json!(["floor"]), json!("Floor")] {
        let settings = json!({"database_url": ":memory:", "recovery_settlement": wrong});
        let error = EngineSettings::from_json(settings).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidInput);
        assert!(shown(&error).contains("/recovery_settlement"), "{error}");
    }
    let settings = EngineSettings::from_json(json!({"database_url": ":memory:", "recovery_settlement": "floor"}));
    Engine::open_with(settings.unwrap()).await.unwrap().close().await.unwrap();
}
