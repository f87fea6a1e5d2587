//! Webhooks: who outside is told of alerts, and the courier that tells them.

use std::sync::{Arc, Weak};
use std::time::Duration;

use ring::hmac;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::methods::{Method, PageOf, method};
use super::{Inner, Session};
use crate::access::Target;
use crate::domain::{Delivery, ListOptions, NewWebhook, Page, Permission, Timestamp, Webhook};
use crate::error::{Error, Result};
use crate::execution::bell::Bell;
use crate::ledger::outbox::{self, Due};
use crate::net::egress::{Guard, Reach, Request, Rules};

/// The longest name, in bytes.
const MAX_NAME: usize = 200;
/// How long a receiver may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// For how long a message is in one courier's hands.
const LEASE: Duration = Duration::from_secs(120);
/// The first wait behind a failure; each one that follows is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(10);
/// How often the outbox is looked at though nobody says that something is in it.
const LOOK: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
/// So often a message is tried: over a day.
const MAX_ATTEMPTS: u32 = 32;
/// So many messages are taken at once.
const TAKEN: u32 = 10;

/// The webhooks, through a session.
pub struct Webhooks {
    session: Session,
}

pub(super) const ROWS: &[Method] = &[
    method!("webhooks.put", WebhooksManage, NewWebhook => Webhook, |s, new| s.webhooks().put(new)),
    method!("webhooks.list", WebhooksManage, ListOptions => Page<Webhook>, |s, page| s.webhooks().list(page)),
    method!("webhooks.delete", WebhooksManage, OneWebhook => (), |s, one| s.webhooks().delete(one.id)),
    method!("webhooks.deliveries", WebhooksManage, PageOf<i64> => Page<Delivery>, |s, of| {
        let (id, page) = of.split();
        async move { s.webhooks().deliveries(id, page).await }
    }),
    method!("webhooks.retry", WebhooksManage, OneWebhook => u64, |s, one| s.webhooks().retry(one.id)),
    method!("webhooks.deliver", WebhooksManage, super::methods::Nothing => u64, |s, super::methods::Nothing {}| {
        async move { s.webhooks().deliver().await }
    }),
];

/// One webhook.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct OneWebhook {
    /// The webhook's id.
    id: i64,
}

impl Webhooks {
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }

    /// Creates a webhook, or gives the one of this name these fields.
    ///
    /// Each message is a POST of JSON. `Blitz-Signature` is `t=<seconds>,v1=<hex>`: HMAC-SHA-256 over
    /// `<seconds>.<Blitz-Delivery>.<body>` by the secret. It is told at least once: a receiver that
    /// minds knows a repetition by `Blitz-Delivery`. Errors: `InvalidInput`; `PermissionDenied` for an
    /// address inside this machine or its network without the right to manage connections.
    pub async fn put(&self, new: NewWebhook) -> Result<Webhook> {
        check(&new)?;
        self.session
            .write(Permission::WebhooksManage, Target::None, "webhooks.put", move |tx, grant| {
                if new.allow_local {
                    grant.require(Permission::ConnectionsManage)?;
                }
                let before = outbox::find_webhook(tx, &new.name)?;
                let webhook = outbox::put_webhook(tx, grant.now(), &new)?;
                // A secret for one host is not shown to another.
                let moved = before.as_ref().is_some_and(|before| before.url != webhook.url);
                if moved {
                    grant.drop_webhook_secret(tx, webhook.id)?;
                }
                if let Some(secret) = &new.secret {
                    grant.set_webhook_secret(tx, webhook.id, secret)?;
                }
                if !grant.has_webhook_secret(tx, webhook.id)? {
                    return Err(Error::invalid(
                        "a webhook needs a secret to be signed with, also where its address changes",
                    ));
                }
                grant.audit_change(tx, &label(webhook.id), before.as_ref(), Some(&webhook))?;
                Ok(webhook)
            })
            .await
    }

    /// A page of the webhooks, in order of id.
    pub async fn list(&self, options: ListOptions) -> Result<Page<Webhook>> {
        self.session
            .read(Permission::WebhooksManage, Target::None, move |tx, _| outbox::list_webhooks(tx, &options))
            .await
    }

    /// Deletes a webhook: what it was still to be told is given up. Errors: `NotFound`.
    pub async fn delete(&self, id: i64) -> Result<()> {
        self.session
            .write(Permission::WebhooksManage, Target::None, "webhooks.delete", move |tx, grant| {
                if !outbox::delete_webhook(tx, grant.now(), id)? {
                    return Err(missing());
                }
                grant.drop_webhook_secret(tx, id)?;
                grant.audit(tx, &label(id), None, None, serde_json::Value::Null)
            })
            .await
    }

    /// What a webhook was told and is still to be told, oldest first.
    pub async fn deliveries(&self, id: i64, options: ListOptions) -> Result<Page<Delivery>> {
        self.session
            .read(Permission::WebhooksManage, Target::None, move |tx, _| outbox::list_deliveries(tx, id, &options))
            .await
    }

    /// Makes all that a webhook was not told due now, also what was given up; gives how much that is.
    pub async fn retry(&self, id: i64) -> Result<u64> {
        let due = self
            .session
            .write(Permission::WebhooksManage, Target::None, "webhooks.retry", move |tx, grant| {
                outbox::webhook(tx, id)?.ok_or_else(missing)?;
                outbox::retry(tx, grant.now(), id)
            })
            .await?;
        self.session.inner.runtime.bell.wake();
        Ok(due as u64)
    }

    /// Tells now what is due, and gives how much was delivered. The engine does this by itself.
    pub async fn deliver(&self) -> Result<u64> {
        let allowed = |_: &mut dyn crate::store::Connection, _: &crate::access::Grant| Ok(());
        self.session.write(Permission::WebhooksManage, Target::None, "webhooks.deliver", allowed).await?;
        let mut delivered = 0;
        while let Some(round) = round(&self.session.inner).await? {
            delivered += round;
        }
        Ok(delivered)
    }
}

fn check(new: &NewWebhook) -> Result<()> {
    if new.name.trim().is_empty() || new.name.trim() != new.name || new.name.len() > MAX_NAME {
        return Err(Error::invalid(format!("a webhook's name has 1 to {MAX_NAME} bytes and no space around it")));
    }
    if new.events.is_empty() || new.events.iter().any(|event| !outbox::EVENTS.contains(&event.as_str())) {
        return Err(Error::invalid(format!("a webhook is told of: {}", outbox::EVENTS.join(", "))));
    }
    if new.secret.as_ref().is_some_and(|secret| !(16..=512).contains(&secret.expose().len())) {
        return Err(Error::invalid("a webhook's secret has 16 to 512 bytes"));
    }
    guard(new.allow_local).check(&new.url)
}

fn guard(allow_local: bool) -> Guard {
    let reach = if allow_local { Reach::Local } else { Reach::Public };
    Guard::new(Rules { timeout: TIMEOUT, max_body: 64 << 10, ..Rules::public().with_reach(reach) })
}

fn label(id: i64) -> String {
    format!("webhook:{id}")
}

fn missing() -> Error {
    Error::not_found("there is no such webhook")
}

// The courier -------------------------------------------------------------------------------------

/// Empties the outbox whenever it is woken or something in it is due, and once a minute, for the engine's life.
pub(super) async fn courier(engine: Weak<Inner>, bell: Arc<Bell>, over: CancellationToken) {
    loop {
        let Some(inner) = engine.upgrade() else { return };
        let wait = match empty(&inner).await {
            Ok(next) => until(next, Timestamp::now()),
            // A store that is closed has nothing more to be told.
            Err(error) if error.code() == crate::error::ErrorCode::Closed => return,
            Err(_) => FIRST_WAIT,
        };
        // An engine that nobody holds is closed: nothing of it is held here while this waits.
        drop(inner);
        tokio::select! {
            () = over.cancelled() => return,
            () = bell.woken() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// How long the courier rests. What other processes put in, and may have left, wakes nobody here.
fn until(next: Option<Timestamp>, now: Timestamp) -> Duration {
    next.map_or(LOOK, |next| next.since(now)).clamp(Duration::from_millis(50), LOOK)
}

/// Tells what is due; gives when the next message is.
async fn empty(inner: &Inner) -> Result<Option<Timestamp>> {
    loop {
        let next = inner.work.read(|tx, _| outbox::next_due(tx)).await?;
        if next.is_none_or(|next| next > Timestamp::now()) || inner.runtime.closing.is_cancelled() {
            return Ok(next);
        }
        round(inner).await?;
    }
}

/// Takes some messages that are due and tells them; gives how many were delivered, `None` where none was due.
async fn round(inner: &Inner) -> Result<Option<u64>> {
    let taken = inner
        .work
        .write(|tx, standing| outbox::take_due(tx, standing.now(), standing.now().plus(LEASE), TAKEN))
        .await?;
    if taken.is_empty() {
        return Ok(None);
    }
    let mut delivered = 0;
    for due in taken {
        let (id, attempts) = (due.id, due.attempts);
        let told = tell(inner, due).await;
        delivered += u64::from(told.is_ok());
        inner
            .work
            .write(move |tx, standing| match &told {
                Ok(()) => outbox::delivered(tx, standing.now(), id),
                Err(why) => {
                    let next = (attempts < MAX_ATTEMPTS).then(|| standing.now().plus(wait_behind(attempts)));
                    outbox::failed(tx, id, next, why)
                }
            })
            .await?;
    }
    Ok(Some(delivered))
}

/// Tells one message. The error is a line for whoever reads the deliveries.
async fn tell(inner: &Inner, due: Due) -> Result<(), String> {
    let id = due.webhook_id;
    let found = inner.work.read(move |tx, standing| {
        let webhook = outbox::webhook(tx, id)?;
        let secret = standing.webhook_secret(tx, id)?;
        Ok(webhook.zip(secret))
    });
    let Ok(Some((webhook, secret))) = found.await else {
        return Err("the webhook or its secret is not there".to_owned());
    };
    let seconds = Timestamp::now().0 / 1_000_000;
    let signature = signature(secret.expose().as_bytes(), seconds, due.id, &due.body);
    let request = Request::post(&webhook.url)
        .header("content-type", "application/json")
        .header("blitz-event", &due.event)
        .header("blitz-delivery", due.id.to_string())
        .header("blitz-signature", format!("t={seconds},v1={signature}"))
        .body(due.body);
    match guard(webhook.allow_local).fetch(request).await {
        Ok(response) if (200..300).contains(&response.status) => Ok(()),
        Ok(response) => Err(format!("the receiver answered {}", response.status)),
        Err(error) => Err(error.to_string()),
    }
}

fn signature(secret: &[u8], seconds: i64, delivery: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, format!("{seconds}.{delivery}.{body}").as_bytes());
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn wait_behind(attempts: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_courier_looks_once_a_minute_whatever_it_knows() {
        let rest = |next: Option<i64>| until(next.map(Timestamp), Timestamp(1_000_000));
        assert_eq!(rest(None), Duration::from_secs(60));
        assert_eq!(rest(Some(i64::MAX)), Duration::from_secs(60));
        assert_eq!(rest(Some(3_000_000)), Duration::from_secs(2));
        assert_eq!(rest(Some(0)), Duration::from_millis(50), "what is due is not hurried");
    }
}
