//! What starts workflows beside calls: schedules, webhooks, events.

use blitz::{Answer, Engine, ErrorCode, ExecutionStatus, Firing, FiringStatus, ListOptions, Session, Timestamp};
use serde_json::{Value, json};

use super::stand::{self, Broken, edges, publish};
use crate::support::engine::scripted;
use crate::support::folder::Folder;

async fn engine() -> (Engine, Session) {
    let (engine, me, _) = scripted(vec![]).await;
    stand::register(&engine, &Broken::default());
    (engine, me)
}

/// A moment that lies ahead, so that the dispatcher does not fire it by itself.
fn at(text: &str) -> Timestamp {
    let numbers: Vec<i64> = text.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect();
    let [year, month, day, hour, minute, second] = numbers[..] else { panic!("{text}") };
    // Days since 1970, as the calendar counts them from March on.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469;
    Timestamp((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000)
}

/// A workflow of this name and these triggers that gives its input and what it reads as `trigger`.
fn gives(name: &str, triggers: Value) -> Value {
    json!({"name": name, "triggers": triggers, "nodes": [
        {"id": "s", "type": "start"},
        {"id": "e", "type": "end", "config": {"output": {"inputs": "{{ inputs }}", "trigger": "{{ trigger }}"}}}],
        "edges": edges("s>e")})
}

/// The same, which waits for an approval.
fn waits(name: &str, triggers: Value) -> Value {
    json!({"name": name, "triggers": triggers, "nodes": [
        {"id": "s", "type": "start"}, {"id": "ok", "type": "approval"}, {"id": "e", "type": "end"}],
        "edges": edges("s>ok ok.approved>e")})
}

async fn tick(me: &Session, moment: &str) -> Vec<Firing> {
    me.triggers().tick(Some(at(moment))).await.unwrap()
}

fn slots(fired: &[Firing]) -> Vec<String> {
    fired.iter().map(|firing| Timestamp(firing.slot.parse().unwrap()).to_rfc3339()).collect()
}

async fn ends(me: &Session, firing: &Firing) -> Value {
    let done = me.executions().wait(firing.execution_id.expect("it started")).await.unwrap();
    assert_eq!(done.status, ExecutionStatus::Completed, "{:?}", done.error);
    done.output
}

#[tokio::test]
async fn w40_a_schedule_fires_once_for_each_slot() {
    let (_engine, me) = engine().await;
    publish(&me, gives("daily", json!([{"type": "schedule", "cron": "0 9 * * *", "input": {"n": 1}}]))).await;
    let enabled = me.triggers().enable_from("daily", Some(at("2031-05-01T00:00:00Z"))).await.unwrap();
    assert_eq!(
        (enabled.len(), enabled[0].next_at, enabled[0].runs_as.as_str()),
        (1, Some(at("2031-05-01T09:00:00Z")), "root")
    );
    assert_eq!(tick(&me, "2031-05-01T08:59:59Z").await, []);
    let fired = tick(&me, "2031-05-01T09:00:00Z").await;
    assert_eq!((slots(&fired), fired[0].status), (vec!["2031-05-01T09:00:00Z".to_owned()], FiringStatus::Started));
    let output = ends(&me, &fired[0]).await;
    assert_eq!(output["inputs"], json!({"n": 1}));
    assert_eq!((&output["trigger"]["type"], &output["trigger"]["missed"]), (&json!("schedule"), &json!(0)));
    // Once: not at the same moment, not where the clock goes back, not in a process that looks later.
    for moment in ["2031-05-01T09:00:00Z", "2031-05-01T07:00:00Z", "2031-05-01T09:10:00Z"] {
        assert_eq!(tick(&me, moment).await, [], "{moment}");
    }
    assert_eq!(slots(&tick(&me, "2031-05-02T09:00:01Z").await), ["2031-05-02T09:00:00Z"]);
    me.triggers().disable("daily").await.unwrap();
    assert_eq!(tick(&me, "2031-06-02T09:00:01Z").await, []);
}

#[tokio::test]
async fn w40_after_a_long_outage_a_schedule_fires_once_and_says_what_it_missed() {
    let (_engine, me) = engine().await;
    publish(&me, gives("often", json!([{"type": "schedule", "cron": "*/10 * * * *"}]))).await;
    me.triggers().enable_from("often", Some(at("2031-05-01T00:00:00Z"))).await.unwrap();
    let fired = tick(&me, "2031-05-01T01:05:00Z").await;
    assert_eq!((slots(&fired), fired[0].missed), (vec!["2031-05-01T01:00:00Z".to_owned()], 5));
    assert_eq!(ends(&me, &fired[0]).await["trigger"]["missed"], 5);
    // Years later it is still one, and quickly found.
    let fired = tick(&me, "2041-05-01T01:05:00Z").await;
    assert_eq!((slots(&fired), fired[0].missed), (vec!["2041-05-01T01:00:00Z".to_owned()], 1000));
}

#[tokio::test]
async fn w40_a_schedule_over_the_change_of_clocks() {
    let (_engine, me) = engine().await;
    let schedule = json!([{"type": "schedule", "cron": "30 2 * * *", "zone": "Europe/Berlin", "overlap": "allow"}]);
    publish(&me, gives("night", schedule)).await;
    // 2031-03-30 has no 02:30 in Berlin, 2031-10-26 has it twice.
    me.triggers().enable_from("night", Some(at("2031-03-29T12:00:00Z"))).await.unwrap();
    assert_eq!(tick(&me, "2031-03-30T00:59:59Z").await, []);
    assert_eq!(slots(&tick(&me, "2031-03-30T01:00:00Z").await), ["2031-03-30T01:00:00Z"]);
    assert_eq!(slots(&tick(&me, "2031-03-31T00:30:00Z").await), ["2031-03-31T00:30:00Z"]);
    me.triggers().disable("night").await.unwrap();
    me.triggers().enable_from("night", Some(at("2031-10-25T12:00:00Z"))).await.unwrap();
    assert_eq!(slots(&tick(&me, "2031-10-26T00:30:00Z").await), ["2031-10-26T00:30:00Z"]);
    assert_eq!(tick(&me, "2031-10-26T01:30:00Z").await, [], "the second 02:30 is the same night");
    assert_eq!(slots(&tick(&me, "2031-10-27T01:30:00Z").await), ["2031-10-27T01:30:00Z"]);
}

#[tokio::test]
async fn w40_overlapping_firings_are_skipped_queued_or_allowed() {
    let (_engine, me) = engine().await;
    let from = Some(at("2031-05-01T00:00:30Z"));
    for overlap in ["skip", "queue", "allow"] {
        let schedule = json!([{"type": "schedule", "cron": "* * * * *", "overlap": overlap}]);
        publish(&me, waits(overlap, schedule)).await;
    }
    let status = |fired: &[Firing]| fired.iter().map(|firing| firing.status).collect::<Vec<_>>();
    // A firing left out stays out; the one behind the end starts.
    me.triggers().enable_from("skip", from).await.unwrap();
    let first = tick(&me, "2031-05-01T00:01:00Z").await;
    assert_eq!(status(&tick(&me, "2031-05-01T00:02:00Z").await), [FiringStatus::Skipped]);
    finish(&me, &first[0]).await;
    assert_eq!(status(&tick(&me, "2031-05-01T00:03:00Z").await), [FiringStatus::Started]);
    me.triggers().disable("skip").await.unwrap();
    // Queued ones start one behind the other.
    let trigger = me.triggers().enable_from("queue", from).await.unwrap()[0].id;
    let first = tick(&me, "2031-05-01T00:01:00Z").await;
    assert_eq!(status(&tick(&me, "2031-05-01T00:02:00Z").await), [FiringStatus::Queued]);
    assert_eq!(status(&tick(&me, "2031-05-01T00:03:00Z").await), [FiringStatus::Queued]);
    finish(&me, &first[0]).await;
    let second = tick(&me, "2031-05-01T00:03:10Z").await;
    assert_eq!(
        (slots(&second), status(&second)),
        (vec!["2031-05-01T00:02:00Z".to_owned()], vec![FiringStatus::Started])
    );
    assert_eq!(tick(&me, "2031-05-01T00:03:20Z").await, []);
    finish(&me, &second[0]).await;
    let third = tick(&me, "2031-05-01T00:03:30Z").await;
    assert_eq!(slots(&third), ["2031-05-01T00:03:00Z"]);
    let kept = me.triggers().firings(trigger, ListOptions::default()).await.unwrap().items;
    assert_eq!(status(&kept), [FiringStatus::Started; 3]);
    me.triggers().disable("queue").await.unwrap();
    me.triggers().enable_from("allow", from).await.unwrap();
    for minute in 1..=2 {
        let fired = tick(&me, &format!("2031-05-01T00:0{minute}:00Z")).await;
        assert_eq!(status(&fired), [FiringStatus::Started]);
    }
}

async fn finish(me: &Session, firing: &Firing) {
    let id = firing.execution_id.unwrap();
    let mut events = me.executions().events(id, 0);
    while let Some(event) = futures_util::StreamExt::next(&mut events).await {
        if matches!(event.unwrap().data, blitz::EventData::ExecutionWaiting { .. }) {
            break;
        }
    }
    me.executions().approve(id, "ok", Answer::approve()).await.unwrap();
    me.executions().wait(id).await.unwrap();
}

#[tokio::test]
async fn w40_two_processes_fire_a_slot_once() {
    let dir = Folder::new();
    let path = dir.path().join("blitz.db");
    let one = Engine::open(path.to_str().unwrap()).await.unwrap();
    let other = Engine::open(path.to_str().unwrap()).await.unwrap();
    let (me, them) = (one.root("one"), other.root("other"));
    publish(&me, gives("shared", json!([{"type": "schedule", "cron": "* * * * *", "overlap": "allow"}]))).await;
    let trigger = me.triggers().enable_from("shared", Some(at("2031-05-01T00:00:30Z"))).await.unwrap()[0].id;
    for minute in 1..=5 {
        let moment = format!("2031-05-01T00:0{minute}:00Z");
        tokio::join!(tick(&me, &moment), tick(&them, &moment));
    }
    let fired = me.triggers().firings(trigger, ListOptions::default()).await.unwrap().items;
    assert_eq!(fired.len(), 5);
    for firing in &fired {
        ends(&me, firing).await;
    }
    let page = me.executions().list(blitz::ExecutionFilter::default(), ListOptions::default()).await.unwrap();
    assert_eq!(page.items.len(), 5);
    one.close().await.unwrap();
    other.close().await.unwrap();
}

#[tokio::test]
async fn webhooks_and_events_start_what_listens_for_them_once() {
    let (_engine, me) = engine().await;
    publish(
        &me,
        gives("hook", json!([{"type": "webhook", "name": "orders", "input": {"id": "{{ trigger.body.id }}"}}])),
    )
    .await;
    publish(&me, gives("big", json!([{"type": "event", "name": "paid", "when": "trigger.data.sum > 10"}]))).await;
    publish(&me, gives("every", json!([{"type": "event", "name": "paid"}, {"type": "manual"}]))).await;
    let none = me.triggers().fire("orders", json!({}), None).await.unwrap_err();
    assert_eq!(none.code(), ErrorCode::NotFound, "what is not enabled does not fire");
    for name in ["hook", "big", "every"] {
        assert_eq!(me.triggers().enable(name).await.unwrap().len(), 1);
    }
    let fired = me.triggers().fire("orders", json!({"id": 7}), Some("delivery-1".to_owned())).await.unwrap();
    assert_eq!(ends(&me, &fired[0]).await["inputs"], json!({"id": 7}));
    // The same delivery again is the same execution; the table's row does the same.
    let given = json!({"name": "orders", "data": {"id": 8}, "key": "delivery-1"});
    let again: Vec<Firing> = serde_json::from_value(me.call("triggers.fire", given).await.unwrap()).unwrap();
    assert_eq!(again[0].execution_id, fired[0].execution_id);
    assert_eq!(me.triggers().emit("paid", json!({"sum": 3}), None).await.unwrap().len(), 1);
    let both = me.triggers().emit("paid", json!({"sum": 30}), None).await.unwrap();
    assert_eq!(both.len(), 2);
    for firing in &both {
        assert_eq!(ends(&me, firing).await["inputs"], json!({"sum": 30}));
    }
    assert_eq!(me.triggers().emit("unheard", json!({}), None).await.unwrap(), []);
}

#[tokio::test]
async fn a_trigger_runs_as_who_enabled_it_for_as_long_as_they_may() {
    let (engine, me) = engine().await;
    publish(&me, gives("hers", json!([{"type": "webhook", "name": "hers"}]))).await;
    me.workflows().set_visibility("hers", blitz::Visibility::Shared).await.unwrap();
    let mut users = Vec::new();
    for (name, role) in [("ana", "admin"), ("bo", "business_user"), ("cy", "admin")] {
        let user = me.call(
            "users.create",
            json!({"email": format!("{name}@example.com"), "password": "sk-canary long passphrase", "role": role}),
        );
        users.push(user.await.unwrap()["id"].as_i64().unwrap());
    }
    let ana = engine.login("ana@example.com", "sk-canary long passphrase").await.unwrap();
    let bo = engine.login("bo@example.com", "sk-canary long passphrase").await.unwrap();
    for refused in [
        bo.triggers().enable("hers").await.unwrap_err(),
        bo.triggers().fire("hers", json!({}), None).await.unwrap_err(),
        bo.triggers().tick(None).await.unwrap_err(),
    ] {
        assert_eq!(refused.code(), ErrorCode::PermissionDenied);
    }
    ana.triggers().enable("hers").await.unwrap();
    let fired = me.triggers().fire("hers", json!({}), None).await.unwrap();
    ends(&me, &fired[0]).await;
    let execution = me.executions().get(fired[0].execution_id.unwrap()).await.unwrap();
    assert_eq!(execution.user_id.unwrap().0, users[0]);
    me.call("users.update", json!({"id": users[0], "update": {"active": false}})).await.unwrap();
    let fired = me.triggers().fire("hers", json!({}), None).await.unwrap();
    assert_eq!((fired[0].status, fired[0].execution_id), (FiringStatus::Failed, None));
    assert_eq!(fired[0].error.as_ref().unwrap().code, ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn a_new_version_brings_its_triggers() {
    let (_engine, me) = engine().await;
    publish(&me, gives("versions", json!([{"type": "webhook", "name": "old"}, {"type": "webhook", "name": "kept"}])))
        .await;
    let before = me.triggers().enable("versions").await.unwrap();
    publish(&me, gives("versions", json!([{"type": "webhook", "name": "kept"}, {"type": "webhook", "name": "new"}])))
        .await;
    assert_eq!(me.triggers().fire("old", json!({}), None).await.unwrap_err().code(), ErrorCode::NotFound);
    assert_eq!(me.triggers().fire("new", json!({}), None).await.unwrap().len(), 1);
    let kept = me.triggers().list(ListOptions::default()).await.unwrap().items;
    assert_eq!(kept[0].id, before[1].id);
    // What it starts is gone: it says so once, and is no more.
    me.workflows().delete("versions").await.unwrap();
    let fired = me.triggers().fire("kept", json!({}), None).await.unwrap();
    assert_eq!((fired[0].status, fired[0].error.as_ref().unwrap().code), (FiringStatus::Failed, ErrorCode::NotFound));
    assert_eq!(me.triggers().fire("kept", json!({}), None).await.unwrap_err().code(), ErrorCode::NotFound);
}

#[tokio::test]
async fn the_dispatcher_fires_by_itself() {
    let (_engine, me) = engine().await;
    publish(&me, gives("soon", json!([{"type": "schedule", "cron": "* * * * *"}]))).await;
    // Its last moment is over: the dispatcher makes up for it at once.
    let from = Timestamp(Timestamp::now().0 - 90_000_000);
    let trigger = me.triggers().enable_from("soon", Some(from)).await.unwrap()[0].id;
    let fired = tokio::time::timeout(std::time::Duration::from_secs(30), async {
        loop {
            let fired = me.triggers().firings(trigger, ListOptions::default()).await.unwrap().items;
            match fired.into_iter().next() {
                Some(firing) if firing.status == FiringStatus::Started => return firing,
                _ => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    });
    ends(&me, &fired.await.expect("it fires")).await;
}
