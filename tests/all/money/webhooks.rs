//! Who is told of alerts: functions of the host, whoever polls, and addresses outside.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use blitz::{BudgetScope, ErrorCode, ListOptions, Money, NewBudget, NewUser, NewWebhook, Session};
use serde_json::json;

use super::engine;
use crate::support::server::{Reply, Server};

const SECRET: &str = "sk-canary of the receiver";

async fn budget(me: &Session) {
    let budget = NewBudget::new("b", BudgetScope::All).with_limit(Money::from_nanos(100_000_000)).soft();
    me.budgets().put(budget.with_thresholds(vec![50])).await.unwrap();
}

/// Waits until the first delivery of a webhook has been tried so often.
async fn tried(me: &Session, webhook: i64, attempts: u32) -> blitz::Delivery {
    let ended = |first: &blitz::Delivery| first.delivered_at.is_some() || first.error.is_some();
    until(me, webhook, |first| first.attempts >= attempts && ended(first)).await
}

async fn until(me: &Session, webhook: i64, is: impl Fn(&blitz::Delivery) -> bool) -> blitz::Delivery {
    for _ in 0..2_000 {
        let deliveries = me.webhooks().deliveries(webhook, ListOptions::default()).await.unwrap().items;
        if let Some(first) = deliveries.into_iter().next().filter(&is) {
            return first;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the courier never came");
}

#[tokio::test]
async fn an_alert_is_told_to_all_who_ask_and_signed() {
    let server = Server::start([Reply::body(503, "text/plain", "later"), Reply::body(200, "text/plain", "ok")]).await;
    let (engine, me) = engine().await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    engine.on_alert(move |alert| hears.lock().unwrap().push(alert.clone()));
    engine.on_alert(|_| panic!("a function of the host"));
    let webhook = me.webhooks().put(NewWebhook::new("w", server.url(), SECRET).local()).await.unwrap();
    budget(&me).await;
    assert!(me.run("a", "go").await.unwrap().error.is_none());

    let polled = me.alerts().list(ListOptions::default()).await.unwrap().items;
    assert_eq!(polled.len(), 1);
    assert_eq!(*heard.lock().unwrap(), polled);
    let first = tried(&me, webhook.id, 1).await;
    assert_eq!(first.error.as_deref(), Some("the receiver answered 503"));
    assert!(first.next_at.is_some_and(|next| next > first.created_at), "it is kept and tried again");
    assert_eq!(me.webhooks().retry(webhook.id).await.unwrap(), 1);
    // What the first try came to stands there until the second has ended.
    let second = until(&me, webhook.id, |delivery| delivery.delivered_at.is_some()).await;
    assert!(second.attempts == 2 && second.next_at.is_none() && second.error.is_none(), "{second:?}");

    let [one, two] = server.requests().try_into().unwrap();
    assert_eq!(one.body, two.body);
    assert_eq!(
        (one.header("blitz-delivery"), one.header("blitz-event")),
        (two.header("blitz-delivery"), Some("budget.alert"))
    );
    assert_eq!(one.json()["data"]["threshold"], 50);
    assert_eq!(one.json()["type"], "budget.alert");
    let signature = one.header("blitz-signature").unwrap();
    let (seconds, hex) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let delivery = one.header("blitz-delivery").unwrap();
    let signed = [seconds.as_bytes(), b".", delivery.as_bytes(), b".", one.body.as_slice()].concat();
    assert!(seconds.parse::<i64>().unwrap() > 0);
    assert_eq!(hex, hmac_sha256(SECRET.as_bytes(), &signed));
    // Another call of the same window tells nobody anything.
    me.run("a", "go").await.unwrap();
    assert_eq!(me.alerts().list(ListOptions::default()).await.unwrap().items.len(), 1);
    let shown = format!("{:?}", me.webhooks().list(ListOptions::default()).await.unwrap());
    assert!(!shown.contains(SECRET));
}

/// As a receiver would check it.
fn hmac_sha256(key: &[u8], message: &[u8]) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
    ring::hmac::sign(&key, message).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn t24_no_webhook_leads_inside_and_the_outbox_keeps_what_was_not_told() {
    let (_engine, me) = engine().await;
    for url in [
        "http://169.254.169.254/latest/",
        "http://127.0.0.1:1/",
        "http://localhost/",
        "http://[::1]/",
        "http://10.0.0.1/",
    ] {
        let refused = me.webhooks().put(NewWebhook::new("w", url, SECRET)).await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::PermissionDenied, "{url}");
    }
    let metadata = NewWebhook::new("w", "http://169.254.169.254/", SECRET).local();
    assert_eq!(me.webhooks().put(metadata).await.unwrap_err().code(), ErrorCode::PermissionDenied);
    // A name is tested when it is resolved: this one stands for nothing.
    let nowhere = NewWebhook::new("w", "http://nowhere.invalid/", SECRET);
    let webhook = me.webhooks().put(nowhere).await.unwrap();
    budget(&me).await;
    me.run("a", "go").await.unwrap();
    let delivery = tried(&me, webhook.id, 1).await;
    assert!(delivery.next_at.is_some() && delivery.delivered_at.is_none());
    let error = delivery.error.unwrap();
    assert!(!error.contains("nowhere.invalid"), "{error}");
    me.webhooks().delete(webhook.id).await.unwrap();
    assert_eq!(me.webhooks().deliver().await.unwrap(), 0);
}

#[tokio::test]
async fn webhooks_are_checked_and_their_secret_stays_with_their_address() {
    let (engine, me) = engine().await;
    let put = |new: serde_json::Value| {
        let me = me.clone();
        async move { me.call("webhooks.put", new).await.map_err(|error| error.code()) }
    };
    let url = "https://hooks.example.com/x";
    assert_eq!(put(json!({"name": "w", "url": url})).await, Err(ErrorCode::InvalidInput));
    assert_eq!(put(json!({"name": "w", "url": url, "secret": "short"})).await, Err(ErrorCode::InvalidInput));
    assert_eq!(put(json!({"name": "w", "url": "ftp://x/", "secret": SECRET})).await, Err(ErrorCode::PermissionDenied));
    assert_eq!(
        put(json!({"name": "w", "url": url, "secret": SECRET, "events": ["all"]})).await,
        Err(ErrorCode::InvalidInput)
    );
    let stored = put(json!({"name": "w", "url": url, "secret": SECRET})).await.unwrap();
    assert!(stored.get("secret").is_none());
    assert!(put(json!({"name": "w", "url": url, "active": false})).await.is_ok(), "the secret before is kept");
    let moved = put(json!({"name": "w", "url": "https://elsewhere.example.com/"})).await;
    assert_eq!(moved, Err(ErrorCode::InvalidInput), "the secret does not move to another address");
    let role = json!({"email": "ana@example.org", "password": "sk-canary long password"});
    me.users().create(serde_json::from_value::<NewUser>(role).unwrap()).await.unwrap();
    let ana = engine.login("ana@example.org", "sk-canary long password").await.unwrap();
    let denied = ana.webhooks().put(NewWebhook::new("v", url, SECRET)).await.unwrap_err();
    assert_eq!(denied.code(), ErrorCode::PermissionDenied);
}
